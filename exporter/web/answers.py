"""How answers go out: compressed where asked for, in slices, with careful headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import formatdate

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A slice waits until the reader took the one before: a slow reader of a page of 40 MB costs two
# slices of memory instead of a copy of the page.
SLICE_BYTES = 128 * 1024

# Nothing here loads anything from elsewhere, is framed, or may be kept by a cache.
SECURITY_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client with this Accept-Encoding header takes gzip (RFC 9110, 12.5.3).

    A weight of 0 refuses; a weight that is no number refuses too, as plain text always works.
    Gzip named by name outranks `*`.
    """
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        coding, _, parameters = item.partition(";")
        weights[coding.strip()] = _weight(parameters)
    for coding in ("gzip", "x-gzip", "*"):
        if coding in weights:
            return weights[coding] > 0
    return False


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if not name:
        return 1.0
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


class SlicedAnswer(Response):
    """An answer whose body goes out slice by slice and is never copied whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; to HEAD only the headers."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        length = 0 if scope["method"] == "HEAD" else len(self.body)
        for start in range(0, length, SLICE_BYTES):
            piece = bytes(self.body[start : start + SLICE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class CarefulHeaders:
    """ASGI middleware: security headers with every answer.

    `configured` gives what the web file says now; it outranks ours.
    """

    def __init__(self, app: ASGIApp, *, configured: Callable[[], Mapping[str, str]]) -> None:
        self._app = app
        self._configured = configured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the answer's headers."""

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", ())))
                headers["date"] = formatdate(usegmt=True)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                for name, value in self._configured().items():
                    headers[name] = value
                message = {**message, "headers": headers.raw}
            await send(message)

        await self._app(scope, receive, completed)
