"""When a notification that did not arrive is tried again. Pure; seconds throughout."""

from __future__ import annotations

from collections.abc import Callable

# Two seconds are over before a person notices; past five minutes a retry is no page any more.
BASE_SECONDS = 2.0
CAP_SECONDS = 300.0
# A service that asks for more than this would silence us for the length of an incident.
RETRY_AFTER_CAP_SECONDS = 3_600.0
# After a read timeout: it may have arrived, and each repeat may be one more message on a phone.
UNKNOWN_SECONDS = (30.0, 120.0, 600.0)

Uniform = Callable[[float, float], float]  # random.uniform, injected


def full_jitter(attempts: int, uniform: Uniform) -> float:
    """Return the pause after so many failed attempts: anything from 0 to twice the pause before, capped.

    Full jitter, so that what failed together does not come back together.
    """
    return uniform(0.0, min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(attempts, 16)))


def pause_after_refusal(attempts: int, retry_after_seconds: float | None, uniform: Uniform) -> float:
    """Return the pause after an answer that says "not now": jitter, but never less than was asked for."""
    asked = min(retry_after_seconds or 0.0, RETRY_AFTER_CAP_SECONDS)
    return max(asked, full_jitter(attempts, uniform))


def pause_after_silence(unknowns: int) -> float | None:
    """Return the pause after the nth attempt without an answer, None when there were enough of them."""
    return UNKNOWN_SECONDS[unknowns - 1] if unknowns <= len(UNKNOWN_SECONDS) else None
