"""A file system of a few megabytes that a test can fill. Needs the right to mount."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SIZE = "64m"
BLOCK = b"\0" * 65_536


class SmallDisk:
    """One mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no room for anything."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(BLOCK)
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(b"\0" * 512)

    def empty(self) -> None:
        """Take out what filled it."""
        self._filler.unlink()


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mount one at a path, or skip the test where that is not allowed."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", path], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", path], check=True)
