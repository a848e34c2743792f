"""Files and directories as the local store wants them. Everything here blocks, and raises OSError.

A folder is an open directory: paths below it are walked part by part, so no symbolic link is followed and
nobody can put one in the way meanwhile.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.backup.storage.paths import UNFINISHED
from exporter.errors import StoreDenied, StoreError, StoreFull, StoreMissing

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
# A directory's part that is a link answers either, by kernel and file system.
_NOT_FOLLOWED = (errno.ELOOP, errno.ENOTDIR)
# What file systems without hard links say to a link; and EMLINK of those that have few.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# A buffer each; the kernel takes no more at once (IOV_MAX).
_MOST_BUFFERS = 1024


class NoHardLinks(OSError):
    """This file system cannot give a file its name only where there is none."""


def said(error: OSError, root: Path, path: str = "") -> StoreError:
    """Say what a disk said, as the contract's error."""
    place = f"{root}/{path}" if path else str(root)
    if isinstance(error, NoHardLinks):
        return StoreError(
            f"{root}: its file system has no hard links, so two writers cannot be kept apart;"
            " where only one daemon ever writes there, set single_writer: true"
        )
    if isinstance(error, FileNotFoundError):
        return StoreMissing(f"{place}: there is no such file")
    if error.errno in _NO_ROOM:
        return StoreFull(f"{place}: no room is left")
    if error.errno in _NO_RIGHT:
        return StoreDenied(f"{place}: {error.strerror}")
    if error.errno in _NOT_FOLLOWED:
        return StoreError(f"{place}: a part of the path is a file or a symbolic link, which is not followed")
    return StoreError(f"{place}: {error.strerror or type(error).__name__}")


@contextmanager
def folder_of(
    root: Path, parts: Sequence[str], *, make: bool = False, make_root: bool = True
) -> Iterator[int]:
    """Open a directory below `root`; with `make`, make what is missing of it, durably.

    The root's own parent is never made: on a mount that is away, backups would fill the disk below it.
    Raises StoreMissing where the root is not there.
    """
    if make and make_root:
        with suppress(FileExistsError, FileNotFoundError):
            root.mkdir(DIRECTORY_MODE)
    try:
        folder = os.open(root, _FOLDER)  # the root itself may be a link: a person wrote it
    except FileNotFoundError:
        raise StoreMissing(f"{root}: the directory is not there; make it, or mount what it is on") from None
    try:
        for part in parts:
            inner = _inner(folder, part, make=make)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _inner(folder: int, part: str, *, make: bool) -> int:
    if make:
        with suppress(FileExistsError):
            os.mkdir(part, DIRECTORY_MODE, dir_fd=folder)
            os.fsync(folder)
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def unfinished_name() -> str:
    """Return the name of a file that is being written."""
    return UNFINISHED + secrets.token_hex(8)


def new_file(folder: int, name: str) -> int:
    """Open a file that is not there yet, for writing."""
    return os.open(name, _NEW_FILE, FILE_MODE, dir_fd=folder)


def old_file(folder: int, name: str) -> int:
    """Open a file for reading."""
    return os.open(name, _OLD_FILE, dir_fd=folder)


def write_all(file: int, chunks: Sequence[bytes]) -> int:
    """Append all chunks, and return their bytes."""
    buffers = [memoryview(chunk) for chunk in chunks if chunk]
    total = sum(len(buffer) for buffer in buffers)
    while buffers:
        written = os.writev(file, buffers[:_MOST_BUFFERS])
        done = 0
        while done < len(buffers) and written >= len(buffers[done]):
            written -= len(buffers[done])
            done += 1
        buffers = buffers[done:]
        if written:
            buffers[0] = buffers[0][written:]
    return total


def forget(file: int, start: int, length: int) -> None:
    """Let the page cache forget a stretch that is on the disk; length 0 is all after `start`."""
    if sys.platform == "linux":
        os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)


def place(folder: int, unfinished: str, name: str, *, exclusive: bool) -> bool:
    """Give a finished file its name, durably; False, and nothing done, where one has it.

    Without hard links: NoHardLinks, or, where there is no other writer (`exclusive` is False), by a look.
    """
    try:
        os.link(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        # NFS says so too where it did it and its first answer was lost: then the file has two names.
        if os.stat(unfinished, dir_fd=folder, follow_symlinks=False).st_nlink < 2:
            return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if exclusive:
            raise NoHardLinks(error.errno, error.strerror) from error
        if _is_there(folder, name):
            return False
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
        return True
    os.unlink(unfinished, dir_fd=folder)
    os.fsync(folder)
    return True


def replace(folder: int, unfinished: str, name: str) -> None:
    """Give a finished file its name, durably, in place of one that has it."""
    os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def unlink(folder: int, name: str) -> bool:
    """Remove a file; False where there is none."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
