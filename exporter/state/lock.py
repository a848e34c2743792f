"""The state directory itself: made, and claimed by one `run` at a time."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from exporter.errors import StateError

LOCK_NAME = "qdrant-exporter.lock"

# A daemon that was just told to stop needs a moment to go; a restart must not fail for that.
LOCK_PATIENCE_SECONDS = 2.0


class StateLock:
    """The claim of one `run` on a state directory. The kernel frees it when the process ends."""

    def __init__(self, *, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, waiting up to two seconds. Raises StateError naming the process that has it."""
        make_directory(self._directory)
        path = self._directory / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise not_writable(self._directory, error.strerror) from error
        if not _locked(descriptor):
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StateError(
                f"{self._directory} is in use by another qdrant-exporter run (pid {holder}): "
                "stop that one, or give this one a --state.dir of its own"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def is_held(self) -> bool:
        """Whether a `run` has the directory now. Does not wait."""
        try:
            descriptor = os.open(self._directory / LOCK_NAME, os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise not_writable(self._directory, error.strerror) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)  # frees it again: a daemon that starts in this moment tries for two seconds
        return False

    def release(self) -> None:
        """Free the directory for the next `run`. Does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def make_directory(directory: Path) -> None:
    """Make the directory where it lacks. Raises StateError."""
    try:
        # 0700: URLs of peers are nobody else's business. An existing directory keeps its mode.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(directory, error.strerror) from error


def not_writable(directory: Path, reason: str | None) -> StateError:
    """Return what to say of a directory that cannot be written, and why."""
    return StateError(
        f"{directory} cannot be written by user {os.geteuid()} ({reason}): "
        "change its owner or mode, or choose another --state.dir"
    )


def _locked(descriptor: int) -> bool:
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True
