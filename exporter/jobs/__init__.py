"""Scheduled chores: when they are due, what ran, what came of it. What they do is in `backup`."""
