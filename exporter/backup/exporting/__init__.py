"""Exports: the points of a collection themselves, in chunks, for any version and any layout."""
