"""What a request asks for: its collection, its body, its query parameters."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from exporter.embedded.refusals import RefusalError, bad_body

LARGEST_BODY_BYTES = 32 * 1024 * 1024  # Qdrant's own default


def collection_name(request: web.Request) -> str:
    """Return the collection of the path, unquoted once."""
    return request.match_info["collection_name"]


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON body. Raises RefusalError (400) for anything but an object, or one too large."""
    size, limit = request.content_length, LARGEST_BODY_BYTES
    if size is not None and size > limit:  # not a byte of it is waited for
        raise RefusalError(400, f"JSON payload ({size} bytes) is larger than allowed (limit: {limit} bytes).")
    text = await request.read()
    if not text:
        raise bad_body("EOF while parsing a value at line 1 column 0")
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise bad_body(str(error)) from error
    if not isinstance(body, dict):
        raise bad_body("invalid type, expected a map")
    return body


def waits(request: web.Request) -> bool:
    """The client wants the answer only when the change is done."""
    return request.query.get("wait", "false") == "true"


def timeout_seconds(request: web.Request) -> float | None:
    """Return the client's own limit. Raises RefusalError (400) for less than a second."""
    given = request.query.get("timeout")
    if given is None:
        return None
    if not given.isdecimal() or int(given) == 0:
        text = f"invalid value: integer `{given}`, expected a nonzero u64"
        raise RefusalError(400, f"Deserialize error in query parameters: {text}")
    return float(given)
