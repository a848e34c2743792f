"""What an answer, or the lack of one, means for a notification: every HTTP status and every broken call.

Pure. The words are ours; of a server's own words only what `shown` has cleaned is told.
"""

from __future__ import annotations

import email.utils
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import NamedTuple

import httpx

from exporter.alerting.words import Delivery, Outcome
from exporter.config.quantities import format_duration

# The receiver takes nothing from us until a person has mended the credentials or the URL. 405 and
# 407 too: that a URL takes no POST, or that a proxy wants a login, says nothing against the message.
REFUSING = frozenset({401, 403, 404, 405, 407, 410})
# Beside 5xx: the service asks for another attempt.
PASSING = frozenset({408, 425, 429})
TOO_MANY = 429

UNUSABLE = "the url, a header or the environment's proxy cannot be used as they are: correct them"
REASON_CHARACTERS = 200  # one line of a log

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Answer(NamedTuple):
    """What came back: its status, its Retry-After, and the beginning of its body."""

    status: int
    retry_after: str
    body: bytes


class NoAnswer(NamedTuple):
    """Nothing came back that can be read. `reason` holds no secret."""

    outcome: Outcome
    reason: str


Shown = Callable[[bytes], str]  # a server's words on one short line, without secrets


def outcome_of(status: int) -> Outcome:
    """Return what a status means where a service has no meaning of its own for it.

    A redirect is never followed, because it would carry the message and the credentials
    elsewhere; it means that the URL is wrong, and so does anything below 200 or beyond 599.
    """
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status in PASSING or 500 <= status < 600:
        return Outcome.RETRY
    if 400 <= status < 500 and status not in REFUSING:
        return Outcome.REJECTED
    return Outcome.REFUSED


def delivery_of(
    answer: Answer | NoAnswer, *, now: float, shown: Shown, outcome: Outcome | None = None
) -> Delivery:
    """Return the attempt as data; `outcome` where the service's body says more than the status."""
    if isinstance(answer, NoAnswer):
        return Delivery(answer.outcome, answer.reason)
    decided = outcome or outcome_of(answer.status)
    if decided is Outcome.DELIVERED:
        return Delivery(decided, status=answer.status)
    wait = retry_after_seconds(answer.retry_after, now) if decided is Outcome.RETRY else None
    return Delivery(decided, _reason(answer, shown), answer.status, wait)


def _reason(answer: Answer, shown: Shown) -> str:
    if 300 <= answer.status < 400:
        return f"{answer.status}: a redirect, never followed: give the url that answers itself"
    words = shown(answer.body)
    return f"{answer.status}: {words}" if words else str(answer.status)


def retry_after_seconds(header: str, now: float) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date; None where it is absent or neither."""
    header = header.strip()
    if _SECONDS.fullmatch(header):
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000"; HTTP dates are GMT
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)


def no_answer(error: Exception, *, written: bool, deadline_seconds: float) -> NoAnswer:
    """Return what a failed call means: before the request was whole on its way, nothing arrived."""
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return NoAnswer(Outcome.REFUSED, UNUSABLE)
    outcome = Outcome.UNKNOWN if written else Outcome.RETRY
    how_far = "after the request was sent" if written else "before the request was sent"
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return NoAnswer(outcome, f"no answer within {format_duration(deadline_seconds)}, {how_far}")
    if isinstance(error, httpx.ProxyError):
        return NoAnswer(Outcome.RETRY, "the proxy that the environment names did not let us through")
    if written:
        return NoAnswer(outcome, f"the connection broke {how_far}{system_words(error)}")
    return NoAnswer(outcome, f"cannot connect{system_words(error)}")


def system_words(error: BaseException) -> str:
    """Name the system's reason, in its words for the number: an exception's own text may hold a URL."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f": the server's certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f": TLS failed: {cause.reason or 'the other side does not speak it'}"
        if isinstance(cause, socket.gaierror):
            return ": the host does not resolve"
    for cause in causes:
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.errno > 0:
            return f": {os.strerror(cause.errno)}"
    return ""


def _causes(error: BaseException | None, depth: int = 0) -> Iterator[BaseException]:
    """Yield an error and all that caused it; where several addresses were tried, each one's."""
    if error is None or depth > 8:  # as deep as httpx over httpcore over anyio goes, and some
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _causes(member, depth + 1)
    yield from _causes(error.__cause__ or error.__context__, depth + 1)
