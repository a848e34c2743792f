"""What an answer means before anyone reads it: good, or which refusal. No I/O."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from exporter.clock import Clock
from exporter.errors import BadPayload, SourceAuth, SourceError, SourceRefused, SourceUnsupported
from exporter.qdrant.door import Door

T = TypeVar("T")

# One line of a log or of the status page. The recorded errors of Qdrant say what they have to
# say in the first 200 characters; after that they repeat it for each replica.
ERROR_TEXT_CHARACTERS = 300
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Nine digits of seconds are 31 years; more is not a time to wait.
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
# Answers are read in several threads. msgspec 0.22 shows what it knows of a Struct before it knows all of
# it: a second thread that reads its first answer meanwhile ends the process with SIGSEGV.
_PREPARING = Lock()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole 200. `took_seconds` is from the request's turn to the last byte, retry included."""

    endpoint: str
    status: int
    body: bytes
    took_seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with a status that is not a good one; `body` may be only its beginning."""

    endpoint: str
    status: int
    headers: Mapping[str, str]  # case-insensitive, as the client gives them
    body: bytes


class _Status(msgspec.Struct):
    error: str = ""


class _Refusal(msgspec.Struct):
    status: _Status | str = ""


@cache
def _prepared(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decoder_of(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return what reads JSON as `kind`, in any thread."""
    with _PREPARING:
        made: msgspec.json.Decoder[T] = _prepared(cast(Hashable, kind))
        return made


def decode(body: bytes | msgspec.Raw, kind: type[T], endpoint: str) -> T:
    """Read JSON as `kind`, straight from its bytes.

    Raises BadPayload with the path of what is wrong, also where the JSON is cut or is none.
    """
    try:
        return decoder_of(kind).decode(body)
    except msgspec.ValidationError as error:
        raise BadPayload(endpoint, str(error)[:ERROR_TEXT_CHARACTERS]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "an HTML page" if looks_like_html(bytes(body)) else "not JSON"
        if "truncated" in str(error):
            what = "JSON that ends too early"
        raise BadPayload(endpoint, f"{what}, {len(bytes(body))} bytes") from error


def looks_like_html(body: bytes) -> bool:
    """Whether a body begins as an HTML page does."""
    return body[:200].lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head"))


def refusal(reply: Reply, *, door: Door, clock: Clock) -> SourceError:
    """Return what a status other than a good one means.

    401 and 403 are auth. 404 without a body is Qdrant's answer to a route that it does not
    have, and 405 that of 1.19 where the mode lacks it: unsupported. All else is refused, a
    redirect too: following it would carry the key elsewhere.
    """
    endpoint, status = reply.endpoint, reply.status
    if status in REDIRECTS:
        where = _origin(reply.headers.get("Location", ""))
        detail = f"{status}: a redirect{where}, never followed: give the url that answers itself"
        return SourceRefused(endpoint, door.without_secrets(detail), status=status)
    if status == 405 or (status == 404 and not reply.body):
        return SourceUnsupported(endpoint, f"{status}: this server has no such endpoint")
    text = f"{status}: {error_text(reply.body, door)}"
    if status in {401, 403}:
        return SourceAuth(endpoint, text)
    wait = retry_after_seconds(reply.headers.get("Retry-After", ""), clock)
    return SourceRefused(endpoint, text, status=status, retry_after_seconds=wait)


def error_text(body: bytes, door: Door) -> str:
    """Return the server's own words, on one line, cut, without secrets."""
    if looks_like_html(body):
        return "an HTML page: something other than Qdrant answers here"
    try:
        said = msgspec.json.decode(body, type=_Refusal).status
        text = said if isinstance(said, str) else said.error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace")
    words = "".join(letter if letter.isprintable() else " " for letter in door.without_secrets(text))
    line = " ".join(words.split())
    if len(line) > ERROR_TEXT_CHARACTERS:
        line = line[: ERROR_TEXT_CHARACTERS - 1] + "…"
    return line or "no reason given"


def retry_after_seconds(value: str, clock: Clock) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date; None where it is absent or neither."""
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - clock.now())
    except (ValueError, OverflowError):
        return None


def _origin(location: str) -> str:
    """Name the host of a redirect, without user, path and query: those may be secrets."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not host or parts.scheme not in {"http", "https"}:
        return ""
    return f" to {parts.scheme}://{host}" + (f":{port}" if port else "")
