"""The routes, each a thin question to the Face."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from exporter.web.access import Access
from exporter.web.answers import CarefulHeaders, SlicedAnswer, accepts_gzip
from exporter.web.face import Face
from exporter.web.landing import landing_html
from exporter.web.passwords import BasicAuth

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

CLOSED = (
    "This is closed, because anybody who reaches this port could use it. "
    "Start with --web.enable-lifecycle, or set basic_auth_users or client certificates "
    "in --web.config.file.\n"
)


def web_app(*, face: Face, access: Access, enable_lifecycle: bool) -> ASGIApp:
    """Return the ASGI application: routes within basic auth within careful headers."""
    routes = _Routes(face, access, enable_lifecycle)
    starlette = Starlette(
        routes=[
            Route("/", routes.landing),
            Route("/metrics", routes.metrics),
            Route("/-/healthy", routes.healthy),
            Route("/-/ready", routes.ready),
            Route("/-/reload", routes.reload, methods=["POST", "PUT"]),  # PUT as Prometheus has it
            Route("/config", routes.config),
            Route("/api/v1/status", routes.status),
            Route("/api/v1/alerts", routes.alerts),
            Route("/api/v1/rules", routes.rules),
            Route("/runbooks", routes.runbooks),
            Route("/runbooks/{name}", routes.runbook),
        ]
    )
    starlette.router.redirect_slashes = False  # an unknown path is 404, with a slash or without
    return CarefulHeaders(BasicAuth(starlette, access=access), configured=access.headers)


class _Routes:
    """The answers. Starlette gives HEAD to every route that has GET."""

    def __init__(self, face: Face, access: Access, enable_lifecycle: bool) -> None:
        self._face = face
        self._access = access
        self._enable_lifecycle = enable_lifecycle

    async def metrics(self, request: Request) -> Response:
        page = self._face.page()
        headers = {"content-type": METRICS_TYPE, "vary": "accept-encoding"}
        if accepts_gzip(",".join(request.headers.getlist("accept-encoding"))):
            return SlicedAnswer(page.gzipped, headers={**headers, "content-encoding": "gzip"})
        return SlicedAnswer(page.plain, headers=headers)

    async def healthy(self, request: Request) -> Response:
        return PlainTextResponse("qdrant-exporter is healthy.\n")

    async def ready(self, request: Request) -> Response:
        if self._face.ready():
            return PlainTextResponse("qdrant-exporter is ready.\n")
        return PlainTextResponse("The first polls have not ended yet.\n", status_code=503)

    async def reload(self, request: Request) -> Response:
        if not self._is_open:
            return PlainTextResponse(CLOSED, status_code=403)
        problem = await self._face.reload()
        if problem is None:
            return PlainTextResponse("Reloaded.\n")
        return PlainTextResponse(f"The old configuration stays in force.\n{problem}\n", status_code=500)

    async def config(self, request: Request) -> Response:
        if not self._is_open:
            return PlainTextResponse(CLOSED, status_code=403)
        return Response(self._face.config_yaml(), media_type="text/yaml")

    async def landing(self, request: Request) -> Response:
        return HTMLResponse(landing_html(self._face.landing()))

    async def status(self, request: Request) -> Response:
        return _json(self._face.status())

    async def alerts(self, request: Request) -> Response:
        return _json(self._face.alerts())

    async def rules(self, request: Request) -> Response:
        return _json(self._face.rules())

    async def runbooks(self, request: Request) -> Response:
        names = await asyncio.to_thread(self._face.runbooks)
        return PlainTextResponse("".join(f"/runbooks/{name}\n" for name in names))

    async def runbook(self, request: Request) -> Response:
        text = await asyncio.to_thread(self._face.runbook, request.path_params["name"])
        if text is not None:
            return PlainTextResponse(text)
        names = await asyncio.to_thread(self._face.runbooks)
        known = "".join(f"  {name}\n" for name in names)
        return PlainTextResponse(f"There is no such runbook. There are:\n{known}", status_code=404)

    @property
    def _is_open(self) -> bool:
        return self._enable_lifecycle or self._access.knows_its_clients


def _json(document: Mapping[str, Any]) -> Response:
    body = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return Response(body.encode(errors="replace"), media_type="application/json")
