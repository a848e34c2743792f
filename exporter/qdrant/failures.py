"""What the HTTP client's exceptions mean. None of them leaves the gateway, and neither does their text.

Their text may hold a URL, their `request_info` the key; so the words here are our own.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
from aiohttp.http_exceptions import (
    ContentLengthError,
    HttpProcessingError,
    PayloadEncodingError,
    TransferEncodingError,
)

from exporter.errors import BadPayload, SourceError, SourceTimeout, SourceUnreachable
from exporter.qdrant.door import Door
from exporter.qdrant.tls import TlsFilesError, explain

# Everything that the client raises for what a network or a server does.
CLIENT_FAILURES = (aiohttp.ClientError, HttpProcessingError, TlsFilesError, OSError)

# A body that ends before its announced end, or whose chunks do not add up.
_CUT_SHORT = (ContentLengthError, TransferEncodingError)


@dataclass(slots=True)
class Progress:
    """How far one call came; filled in as it goes."""

    reused_connection: bool = False
    retried: bool = False  # on a connection that is closed afterwards
    connected: bool = False
    received_bytes: int = 0
    status: int = 0

    def __str__(self) -> str:
        if self.status:
            return f"after {self.received_bytes} bytes of the answer"
        return "before an answer" if self.connected else "before a connection"


def source_error(error: Exception, endpoint: str, door: Door, progress: Progress) -> SourceError:
    """Return what a failure of the client means in our words."""
    causes = tuple(_chain(error))
    for cause in causes:
        # aiohttp's own classes inherit from OpenSSL's without its fields; the true one is their cause.
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, aiohttp.ClientError):
            return SourceUnreachable(endpoint, explain(cause, door))
        if isinstance(cause, TlsFilesError):
            return SourceUnreachable(endpoint, str(cause))
        if isinstance(cause, PayloadEncodingError) and not isinstance(cause, _CUT_SHORT):
            return BadPayload(endpoint, "an answer whose compression is broken")
    if isinstance(error, aiohttp.ServerTimeoutError) or type(error) is TimeoutError:
        return SourceTimeout(endpoint, f"timed out {progress}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return SourceUnreachable(endpoint, f"the host does not resolve{_reason(causes)}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return SourceUnreachable(endpoint, f"cannot connect{_reason(causes)}")
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return BadPayload(endpoint, "an answer that is not HTTP")
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return SourceUnreachable(endpoint, "the url cannot be connected to")
    return SourceUnreachable(endpoint, f"the connection broke {progress}{_reason(causes)}")


def safe_cause(error: BaseException | None) -> BaseException | None:
    """Return what of a failure may be chained to our error: what the system said.

    aiohttp's other exceptions hold the request's headers, and so the key, or bytes that
    the server sent, which may repeat it.
    """
    return next((cause for cause in _chain(error) if isinstance(cause, OSError)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it; no chain of aiohttp's is deeper than three."""
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__


def _reason(causes: tuple[BaseException, ...]) -> str:
    """Name the system's reason, in its words for the number: the exception's own text holds more."""
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return f": {cause.strerror}" if cause.strerror else ""
    for cause in causes:
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.errno > 0:
            return f": {os.strerror(cause.errno)}"
    return ""
