"""When to stop asking, and for how long. Decisions only: no clock of its own, no sleep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from exporter.clock import Clock
from exporter.model import FaultKind

# One lost answer is noise and two may be one restart; a third in a row is a pattern.
FAILURES_TO_OPEN = 3
# As long as Qdrant takes to come back from a quick restart.
FIRST_HOLD_SECONDS = 5.0
# Low on purpose. A call to a dead peer costs a connection attempt, and a recovery that goes unseen
# costs the reader of an alert more: half a minute is two polls.
LONGEST_HOLD_SECONDS = 30.0
# A Retry-After is the server's word, but a wrong one must not blind us for a day: the slowest
# source asks every 10 minutes.
LONGEST_WAIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """The longest that a breaker keeps calls back."""

    hold_seconds: float = LONGEST_HOLD_SECONDS  # after failures
    wait_seconds: float = LONGEST_WAIT_SECONDS  # because the server said so


class Permit(Enum):
    """Leave to make one call; hand it back with how the call ended."""

    NORMAL = "normal"
    TRIAL = "trial"  # the one call that finds out whether the peer is back


@dataclass(frozen=True, slots=True)
class Held:
    """No leave. `kind` is that of the last failure; REFUSED where the server asked to wait."""

    seconds: float  # until a call may go; 0 while a trial call is under way
    failures: int
    kind: FaultKind


class Breaker:
    """Keeps calls to one endpoint of one peer back after failures in a row.

    Opens after FAILURES_TO_OPEN timeouts or broken connections in a row and holds for a
    time that doubles from FIRST_HOLD_SECONDS up to the limit, less a random part of up to a
    half, so that many endpoints of one dead peer do not knock together. Then one trial call
    goes; its end closes the breaker or opens it for longer. An answer of any kind closes it.
    `random` returns 0 to 1.
    """

    def __init__(self, *, limits: HoldLimits, clock: Clock, random: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._random = random
        self._failures = 0
        self._openings = 0
        self._kind = FaultKind.UNREACHABLE
        self._held_until = 0.0
        self._wait_until = 0.0
        self._trial_under_way = False

    def held(self) -> Held | None:
        """Return why a call may not go now, None when it may. Changes nothing."""
        now = self._clock.monotonic()
        if now < self._wait_until:
            return Held(self._wait_until - now, self._failures, FaultKind.REFUSED)
        if not self._openings:
            return None
        if now < self._held_until:
            return Held(self._held_until - now, self._failures, self._kind)
        if self._trial_under_way:
            return Held(0.0, self._failures, self._kind)
        return None

    def admit(self) -> Permit | Held:
        """Give leave for one call, or say why not."""
        held = self.held()
        if held is not None:
            return held
        if not self._openings:
            return Permit.NORMAL
        self._trial_under_way = True
        return Permit.TRIAL

    def answered(self) -> None:
        """The peer answered, whatever it said: all is well."""
        self._failures = 0
        self._openings = 0
        self._trial_under_way = False

    def failed(self, permit: Permit, kind: FaultKind) -> None:
        """No answer came. One that was let go before the breaker opened does not count again."""
        if self._openings and permit is Permit.NORMAL:
            return
        self._trial_under_way = False
        self._failures += 1
        self._kind = kind
        if self._failures < FAILURES_TO_OPEN:
            return
        longest = min(self._limits.hold_seconds, FIRST_HOLD_SECONDS * 2**self._openings)
        # The limit is reached after three doublings; counting on would only make a huge number.
        self._openings = min(self._openings + 1, 16)
        self._held_until = self._clock.monotonic() + longest * (0.5 + 0.5 * self._random())

    def told_to_wait(self, seconds: float) -> None:
        """The server named a time to come back: nothing goes before it, up to the limit."""
        until = self._clock.monotonic() + min(seconds, self._limits.wait_seconds)
        self._wait_until = max(self._wait_until, until)

    def abandoned(self, permit: Permit) -> None:
        """The call was cancelled: nothing was learnt, and the next may be the trial."""
        if permit is Permit.TRIAL:
            self._trial_under_way = False
