"""Proves a set by restoring it to a server, for what the engine cannot open; then all of it is read there.

An export is imported: that reads all of it there by itself and compares it with the manifest. The target is
a scratch collection with our mark, and is removed whatever comes. One that a killed program left is gone on
with by the next verification of the same set, or reaped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from exporter.backup.calling import Limits, again
from exporter.backup.content import ContentHash
from exporter.backup.importing.run import Importer
from exporter.backup.importing.words import Imported, ImportLimits, ImportOptions
from exporter.backup.progress import Progress, Silent, step
from exporter.backup.restoring import schema
from exporter.backup.restoring.plan import default_target
from exporter.backup.restoring.reaping import Reaper
from exporter.backup.restoring.run import Restorer
from exporter.backup.restoring.settling import NotProven
from exporter.backup.restoring.target import RestoreLimits
from exporter.backup.restoring.words import Restored, RestoreOptions
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.verifying.findings import Findings
from exporter.backup.verifying.samples import LIMIT, LONG_SEARCH, Chosen, Searched, is_found
from exporter.backup.words import RestoreRecord, SetKind, ShardKey, StoredSet
from exporter.clock import Clock
from exporter.errors import BadPayload, JobError, JobRefused, SourceError, SourceRefused
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked

log = get_logger()

# Points of a page. With multivectors of a megabyte each that is as much as an answer may be; where it is
# more, pages get smaller.
PAGE_POINTS = 256
# Of one page: all peers are asked, and each shard reads as many points.
PAGE_SECONDS = 120.0

Restore = Callable[[StoredSet, RestoreOptions], Awaitable[Restored]]
Import = Callable[[StoredSet, ImportOptions], Awaitable[Imported]]
Remove = Callable[[RestoreRecord], Awaitable[object]]


class Served:
    """Proves sets on the servers of `peers`.

    `restore`, `load` and `remove` are Restorer's, Importer's and Reaper's. `limit_bytes`: larger sets are
    refused, as where the servers are the very ones that were backed up; `free_bytes` of their disks, by
    label, where known. The caller holds the locks of both clusters.
    """

    def __init__(
        self,
        *,
        peers: Sequence[PeerAt],
        shelf: Shelf,
        restore: Restore,
        load: Import,
        remove: Remove,
        progress: Progress | None = None,
        limits: Limits | None = None,
        limit_bytes: int | None = None,
        free_bytes: Mapping[str, int] | None = None,
    ) -> None:
        self._peers = tuple(peers)
        self._shelf = shelf
        self._restore = restore
        self._load = load
        self._remove = remove
        self._progress = progress or Silent()
        self._limits = limits or Limits()
        self._limit_bytes = limit_bytes
        self._free_bytes = dict(free_bytes or {})

    async def prove(self, stored: StoredSet) -> Findings:
        """Restore or import a set, compare, and remove what was made of it.

        Raises JobRefused where it must not or cannot be made there, JobError where a server failed in a way
        that says nothing of the set, StoreError.
        """
        self._check_size(stored)
        target = default_target(stored.manifest.collection, stored.manifest.id, scratch=True)
        prove = self._imported if stored.manifest.kind is SetKind.EXPORT else self._restored
        try:
            # an earlier bad proof must not stand in the way of the next
            return await prove(replace(stored, proofs=()), target)
        except NotProven as error:
            return Findings(self._by, (str(error.__cause__ or error),))
        except SourceError as error:
            raise JobError(f"backup {stored.manifest.id} could not be read on {self._by}: {error}") from error
        finally:
            await asyncio.shield(self._clean(target))

    @property
    def _by(self) -> str:
        return f"server {self._peers[0].label}"

    def _check_size(self, stored: StoredSet) -> None:
        size, limit = stored.manifest.size_bytes, self._limit_bytes
        if limit is not None and size > limit:
            raise JobRefused(
                f"backup {stored.manifest.id} has {size:,} bytes, and no more than {limit:,} are restored"
                " beside the original: raise backup.verify.same_cluster_limit, or set backup.verify.target"
            )

    async def _imported(self, stored: StoredSet, target: str) -> Findings:
        """Import an export, which compares all points, and search for some of them."""
        manifest = stored.manifest
        options = ImportOptions(target=target, scratch=True, free_bytes=self._free_bytes)
        imported = await self._load(stored, options)
        reading = _Reading(target, self._peers[0], self._limits)
        await reading.allow_everything()
        problems = [
            f"after the import {problem}" for problem in await reading.index_problems(manifest.payload_schema)
        ]
        searched = Searched()
        keys: list[ShardKey] = [layout.key for layout in manifest.keys]
        for key in keys or [None]:
            searched += await reading.searched_some(key)
        if searched.problem is not None:
            problems.append(f"it answers wrong: {searched.problem}")
        return Findings(self._by, tuple(problems), content=imported.content)

    async def _restored(self, stored: StoredSet, target: str) -> Findings:
        manifest = stored.manifest
        options = RestoreOptions(target=target, scratch=True, check_hashes=False, free_bytes=self._free_bytes)
        restored = await self._restore(stored, options)
        reading = _Reading(target, self._peers[0], self._limits)
        await reading.allow_everything()
        problems = [
            f"after the restore {problem}"
            for problem in await reading.index_problems(manifest.payload_schema)
        ]
        content, searched = ContentHash(), Searched()
        with step(self._progress, "read all points"):
            keys: list[ShardKey] = [layout.key for layout in manifest.keys]
            for key in keys or [None]:
                searched += await reading.read(key, content)
        if content.points != restored.points:
            problems.append(f"it counts {restored.points:,} points, and {content.points:,} can be read")
        if searched.problem is not None:
            problems.append(f"it answers wrong: {searched.problem}")
        points = {str(replica.shard): replica.points for replica in restored.replicas}
        return Findings(self._by, tuple(problems), points, str(content))

    async def _clean(self, target: str) -> None:
        """Remove what was restored; what stays is logged, and is the reaper's."""
        try:
            records = await self._shelf.restores()
        except JobError as error:
            log.warning("verify.left", collection=printable(target), error=str(error))
            return
        # newest first: an older one of the same name is of a run that was killed when its target was gone
        for record in reversed(records):
            if record.scratch and record.target == target:
                try:
                    await self._remove(record)
                except JobError as error:
                    log.warning("verify.left", collection=printable(target), error=str(error))


class _Reading:
    """Reads a collection that was restored or imported through one peer."""

    def __init__(self, collection: str, peer: PeerAt, limits: Limits) -> None:
        self._collection = collection
        self._peer = peer
        self._limits = limits

    async def allow_everything(self) -> None:
        """Switch strict mode off: its limits are the users', and the collection is nobody's."""
        off = {"strict_mode_config": {"enabled": False}}
        await self._ask(keeping.patch_collection(self._collection, off))

    async def index_problems(self, wanted: Mapping[str, Any]) -> tuple[str, ...]:
        """Say which payload indexes are not as they were."""
        found = keeping.read_description(await self._ask(keeping.describe(self._collection)))
        return schema.index_differences(wanted, found.payload_schema)

    async def read(self, key: ShardKey, content: ContentHash) -> Searched:
        """Take all points of a shard key, or all there are, into a content; search for some of them."""
        chosen = Chosen[Mapping[str, Any]]()
        async for page in self._pages(key):
            await asyncio.to_thread(_take, page, content, chosen)  # some MB a page: the loop must go on
        return await self._searched_all(chosen, key)

    async def searched_some(self, key: ShardKey) -> Searched:
        """Search for some of the first points of a shard key, or of all there are."""
        chosen = Chosen[Mapping[str, Any]]()
        async with aclosing(self._pages(key)) as pages:
            async for page in pages:
                for record in page:
                    chosen.offer(str(record["id"]), record)
                break
        return await self._searched_all(chosen, key)

    async def _searched_all(self, chosen: Chosen[Mapping[str, Any]], key: ShardKey) -> Searched:
        searched = Searched()
        for record in chosen.points():
            for name, vector in _named(record.get("vector")):
                searched += await self._searched(record["id"], vector, _using(name) | _of_key(key))
        return searched

    async def _pages(self, key: ShardKey) -> AsyncGenerator[Sequence[Mapping[str, Any]], None]:
        limit, offset = PAGE_POINTS, None
        while True:
            body = {"limit": limit, "with_payload": True, "with_vector": True, "offset": offset}
            asked = keeping.scroll(self._collection, body | _of_key(key))
            try:
                page, offset = await asyncio.to_thread(keeping.read_scroll, await self._ask(asked))
            except BadPayload:
                if limit == 1:
                    raise
                limit //= 4  # it was larger than any answer may be, perhaps
                continue
            yield page
            if offset is None:
                return

    async def _searched(self, point_id: int | str, vector: Any, among: Mapping[str, Any]) -> Searched:
        """Search for a point by its own vector."""
        only = {"must": [{"has_id": [point_id]}]}
        # vectors as they are: quantized to bits, as the owner may like it, many look like one
        plain = {"quantization": {"ignore": True}}
        own = await self._found({"query": vector, "limit": 1, "filter": only, "params": plain, **among})
        own_score = own[0][1] if own else None
        for exact in (False, True):
            body = {
                "query": vector,
                "limit": LIMIT,
                "params": plain | {"hnsw_ef": LONG_SEARCH, "exact": exact},
                **among,
            }
            if is_found(str(point_id), own_score, await self._found(body)):
                return Searched(queries=1, missed=int(exact))
        return Searched(queries=1, missed=1, lost=1)

    async def _found(self, body: Mapping[str, Any]) -> list[tuple[str, float]]:
        """Return what a search shows; one that the server refuses shows nothing."""
        try:
            answer = await self._ask(keeping.query(self._collection, body))
        except SourceRefused as error:
            log.warning(
                "verify.search_refused", collection=printable(self._collection), error=printable(str(error))
            )
            return []
        return [(str(point["id"]), point["score"]) for point in keeping.read_query(answer)]

    async def _ask(self, asked: Asked) -> bytes:
        call = self._peer.courier.call
        return await again(lambda: call(asked, deadline_seconds=PAGE_SECONDS), self._limits)


def served_on(
    peers: Sequence[PeerAt],
    *,
    cluster: str,
    shelf: Shelf,
    clock: Clock,
    progress: Progress | None = None,
    limits: RestoreLimits | None = None,
    limit_bytes: int | None = None,
    free_bytes: Mapping[str, int] | None = None,
) -> Served:
    """Return what proves sets of a cluster on these peers: all of a cluster's, or one other server."""
    limits = limits or RestoreLimits()
    restorer = Restorer(peers=peers, shelf=shelf, clock=clock, progress=progress, limits=limits)
    importer = Importer(
        cluster=cluster,
        peers=peers,
        shelf=shelf,
        clock=clock,
        progress=progress,
        limits=ImportLimits(target=limits),
    )
    reaper = Reaper(peers=peers, shelf=shelf, clock=clock, limits=limits)
    return Served(
        peers=peers,
        shelf=shelf,
        restore=restorer.restore,
        load=importer.import_set,
        remove=reaper.remove,
        progress=progress,
        limits=limits.calls,
        limit_bytes=limit_bytes,
        free_bytes=free_bytes,
    )


def _take(page: Sequence[Mapping[str, Any]], content: ContentHash, chosen: Chosen[Mapping[str, Any]]) -> None:
    for record in page:
        content.add_record(record)
        chosen.offer(str(record["id"]), record)


def _named(vector: Any) -> list[tuple[str, Any]]:
    named = vector if isinstance(vector, Mapping) else {"": vector}
    return [(name, one) for name, one in named.items() if not _is_empty(one)]


def _is_empty(vector: Any) -> bool:
    return not (vector.get("indices") if isinstance(vector, Mapping) else vector)


def _using(name: str) -> dict[str, Any]:
    return {"using": name} if name else {}


def _of_key(key: ShardKey) -> dict[str, Any]:
    return {} if key is None else {"shard_key": key}
