"""Calls that may be made again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from exporter.backup.calling import Limits, again, is_gone, may_have_been_done, told_to_wait
from exporter.errors import (
    BadPayload,
    SourceAuth,
    SourceError,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    SourceUnsupported,
)

QUICK = Limits(tries=3, wait_seconds=0.001, told_to_wait_seconds=0.01)


def refused(status: int, retry_after_seconds: float | None = None) -> SourceRefused:
    """Return a refusal."""
    return SourceRefused("/x", str(status), status=status, retry_after_seconds=retry_after_seconds)


def failing(*errors: SourceError) -> tuple[Callable[[], Awaitable[bytes]], list[SourceError]]:
    """Return a call that fails so in turn and succeeds then, and what is left of its failures."""
    left = list(errors)

    async def call() -> bytes:
        if left:
            raise left.pop(0)
        return b"good"

    return call, left


@pytest.mark.parametrize(
    "error",
    [refused(429), refused(429, 5.0), refused(500), refused(503), refused(408), SourceTimeout("/x", "slow"),
     SourceUnreachable("/x", "gone"), BadPayload("/x", "HTML")],
    ids=str,
)  # fmt: skip
async def test_what_may_pass_is_asked_again(error: SourceError) -> None:
    """Twice more; the third failure is the last."""
    call, _ = failing(error, error)
    assert await again(call, QUICK) == b"good"

    call, left = failing(error, error, error, error)
    with pytest.raises(type(error)):
        await again(call, QUICK)
    assert len(left) == 1


@pytest.mark.parametrize(
    "error",
    [refused(400), refused(404), refused(422), SourceAuth("/x", "403"), SourceUnsupported("/x", "404")],
    ids=str,
)
async def test_a_no_is_a_no(error: SourceError) -> None:
    """No other try changes it."""
    call, left = failing(error, error)

    with pytest.raises(type(error)):
        await again(call, QUICK)
    assert len(left) == 1
    assert not may_have_been_done(error)


def test_a_server_s_wish_to_wait_is_honoured_up_to_a_limit() -> None:
    """An hour would outlast the run's own deadline."""
    limits = replace(Limits(), wait_seconds=1.0, told_to_wait_seconds=60.0)

    assert told_to_wait(refused(429, 7.0), limits) == 7.0
    assert told_to_wait(refused(429, 3_600.0), limits) == 60.0
    assert told_to_wait(refused(429), limits) == 1.0
    assert told_to_wait(refused(503, 7.0), limits) is None
    assert told_to_wait(SourceTimeout("/x", "slow"), limits) is None


def test_only_a_404_with_words_says_that_something_is_gone() -> None:
    """One without is a server that has no such route."""
    assert is_gone(refused(404))
    assert not is_gone(refused(410))
    assert not is_gone(SourceUnsupported("/x", "404"))
