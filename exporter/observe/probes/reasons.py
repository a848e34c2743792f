"""Why a probe failed, and why one did not run: bounded sets, for labels."""

from __future__ import annotations

from enum import StrEnum

from exporter.errors import (
    BadPayload,
    SourceAuth,
    SourceError,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    SourceUnsupported,
)

# How every refusal by strict mode ends in a text, as 400 or, in 1.12, as 403.
STRICT_MODE_TEXT = "Help:"
# A query by the id of a point that is not there: what a person wrote does not fit.
MISSING_POINT_TEXT = "No point with id"


class Failure(StrEnum):
    """What went wrong, as a user of Qdrant would have met it."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    AUTH = "auth"
    RATE_LIMITED = "rate_limited"
    NOT_FOUND = "not_found"
    SERVER_ERROR = "server_error"
    BAD_ANSWER = "bad_answer"


class Skip(StrEnum):
    """Why a probe that was due did not run, or could say nothing of the server."""

    EMPTY = "empty"  # no vector is stored to search with
    BUDGET = "budget"  # the peer's share of time is spent
    CONCURRENCY = "concurrency"  # as many searches of ours are under way as may be
    BACKOFF = "backoff"  # the server said 429 and for how long
    LATE = "late"  # this daemon itself stood still
    UNSUPPORTED = "unsupported"  # strict mode forbids it
    REFUSED = "refused"  # the server calls the query wrong: what is configured does not fit
    TOO_LARGE = "too_large"  # more points than an exact search may read
    PAUSED = "paused"  # searches are slow, and an exact one would make them slower


SEARCH_SKIPS = (
    Skip.EMPTY, Skip.BUDGET, Skip.CONCURRENCY, Skip.BACKOFF, Skip.LATE, Skip.UNSUPPORTED, Skip.REFUSED,
)  # fmt: skip
RECALL_SKIPS = (*SEARCH_SKIPS, Skip.TOO_LARGE, Skip.PAUSED)


def reason_of(failure: SourceError) -> Failure | Skip:
    """Return what a failed search means: a failure of Qdrant, or a query that it rightly refuses."""
    match failure:
        case SourceTimeout():
            return Failure.TIMEOUT
        case SourceUnreachable():
            return Failure.UNREACHABLE
        case SourceAuth():
            return Skip.UNSUPPORTED if STRICT_MODE_TEXT in failure.detail else Failure.AUTH
        case BadPayload():
            return Failure.BAD_ANSWER
        case SourceUnsupported():
            return Failure.NOT_FOUND
        case SourceRefused():
            return _refusal(failure)
    raise AssertionError(f"unknown failure {failure!r}")


def _refusal(failure: SourceRefused) -> Failure | Skip:
    if failure.status == 429:
        return Failure.RATE_LIMITED
    if failure.status == 408:
        return Failure.TIMEOUT
    if failure.status == 404:
        return Skip.REFUSED if MISSING_POINT_TEXT in failure.detail else Failure.NOT_FOUND
    if failure.status >= 500:
        return Failure.SERVER_ERROR
    if failure.status < 400:  # a redirect: something other than Qdrant answers
        return Failure.BAD_ANSWER
    return Skip.UNSUPPORTED if STRICT_MODE_TEXT in failure.detail else Skip.REFUSED
