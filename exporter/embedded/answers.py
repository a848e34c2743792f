"""How an answer looks on the wire: the envelope, the refusals, the times.

Shapes are those of a standalone Qdrant 1.18.3. What an answer holds is not decided here.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from exporter.errors import ExporterError

# The server whose answers this one imitates, field by field.
SPOKEN_VERSION = "1.18.3"


class RefusalError(ExporterError):
    """A request that cannot be served: becomes an answer with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(f"{status}: {text}")


def wrong_input(text: str) -> RefusalError:
    """400: the request is well formed and asks for something that cannot be."""
    return RefusalError(400, f"Wrong input: {text}")


def bad_body(text: str) -> RefusalError:
    """400: the body is not what this route takes."""
    return RefusalError(400, f"Format error in JSON body: {text}")


def invalid(path: str, text: str) -> RefusalError:
    """422: one value of the body is out of its range."""
    return RefusalError(422, f"Validation error in JSON body: [{path}: {text}]")


def no_collection(name: str) -> RefusalError:
    """404: no collection and no alias of that name."""
    return RefusalError(404, f"Not found: Collection `{name}` doesn't exist!")


def good(result: Any, started_seconds: float) -> web.Response:
    """Answer 200 with a result. `started_seconds` is time.perf_counter() at the request's start."""
    return _json(200, {"result": result, "status": "ok", "time": time.perf_counter() - started_seconds})


def refused(refusal: RefusalError, started_seconds: float) -> web.Response:
    """Answer with a refusal's status and text."""
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
