"""One peer of a SnapshotCluster: its own disk, and its HTTP face."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from tests.kit.snapshot_cluster.knobs import Seen
from tests.kit.snapshot_cluster.world import RefusedError

if TYPE_CHECKING:
    from tests.kit.snapshot_cluster.cluster import SnapshotCluster

UPLOAD_LIMIT_BYTES = 1 << 30
CHUNK_BYTES = 64 * 1024
OPEN_ROUTES = ("/", "/healthz", "/livez", "/readyz")
# What a read-only key may POST.
READING_POSTS = re.compile(r"/points(/scroll|/count|/query)?$")


@dataclass(slots=True)
class StoredSnapshot:
    """A file in a peer's snapshots folder."""

    name: str
    data: bytes
    creation_time: str | None
    checksum: str | None
    etag: str

    def described(self) -> dict[str, Any]:
        """Return it as lists show it."""
        return {
            "name": self.name,
            "creation_time": self.creation_time,
            "size": len(self.data),
            "checksum": self.checksum,
        }


Answer = Callable[[Seen, tuple[str, ...]], Awaitable[Any]]


@dataclass(slots=True)
class Peer:
    """One server. `snapshots`: by collection's name, which they outlive; "" for the whole storage's."""

    cluster: SnapshotCluster
    number: int
    id: int
    version: str
    port: int = 0
    frozen: bool = False
    started: str = "2026-11-26T05:22:09.590Z"
    snapshots: dict[str, dict[str, StoredSnapshot]] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    outdated: dict[str, list[Any]] = field(default_factory=dict)  # what it shows next, by collection
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    taking: set[asyncio.Task[Any]] = field(default_factory=set)  # snapshots that a kill ends
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether its socket is open."""
        return self._runner is not None

    async def start(self) -> None:
        """Open the socket, the second time on the same port."""
        application = web.Application(client_max_size=UPLOAD_LIMIT_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, shutdown_timeout=0.0, access_log=None, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        if not self.port:
            self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the socket and every connection, in the middle of an answer too."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def lay(
        self, collection: str, name: str, data: bytes, *, created: str | None, checksum: bool = True
    ) -> None:
        """Put a file into the snapshots folder, whoever made it."""
        digest = hashlib.sha256(data).hexdigest()
        etag = f'"{len(data):x}:{digest[:12]}"'
        made = StoredSnapshot(name, data, created, digest if checksum else None, etag)
        self.snapshots.setdefault(collection, {})[name] = made

    def remove(self, collection: str, name: str) -> None:
        """Delete a snapshot; refuses with 404."""
        stored = self.stored(collection, name)
        del self.snapshots[collection][stored.name]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = await self._seen(request)
        self.cluster.requests.append(seen)
        knobs = self.cluster.knobs
        if knobs.on_request is not None:
            waiting = knobs.on_request(self.number, seen.method, seen.path)
            if waiting is not None:
                await waiting
        self.cluster.write_between()
        while self.frozen:
            await self.thawed.wait()
        self.cluster.optimizers.advance()
        try:
            self._admit(request)
            self._measure(request)
            failure = next((one for one in knobs.failures if one.strikes(seen)), None)
            if failure is not None:
                if failure.done:
                    await self._answer(request, seen)
                return _error(failure.status, failure.text, failure.headers)
            answer = await self._answer(request, seen)
        except RefusedError as refused:
            return _error(refused.status, refused.text)
        if seen.method == "PATCH" and knobs.patch_seconds:
            await asyncio.sleep(knobs.patch_seconds)
        return answer

    async def _seen(self, request: web.Request) -> Seen:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = None
        if request.method != "GET" and request.content_type == "application/json" and request.can_read_body:
            body = json.loads(await request.read() or b"null")
        return Seen(self.number, request.method, request.raw_path, headers, body)

    def _admit(self, request: web.Request) -> None:
        knobs = self.cluster.knobs
        if knobs.api_key is None or request.path in OPEN_ROUTES:
            return
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        key = request.headers.get("api-key", bearer)
        if not key:
            raise RefusedError(401, "Must provide an API key or an Authorization bearer token")
        if key == knobs.read_only_key:
            if request.method != "GET" and not READING_POSTS.search(request.path):
                raise RefusedError(403, "Forbidden: Global manage access is required")
        elif key != knobs.api_key:
            raise RefusedError(401, "Invalid API key or JWT")

    def _measure(self, request: web.Request) -> None:
        limit, size = self.cluster.knobs.body_limit_bytes, request.content_length or 0
        if request.content_type == "application/json" and size > limit:
            text = f"JSON payload ({size} bytes) is larger than allowed (limit: {limit} bytes)."
            raise RefusedError(self.cluster.knobs.body_limit_status, text)

    async def _answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        path, _, _ = seen.path.partition("?")
        parts = tuple(unquote(part) for part in path.strip("/").split("/")) if path != "/" else ()
        if seen.method == "HEAD":
            return web.Response(status=404)
        match parts:
            case ():
                return web.json_response({"title": "qdrant - vector search engine", "version": self.version})
            case ("healthz" | "livez" | "readyz" as check,):
                return web.Response(text=f"{check} check passed")
            case ("collections", name, "snapshots", snapshot) if seen.method == "GET":
                stored = self.stored(self._folder(name), snapshot, in_plain_text=True)
                return await self._download(request, stored)
            case ("snapshots", snapshot) if seen.method == "GET":
                return await self._download(request, self.stored("", snapshot, in_plain_text=True))
            case ("collections", name, "snapshots", "upload") if seen.method == "POST":
                return _good(await self.cluster.take_collection(self, name, *await _uploaded(request)))
            case ("collections", name, "shards", shard, "snapshots", "upload") if seen.method == "POST":
                await self.cluster.take_shard(self, name, int(shard), *await _uploaded(request))
                return _good(None)
        return await self.cluster.routes.answer(self, seen, parts, request.query)

    def _folder(self, name: str) -> str:
        try:
            return self.cluster.world.named(name).name
        except RefusedError as refused:
            raise RefusedError(refused.status, f"{PLAIN}{refused.text}") from refused

    def stored(self, collection: str, name: str, *, in_plain_text: bool = False) -> StoredSnapshot:
        """Return a snapshot; refuses with 404."""
        found = self.snapshots.get(collection, {}).get(name)
        if found is None:
            text = f"Not found: Snapshot {name} not found"
            raise RefusedError(404, f"{PLAIN}{text}" if in_plain_text else text)
        return found

    async def _download(self, request: web.Request, stored: StoredSnapshot) -> web.StreamResponse:
        knobs = self.cluster.knobs
        data, start, status = stored.data, 0, 200
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{stored.name}"',
            "ETag": stored.etag,
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if asked and knobs.heeds_if_range and request.headers.get("If-Range", stored.etag) != stored.etag:
            asked = None
        if asked and knobs.ranges:
            start = int(asked[1])
            if start >= len(data):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
            end = min(int(asked[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
            if not knobs.tags_parts:
                del headers["ETag"]
        if knobs.flips and start <= knobs.flips[0] < start + len(data):
            at = knobs.flips.pop(0) - start
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        if knobs.gzips and status == 200 and "gzip" in request.headers.get("Accept-Encoding", ""):
            data = gzip.compress(data, 1)
            headers["Content-Encoding"] = "gzip"
        return await self._stream(request, web.StreamResponse(status=status, headers=headers), data)

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, data: bytes
    ) -> web.StreamResponse:
        knobs = self.cluster.knobs
        if "Content-Encoding" not in response.headers:
            response.content_length = len(data)
        cut = knobs.cuts.pop(0) if knobs.cuts else None
        await response.prepare(request)
        for place in range(0, len(data), CHUNK_BYTES):
            chunk = data[place : place + CHUNK_BYTES]
            if cut is not None and place + len(chunk) > cut:
                await response.write(chunk[: cut - place])
                assert request.transport is not None
                request.transport.close()  # what was written is sent first
                return response
            await response.write(chunk)
            if knobs.bytes_per_second is not None:
                await asyncio.sleep(len(chunk) / knobs.bytes_per_second)
        await response.write_eof()
        return response


# Marks a refusal that the server writes as plain text.
PLAIN = "\0"


async def _uploaded(request: web.Request) -> tuple[bytes, str, dict[str, str]]:
    """Return the part "snapshot" of a form, its file name, and the query."""
    if request.content_type != "multipart/form-data":
        raise RefusedError(415, f"{PLAIN}ContentTypeIncompatible")
    data, name = None, ""
    async for part in await request.multipart():
        if part.name == "snapshot":  # type: ignore[union-attr]
            data, name = bytes(await part.read()), part.filename or ""  # type: ignore[union-attr]
    if data is None:
        raise RefusedError(400, f"{PLAIN}Required field is missing: snapshot")
    return data, name, dict(request.query)


def _good(result: Any) -> web.Response:
    return web.json_response({"result": result, "status": "ok", "time": 0.000012})


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    if text.startswith(PLAIN) or status == 401:
        return web.Response(status=status, text=text.removeprefix(PLAIN), headers=headers)
    body = {"status": {"error": text}, "time": 0.000012}
    return web.json_response(body, status=status, headers=headers)
