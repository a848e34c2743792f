"""How an answer looks on the wire: the envelope and the times.

Shapes are those of a standalone Qdrant 1.18.3. What an answer holds is not decided here.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from exporter.embedded.refusals import RefusalError

# The server whose answers this one imitates, field by field.
SPOKEN_VERSION = "1.18.3"


def good(result: Any, started_seconds: float) -> web.Response:
    """Answer 200 with a result. `started_seconds` is time.perf_counter() at the request's start."""
    return _json(200, {"result": result, "status": "ok", "time": time.perf_counter() - started_seconds})


def accepted(started_seconds: float) -> web.Response:
    """Answer 202: it will be done, and nobody will say when."""
    return _json(202, {"status": "accepted", "time": time.perf_counter() - started_seconds})


def refused(refusal: RefusalError, started_seconds: float) -> web.Response:
    """Answer with a refusal's status and text."""
    if refusal.plain:
        return web.Response(status=refusal.status, text=refusal.text)
    took_seconds = time.perf_counter() - started_seconds
    return _json(refusal.status, {"status": {"error": refusal.text}, "time": took_seconds})


def plain(document: Any) -> web.Response:
    """Answer 200 with a document that has no envelope."""
    return _json(200, document)


def _json(status: int, document: Any) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(document), content_type="application/json")


def to_milliseconds(unix_seconds: float) -> str:
    """Write a moment as the server's start is written: "2026-11-23T01:37:07.810Z"."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def to_nanoseconds(unix_seconds: float) -> str:
    """Write a moment as an optimization's is written, nine digits of which six are known."""
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
