"""Room kept on the disk, so that a full one can still take what matters."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

RESERVE_NAME = "alerting.reserve"
RESERVE_BYTES = 16 * 1024 * 1024  # thousands of notifications, and SQLite's log of 4 MB twice


class Reserve:
    """One file of 16 MB that says nothing. Every function blocks on the disk and raises nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / RESERVE_NAME

    def make(self) -> bool:
        """Take the room where there is twice as much; say whether it is there now."""
        try:
            if self._is_there():
                return True
            if shutil.disk_usage(self._directory).free < 2 * RESERVE_BYTES:
                return False
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)
        except OSError:  # it was worth a try: without it a full disk is met a little earlier
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Give the room back; say whether there was any."""
        with suppress(OSError):
            self._path.unlink()
            return True
        return False

    def _is_there(self) -> bool:
        return self._path.exists() and self._path.stat().st_size == RESERVE_BYTES
