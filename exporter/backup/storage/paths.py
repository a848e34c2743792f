"""Paths within a store, taken apart. Nothing here touches a disk."""

from __future__ import annotations

# Files that are being written bear this; no object may.
UNFINISHED = ".part-"
MAX_PART_BYTES = 255  # what every file system takes as a name


def parts_of(path: str) -> tuple[str, ...]:
    """Return the parts of an object's path.

    Raises ValueError, for it is our mistake, on a part that is empty, "." or "..", longer than 255 bytes,
    has a character that nobody can see, or looks like a file that is being written.
    """
    parts = tuple(path.split("/"))
    for part in parts:
        if part in ("", ".", "..") or part.startswith(UNFINISHED) or not part.isprintable():
            raise ValueError(f"no path of a store: {path!r}")
        if len(part.encode()) > MAX_PART_BYTES:
            raise ValueError(f"a part of the path is longer than {MAX_PART_BYTES} bytes: {path!r}")
    return parts


def parts_of_prefix(prefix: str) -> tuple[str, ...]:
    """Return the parts of a directory's path; "" is the whole store. Raises ValueError."""
    return parts_of(prefix) if prefix else ()


def checked_stretch(offset: int, length: int | None) -> None:
    """Refuse a stretch that no object has. Raises ValueError."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"no stretch of an object: {length} bytes from {offset}")
