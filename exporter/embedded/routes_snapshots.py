"""The routes to snapshots: list, create, download, delete, and upload of a collection's or of a shard's."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiohttp import BodyPartReader, web

from exporter.embedded.answers import accepted
from exporter.embedded.refusals import RefusalError, no_snapshot
from exporter.embedded.requests import collection_name
from exporter.embedded.snapshots import Snapshots, Upload
from exporter.embedded.snapshots_download import send_file

PIECE_BYTES = 256 * 1024
FIELD = "snapshot"  # of the form that is uploaded
PRIORITIES = ("no_sync", "snapshot", "replica")  # one node has nobody to ask, so all mean the same here
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
LARGEST_SHARD = 2**32 - 1


class SnapshotRoutes:
    """Everything that ends in /snapshots and beyond."""

    def __init__(self, *, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    def add_to(self, app: web.Application, answering: Any) -> None:
        """Register every route, each wrapped by `answering`, which makes a response of a result."""
        one = "/collections/{collection_name:[^/]+}"
        single = f"{one}/snapshots/{{snapshot_name:[^/]+}}"
        router = app.router
        router.add_get(f"{one}/snapshots", answering(self.listed))
        router.add_post(f"{one}/snapshots", answering(self.create))
        router.add_post(f"{one}/snapshots/upload", answering(self.upload))
        router.add_post(f"{one}/shards/{{shard:[^/]+}}/snapshots/upload", answering(self.upload_shard))
        router.add_get(single, self.download, allow_head=False)  # a HEAD is 404 in Qdrant
        router.add_delete(single, answering(self.delete))

    async def listed(self, request: web.Request) -> Any:
        """All snapshots of a collection."""
        return self._snapshots.listed(collection_name(request))

    async def create(self, request: web.Request) -> Any:
        """Write a snapshot; the answer is what is listed of it."""
        return await self._done(_waits(request), self._snapshots.create(collection_name(request)))

    async def delete(self, request: web.Request) -> Any:
        """Delete a snapshot."""
        path = self._snapshots.find(collection_name(request), request.match_info["snapshot_name"])
        return await self._done(_waits(request), self._snapshots.delete(path))

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Send a snapshot's file, or a range of it."""
        name = request.match_info["snapshot_name"]
        try:
            return await send_file(request, self._snapshots.find(collection_name(request), name))
        except RefusalError as refusal:
            raise RefusalError(refusal.status, refusal.text, plain=True) from None
        except FileNotFoundError:  # deleted a moment ago
            raise RefusalError(404, no_snapshot(name).text, plain=True) from None

    async def upload(self, request: web.Request) -> Any:
        """Load a collection's snapshot, into what is there or into a new collection."""
        wait, checksum, name = _waits(request), _checksum(request), collection_name(request)
        upload = await self._received(request)
        return await self._done(wait, self._snapshots.recover(name, upload, checksum), True)

    async def upload_shard(self, request: web.Request) -> Any:
        """Load a shard's snapshot into that shard."""
        wait, checksum, name = _waits(request), _checksum(request), collection_name(request)
        shard = _shard(request)
        upload = await self._received(request)
        return await self._done(wait, self._snapshots.recover_shard(name, shard, upload, checksum))

    async def _done(self, wait: bool, work: Coroutine[Any, Any, Any], result: Any = None) -> Any:
        """Return what comes of the work, or `result` where that is nothing; 202 where nobody waits for it."""
        if wait:
            done = await work
            return result if done is None else done
        self._snapshots.start(work)
        return accepted(time.perf_counter())

    async def _received(self, request: web.Request) -> Upload:
        """Write the form's file to disk. Raises RefusalError (400, 415), in plain text."""
        if request.content_type != "multipart/form-data":
            raise RefusalError(415, "ContentTypeIncompatible", plain=True)
        try:
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader) and part.name == FIELD:
                    return await self._snapshots.receive(_pieces(part), part.filename or "")
        except ValueError as error:  # no form, whatever its header says
            raise RefusalError(400, f"Multipart stream is incomplete: {error}", plain=True) from error
        raise RefusalError(400, f"Required field is missing: {FIELD}", plain=True)


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(PIECE_BYTES):
        yield piece


def _waits(request: web.Request) -> bool:
    """The client wants the answer when it is done, which here is so where it says nothing."""
    given = request.query.get("wait", "true")
    if given not in ("true", "false"):
        raise _bad_query("provided string was not `true` or `false`")
    return given == "true"


def _checksum(request: web.Request) -> str | None:
    """Return the SHA-256 that the client knows, having looked at the priority too. Raises RefusalError."""
    priority, checksum = request.query.get("priority"), request.query.get("checksum")
    if priority is not None and priority not in PRIORITIES:
        known = ", ".join(f"`{one}`" for one in PRIORITIES)
        raise _bad_query(f"unknown variant `{priority}`, expected one of {known}")
    if checksum is not None and not SHA256.fullmatch(checksum):
        text = "[checksum: Validation error: invalid_sha256_hash]"
        raise RefusalError(422, f"Validation error in query parameters: {text}")
    return checksum


def _shard(request: web.Request) -> int:
    given = request.match_info["shard"]
    if not given.isdecimal() or int(given) > LARGEST_SHARD:
        text = f'can not parse "{given}" to a u32'
        raise RefusalError(400, f"Deserialize error in path parameters: {text}")
    return int(given)


def _bad_query(text: str) -> RefusalError:
    return RefusalError(400, f"Deserialize error in query parameters: {text}")
