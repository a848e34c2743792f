"""What a server said, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text on one line: no newline breaks a table, no escape moves the cursor."""
    return text if text.isprintable() else repr(text)[1:-1]
