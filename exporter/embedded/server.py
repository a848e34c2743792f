"""A Qdrant-compatible server on the real engine, for the demo and the tests. Loopback only.

It answers as one standalone node of the version in answers.SPOKEN_VERSION. What the engine does
not tell it leaves out.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from exporter.clock import Clock, SystemClock
from exporter.embedded.answers import SPOKEN_VERSION, good, plain, refused
from exporter.embedded.catalog import Catalog
from exporter.embedded.machine import Machine
from exporter.embedded.metrics_page import metrics_page
from exporter.embedded.refusals import RefusalError
from exporter.embedded.requests import LARGEST_BODY_BYTES
from exporter.embedded.routes_collections import CollectionRoutes
from exporter.embedded.routes_points import PointRoutes
from exporter.embedded.routes_snapshots import SnapshotRoutes
from exporter.embedded.shard import Pacing
from exporter.embedded.snapshots import Snapshots
from exporter.embedded.telemetry import TelemetryPage
from exporter.embedded.traffic import Traffic

HOST = "127.0.0.1"
STOP_SECONDS = 1.0  # an answer under way at the end may take so long
OPEN_PATHS = frozenset({"/", "/healthz", "/livez", "/readyz"})  # without a key, as Qdrant has it

Handler = Callable[[web.Request], Awaitable[Any]]


class EmbeddedServer:
    """One server. `data` None keeps everything in a temporary folder, removed by `stop`."""

    def __init__(
        self,
        *,
        data: Path | None = None,
        api_key: str | None = None,
        pacing: Pacing | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._api_key = api_key
        self._keep = data is not None
        self.folder = data or Path(tempfile.gettempdir())  # of a temporary one only after the start
        self._pacing = pacing or Pacing()
        self._traffic = Traffic()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Load what the data folder holds and listen; port 0 takes a free one.

        Raises OSError where the port or the folder cannot be had, RefusalError where the engine cannot load.
        """
        if not self._keep:
            self.folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="qdrant-embedded-"))
        self._catalog = Catalog(folder=self.folder, pacing=self._pacing, clock=self._clock)
        self._machine = Machine(folder=self.folder, clock=self._clock)
        self._snapshots = Snapshots(catalog=self._catalog, folder=self.folder, clock=self._clock)
        self._telemetry = TelemetryPage(
            catalog=self._catalog,
            snapshots=self._snapshots,
            traffic=self._traffic,
            machine=self._machine,
            started_seconds=self._clock.now(),
        )
        self._port = port
        try:
            await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
            await self._snapshots.open()
            await self._catalog.load()
            await self.show()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening and end every worker; with a data folder, everything is on disk afterwards."""
        try:
            await self.hide()
            await self._snapshots.close()
            await self._catalog.close(keep=self._keep)
        finally:
            if not self._keep:
                await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def hide(self) -> None:
        """Stop listening and drop every connection, as a lost network does; the engine goes on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def show(self) -> None:
        """Listen, on the same port as before."""
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._answer], client_max_size=LARGEST_BODY_BYTES)
        app.router.add_get("/", self._root)
        app.router.add_get("/healthz", _says("healthz check passed"))
        app.router.add_get("/livez", _says("healthz check passed"))
        app.router.add_get("/readyz", _says("all shards are ready"))
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/telemetry", _answering(self._telemetry_page))
        app.router.add_get("/cluster", _answering(_constant({"status": "disabled"})))
        app.router.add_get("/issues", _answering(_constant({"issues": []})))
        app.router.add_get("/snapshots", _answering(_constant([])))
        CollectionRoutes(catalog=self._catalog).add_to(app, _answering)
        SnapshotRoutes(snapshots=self._snapshots).add_to(app, _answering)
        PointRoutes(catalog=self._catalog).add_to(app, _answering)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count every answer; turn refusals and unknown routes into Qdrant's shapes."""
        started_seconds = time.perf_counter()
        response: web.StreamResponse
        route = await _route_of(request)
        if (denied := self._denied(request)) is not None:
            response = denied
        elif request.match_info.http_exception is not None:
            response = web.Response(status=404)  # an unknown path and a wrong method alike
        else:
            try:
                response = await handler(request)
            except RefusalError as refusal:
                response = refused(refusal, started_seconds)
            except web.HTTPRequestEntityTooLarge:
                text = f"JSON payload has exceeded limit ({LARGEST_BODY_BYTES} bytes)."
                response = refused(RefusalError(400, text), started_seconds)
        took_seconds = time.perf_counter() - started_seconds
        self._traffic.count(route, response.status, took_seconds, self._clock.now())
        return response

    def _denied(self, request: web.Request) -> web.Response | None:
        if self._api_key is None or request.path in OPEN_PATHS:
            return None
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        given = request.headers.get("api-key") or bearer
        if given == self._api_key:
            return None
        text = (
            "Invalid API key or JWT" if given else "Must provide an API key or an Authorization bearer token"
        )
        return web.Response(status=401, text=text)

    async def _root(self, request: web.Request) -> web.Response:
        return plain({"title": "qdrant - vector search engine", "version": SPOKEN_VERSION})

    async def _metrics(self, request: web.Request) -> web.Response:
        shards = (collection.shard for collection in self._catalog.collections.values())
        process_ids = [shard.process_id for shard in shards if shard.process_id is not None]
        resident_bytes = self._machine.resident_bytes(process_ids)
        page = metrics_page(self._catalog, self._snapshots, self._traffic, resident_bytes)
        return web.Response(text=page, content_type="text/plain")

    async def _telemetry_page(self, request: web.Request) -> Any:
        given = request.query.get("details_level", "0")
        if not given.isdecimal():
            raise RefusalError(400, "Deserialize error in query parameters: invalid digit found in string")
        return self._telemetry.build(int(given))


def _answering(handler: Handler) -> Handler:
    """Wrap a handler that returns a result, so that it returns a response; one it returns stays as it is."""

    async def answer(request: web.Request) -> web.Response:
        started_seconds = time.perf_counter()
        result = await handler(request)
        return result if isinstance(result, web.Response) else good(result, started_seconds)

    return answer


def _constant(result: Any) -> Handler:
    async def answer(request: web.Request) -> Any:
        return result

    return answer


def _says(text: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


async def _route_of(request: web.Request) -> str:
    """Return "METHOD /route/{template}" as Qdrant counts it; a path nobody serves is "unknown"."""
    resource = request.match_info.route.resource
    missed = request.match_info.http_exception
    if isinstance(missed, web.HTTPMethodNotAllowed):
        known = request.clone(method=next(iter(missed.allowed_methods)))
        resource = (await request.app.router.resolve(known)).route.resource
    return f"{request.method} {'unknown' if resource is None else resource.canonical}"


async def serve(port: int, data: Path | None) -> None:
    """Serve on a loopback port until cancelled. `data` None keeps nothing. Raises OSError."""
    server = EmbeddedServer(data=data)
    await server.start(port)
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()
