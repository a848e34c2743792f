"""A shard out of the store and into the server that holds it, streamed: nothing is held whole."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from exporter.backup.archive.shard_tar import shard_tar
from exporter.backup.progress import Progress, step
from exporter.backup.restoring.target import Places, Target
from exporter.backup.restoring.words import ShardUpload
from exporter.backup.shelf import place_of
from exporter.backup.storage.contract import Store
from exporter.backup.words import Archive, Manifest
from exporter.errors import JobError, JobRefused
from exporter.qdrant import keeping
from exporter.qdrant.keeping import ACTIVE


class Sender:
    """Reads the archives of one set."""

    def __init__(self, manifest: Manifest, *, store: Store, progress: Progress) -> None:
        self._place = place_of(manifest)
        self._store = store
        self._progress = progress

    async def check_sizes(self, archives: Iterable[Archive]) -> None:
        """Raise JobRefused where a file has another size than by the manifest, StoreMissing without one."""
        for archive in archives:
            size = await self._store.size(self._place.file(archive.file))
            if size != archive.size_bytes:
                raise JobRefused(
                    f"{archive.file} has {size:,} bytes, and {archive.size_bytes:,} by the manifest: the"
                    " backup is damaged"
                )

    async def check_hashes(self, archives: Sequence[Archive]) -> None:
        """Read the archives through. Raises JobRefused where one is not what was stored."""
        done = 0
        with step(self._progress, "check SHA-256", sum(archive.size_bytes for archive in archives)):
            for archive in archives:
                found = hashlib.sha256()
                async with self._store.read(self._place.file(archive.file)) as chunks:
                    async for chunk in chunks:
                        found.update(chunk)
                        done += len(chunk)
                        self._progress.advance(done)
                if found.hexdigest() != archive.sha256:
                    raise JobRefused(
                        f"{archive.file} has not the SHA-256 in the manifest: the backup is damaged"
                    )

    async def send(
        self, upload: ShardUpload, target: Target, label: str, sent: Callable[[int], None]
    ) -> None:
        """Upload a shard to a peer that holds a replica of it. `sent` is told the bytes read so far.

        Raises SourceError, StoreError, BadArchive. After SourceTimeout and SourceUnreachable the server may
        have taken it all the same.
        """
        path = self._place.file(upload.archive.file)
        async with self._store.read(path, offset=upload.offset, length=upload.length) as chunks:
            tar = shard_tar(_counted(chunks, sent), upload.shard)
            try:
                await target.peer(label).courier.upload(
                    keeping.shard_upload_path(target.name, upload.shard),
                    endpoint=keeping.SHARD_UPLOAD,
                    file_name=f"shard-{upload.shard}.snapshot",
                    size_bytes=upload.size_bytes,
                    chunks=tar,
                    stall_seconds=target.limits.stall,
                    answer_seconds=target.answer_seconds(upload),
                )
            finally:
                await tar.aclose()  # type: ignore[attr-defined]  # an async generator, by its own file


def holder_of(shard: int, places: Places, loads: dict[str, int]) -> str:
    """Choose the peer to upload a shard to: it has an Active replica, and was sent least so far.

    Raises JobError where nobody has a replica.
    """
    found = [
        (replica.state != ACTIVE, loads.get(label, 0), label)
        for label, placement in places.said.items()
        for replica in placement.local_shards
        if replica.shard_id == shard
    ]
    if not found:
        raise JobError(f"no peer that answers has a replica of shard {shard}")
    return min(found)[2]


async def _counted(chunks: AsyncIterator[bytes], sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    done = 0
    async for chunk in chunks:
        done += len(chunk)
        sent(done)
        yield chunk
