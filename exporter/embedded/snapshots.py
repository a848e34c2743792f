"""The snapshots of one server: their files on disk, and those being written or loaded.

Those of a collection lie in a folder of its name, which stays when the collection is deleted. Beside each
lies its SHA-256 in a file of its own, but not beside one that was uploaded. A second snapshot within the same
second has the same name and takes the first one's place. All of that is as Qdrant does it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from exporter.clock import Clock
from exporter.embedded.catalog import Catalog, Collection
from exporter.embedded.collection_config import as_archived, asked_schema, check_name
from exporter.embedded.refusals import RefusalError, no_snapshot
from exporter.embedded.snapshots_unpacked import unpack_collection, unpack_shard

SUFFIX = ".snapshot"  # of every file that is listed
CHECKSUM_SUFFIX = ".checksum"
COLLECTION_FORMAT = "0.4.2"  # what 1.18.3 writes into version.info


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was received."""

    path: Path
    name: str  # as the client called it, perhaps nothing
    sha256: str


class Snapshots:
    """The snapshots of one server. `folder` is the server's data folder."""

    def __init__(self, *, catalog: Catalog, folder: Path, clock: Clock) -> None:
        # all three by the name that was asked for, an alias or nothing at all too, as Qdrant counts
        self.created: Counter[str] = Counter()
        self.creating: Counter[str] = Counter()
        self.recovering: Counter[str] = Counter()
        self._catalog = catalog
        self._folder = folder / "snapshots"
        self._workshop = folder / "snapshots-under-way"
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Remove what a killed server left half done."""
        await asyncio.to_thread(shutil.rmtree, self._workshop, ignore_errors=True)

    async def close(self) -> None:
        """End what nobody waits for."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def names(self) -> list[str]:
        """Every collection, and every other name that a snapshot was asked of."""
        return list(dict.fromkeys((*self._catalog.collections, *self.created, *self.recovering)))

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that nobody waits for; how it ends is for the lists to show."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def listed(self, name: str) -> list[dict[str, Any]]:
        """Return all snapshots of a collection. Raises RefusalError (404)."""
        folder = self._folder_of(self._catalog.resolve(name).name)
        found = []
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            with suppress(FileNotFoundError):  # deleted a moment ago
                found.append(_described(path))
        return found

    def find(self, name: str, snapshot: str) -> Path:
        """Return the file of a snapshot. Raises RefusalError (404)."""
        folder = self._folder_of(self._catalog.resolve(name).name)
        path = folder / snapshot
        if path.parent != folder or path.name in ("", ".", "..") or not path.is_file():
            raise no_snapshot(snapshot)
        return path

    async def create(self, name: str) -> dict[str, Any]:
        """Write a snapshot of a collection; return what is listed of it. Raises RefusalError (404, 500)."""
        self.created[name] += 1
        collection = self._catalog.resolve(name)
        moment = datetime.fromtimestamp(self._clock.now(), UTC)
        file_name = f"{collection.name}-{self._catalog.peer_id}-{moment:%Y-%m-%d-%H-%M-%S}{SUFFIX}"
        with self._counted(self.creating, name):
            async with self._place() as place:
                written = await collection.shard.snapshot(place, self._documents(collection))
                path = self._folder_of(collection.name) / file_name
                await asyncio.to_thread(_publish, place, path, written.checksum)
                return _described(path)

    async def delete(self, path: Path) -> bool:
        """Delete a snapshot that was found."""
        await asyncio.to_thread(path.unlink, missing_ok=True)
        await asyncio.to_thread(_checksum_of(path).unlink, missing_ok=True)
        return True

    async def receive(self, pieces: AsyncIterator[bytes], name: str) -> Upload:
        """Write an upload to a file, which whoever loads it removes. Raises what `pieces` does."""
        path, sha256 = self._workshop / str(uuid.uuid4()), hashlib.sha256()
        await asyncio.to_thread(self._workshop.mkdir, parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
                    sha256.update(piece)
        except BaseException:
            _remove(path)
            raise
        return Upload(path, name, sha256.hexdigest())

    async def recover(self, name: str, upload: Upload, checksum: str | None) -> None:
        """Load an uploaded snapshot into a collection, or make one of it. Raises RefusalError.

        The file stays among the snapshots of that name, also when it cannot be loaded.
        """
        async with self._taking(upload, checksum) as place:
            check_name(name)
            path = self._folder_of(name) / _file_name(upload.name)
            await asyncio.to_thread(_publish, upload.path, path, None)
            with self._counted(self.recovering, name):
                unpacked = await asyncio.to_thread(unpack_collection, path, place)
                await self._catalog.recover(name, unpacked)

    async def recover_shard(self, name: str, shard: int, upload: Upload, checksum: str | None) -> None:
        """Load an uploaded snapshot of a shard. Raises RefusalError."""
        async with self._taking(upload, checksum) as place:
            self._catalog.resolve(name)
            if shard != 0:
                raise RefusalError(404, f"Not found: shard {shard} not found")
            with self._counted(self.recovering, name):
                unpacked = await asyncio.to_thread(unpack_shard, upload.path, place)
                await self._catalog.recover_shard(name, unpacked)

    def _documents(self, collection: Collection) -> dict[str, str]:
        """Return the small files of an archive, in their order."""
        peer = self._catalog.peer_id
        replica = {"is_local": True, "this_peer_id": peer, "peers": {str(peer): "Active"}}
        schema = {name: asked_schema(shown) for name, shown in collection.index_schema.items()}
        return {
            "0/replica_state.json": _json(replica),  # a shard's members come in one stretch
            "0/shard_config.json": _json({"type": "ReplicaSet"}),
            "version.info": COLLECTION_FORMAT,
            "config.json": _json(as_archived(collection.config)),
            "shard_key_mapping.json": _json([]),
            "payload_index.json": _json({"schema": schema}),
        }

    def _folder_of(self, name: str) -> Path:
        return self._folder / name  # check_name saw to it that this is one folder's name

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[Path]:
        """Lend a path to work at: nothing is there before, and nothing afterwards."""
        path = self._workshop / str(uuid.uuid4())
        await asyncio.to_thread(self._workshop.mkdir, parents=True, exist_ok=True)
        try:
            yield path
        except OSError as error:
            raise RefusalError(500, f"Service internal error: File IO error: {error.strerror}") from error
        finally:
            await asyncio.to_thread(_remove, path)

    @asynccontextmanager
    async def _taking(self, upload: Upload, checksum: str | None) -> AsyncIterator[Path]:
        """Check an upload, lend a path to unpack it at, and remove both in the end."""
        try:
            if checksum is not None and checksum.lower() != upload.sha256:
                text = (
                    f"expected {upload.sha256}, actual {checksum}"  # the wrong way round, as Qdrant says it
                )
                raise RefusalError(400, f"Checksum mismatch: {text}")
            async with self._place() as place:
                yield place
        finally:
            await asyncio.to_thread(_remove, upload.path)

    @contextmanager
    def _counted(self, running: Counter[str], name: str) -> Iterator[None]:
        running[name] += 1
        try:
            yield
        finally:
            running[name] -= 1


def _file_name(given: str) -> str:
    """Return the last part of what a client calls its file, or a name of ours where that names none."""
    last = PurePosixPath(given.replace("\0", "")).name
    return str(uuid.uuid4()) if last in ("", "..") else last


def _json(document: Any) -> str:
    return msgspec.json.encode(document).decode()


def _publish(place: Path, path: Path, checksum: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if checksum is not None:
        _checksum_of(path).write_text(checksum, encoding="ascii")
    os.replace(place, path)


def _checksum_of(path: Path) -> Path:
    return path.with_name(path.name + CHECKSUM_SUFFIX)


def _described(path: Path) -> dict[str, Any]:
    seen = path.stat()
    description: dict[str, Any] = {
        "name": path.name,
        "creation_time": f"{datetime.fromtimestamp(seen.st_mtime, UTC):%Y-%m-%dT%H:%M:%S}",
        "size": seen.st_size,
    }
    if (checksum := _checksum_of(path)).exists():
        description["checksum"] = checksum.read_text(encoding="ascii")
    return description


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
