"""Rebuilding segments that hold many deleted points, without doing harm."""
