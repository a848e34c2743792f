"""Archives of snapshots, for the tests that send them back: one shard's part of a collection's."""

from __future__ import annotations

from collections.abc import AsyncIterator

from exporter.backup.archive.shard_tar import shard_tar
from exporter.backup.archive.walk import TarWalk, shards_of


async def cut_shard(archive: bytes, shard: int) -> bytes:
    """Return the tar of a shard, as a restore sends it, from a collection's archive."""
    walk = TarWalk()
    walk.feed(archive)
    (held,) = (one for one in shards_of(walk.finish()) if one.shard == shard)

    async def stretch() -> AsyncIterator[bytes]:
        yield archive[held.offset : held.offset + held.length]

    return b"".join([piece async for piece in shard_tar(stretch(), shard)])
