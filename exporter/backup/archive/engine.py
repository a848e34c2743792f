"""Opens a shard of an archive without a server, by Qdrant's own engine (extra `edge`), in a child process.

Takes the tar that `shard_tar` makes. It is unpacked in a folder of its own that is removed whatever comes;
one that a killed program left behind goes with the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from exporter.backup.archive.entries import BadArchive
from exporter.backup.verifying.samples import Searched
from exporter.clock import Clock
from exporter.errors import JobError
from exporter.printable import printable
from exporter.qdrant.versions import Version, parse_version

PACKAGE = "qdrant_edge"
# Seen: archives of 1.16.3 and 1.18.3 open, those of 1.12.6 do not ("Failed to read segment state").
FIRST_VERSION = Version(1, 16, 0)
# What a newer server wrote the engine may refuse for being new: that proves nothing against the archive.
NEWEST_SURE = (1, 18)
# The tar, the files out of it, and half as much for what loading makes of them; the logs of a shard are
# 64 MiB, where a file system knows no holes.
ROOM_PER_BYTE = 2.5
LEAST_ROOM_BYTES = 64 << 20
FOLDER_PREFIX = "qdrantx-engine-"
# Younger ones may belong to a program that has not taken its lock yet.
LEFT_OVER_SECONDS = 60.0
SAID_CHARACTERS = 300  # of what the engine says, in a message


class EngineCannot(JobError):
    """The engine cannot open it here, and that is no fault of the archive: says why."""


@dataclass(frozen=True, slots=True)
class OpenedShard:
    """What the engine found in a shard."""

    points: int  # counted exactly, the writes applied that stood in the shard's log only
    payload_schema: Mapping[str, str] = field(default_factory=dict)  # type by indexed field
    content: str | None = None  # backup/content.py; None where only counted
    searched: Searched = field(default_factory=Searched)


def engine_available() -> bool:
    """Whether the extra `edge` is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def engine_reads(version: str) -> bool:
    """Whether the engine may open what a server of this version wrote."""
    parsed = parse_version(version)
    return parsed is not None and parsed >= FIRST_VERSION


class Engine:
    """Opens shards, one child process each. `folder`: where they are unpacked; None: the system's."""

    def __init__(self, *, clock: Clock, folder: Path | None = None) -> None:
        self._clock = clock
        self._folder = folder or Path(tempfile.gettempdir())

    async def open(
        self, tar: AsyncIterator[bytes], *, size_bytes: int, version: str, deep: bool = True
    ) -> OpenedShard:
        """Open a shard and return what is in it; `deep` False only counts it.

        `tar`: of `size_bytes`, by shard_tar; `version`: of the server that wrote it. Raises EngineCannot,
        BadArchive where the engine refuses what it should open, and what reading the tar raises.
        """
        self.check(version)
        await asyncio.to_thread(self._sweep)
        await asyncio.to_thread(self._check_room, size_bytes)
        work = await asyncio.to_thread(_Work, self._folder)
        try:
            await _write(tar, work.tar)
            answer = await _answer(work, deep=deep)
        finally:
            await asyncio.shield(asyncio.to_thread(work.remove))
        if "refused" in answer:
            raise _refusal(str(answer["refused"]), version)
        return _opened(answer, deep=deep)

    def check(self, version: str) -> None:
        """Raise EngineCannot where there is no use in trying."""
        if not engine_available():
            raise EngineCannot("the engine is not installed: install qdrant-exporter[edge]")
        if not engine_reads(version):
            raise EngineCannot(
                f"the engine opens archives from {FIRST_VERSION} on; this is {printable(version)}"
            )

    def _check_room(self, size_bytes: int) -> None:
        needed = int(ROOM_PER_BYTE * size_bytes) + LEAST_ROOM_BYTES
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise EngineCannot(f"{self._folder} cannot be used: {error.strerror}") from error
        if free < needed:
            raise EngineCannot(f"{self._folder} has {free:,} bytes free, and {needed:,} are needed to unpack")

    def _sweep(self) -> None:
        """Remove the folders of programs that are gone."""
        for left in self._folder.glob(f"{FOLDER_PREFIX}*"):
            with contextlib.suppress(OSError):
                if self._clock.now() - left.stat().st_mtime < LEFT_OVER_SECONDS:
                    continue
                with (left / "lock").open("ab") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)


class _Work:
    """The folder of one call: for its owner alone, and locked while its owner lives."""

    def __init__(self, folder: Path) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=folder))
            self._lock: IO[bytes] = (self.path / "lock").open("ab")
        except OSError as error:
            raise EngineCannot(f"{folder} cannot be used: {error.strerror}") from error
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.tar = self.path / "shard.tar"
        self.shard = self.path / "shard"
        self.said = self.path / "said"  # by the engine, on its way out

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


async def _write(tar: AsyncIterator[bytes], path: Path) -> None:
    file = await asyncio.to_thread(path.open, "wb")
    try:
        async for chunk in tar:
            await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EngineCannot(f"no room is left in {path.parent}") from error
        raise EngineCannot(f"{path} cannot be written: {error.strerror}") from error
    finally:
        await asyncio.to_thread(_closed, file)


def _closed(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # the last bytes have no room either: the engine will say so
        file.close()


async def _answer(work: _Work, *, deep: bool) -> dict[str, Any]:
    """Ask a child process. Raises EngineCannot, BadArchive where it aborts."""
    said = await asyncio.to_thread(work.said.open, "wb")
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "exporter.backup.archive.engine_process", str(os.getpid()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=said,
            start_new_session=True,
        )  # fmt: skip
    finally:
        said.close()
    try:
        asked = {"tar": str(work.tar), "folder": str(work.shard), "deep": deep}
        answer, _ = await child.communicate(json.dumps(asked).encode())
    finally:
        if child.returncode is None:
            child.kill()
            await asyncio.shield(child.wait())
    if child.returncode == -signal.SIGKILL:
        raise EngineCannot("the engine's process was killed; for want of memory, perhaps")
    if child.returncode != 0:
        return {"refused": f"it ended by itself ({child.returncode}): {await asyncio.to_thread(_last, work)}"}
    found: dict[str, Any] = json.loads(answer)
    return found


def _last(work: _Work) -> str:
    return work.said.read_bytes()[-SAID_CHARACTERS:].decode("utf-8", "replace").strip()


def _refusal(said: str, version: str) -> JobError:
    """Return what a refusal means: whose fault it is."""
    text = f"the engine does not open it: {printable(said)[:SAID_CHARACTERS]}"
    parsed = parse_version(version)
    is_new = parsed is None or parsed[:2] > NEWEST_SURE
    if is_new or os.strerror(errno.ENOSPC) in said or os.strerror(errno.ENOMEM) in said:
        return EngineCannot(text)
    return BadArchive(text)


def _opened(answer: Mapping[str, Any], *, deep: bool) -> OpenedShard:
    points = answer["points"]
    if not deep:
        return OpenedShard(points, answer["payload_schema"])
    if answer["read"] != points:
        raise BadArchive(f"it counts {points:,} points, and {answer['read']:,} can be read")
    searched = Searched(answer["queries"], answer["missed"], answer["lost"])
    return OpenedShard(points, answer["payload_schema"], answer["content"], searched)
