"""When calls are held back, decided with a hand-moved clock."""

from __future__ import annotations

import asyncio

import pytest

from exporter.errors import SourceAuth, SourceRefused, SourceTimeout, SourceUnreachable
from exporter.model import FaultKind
from exporter.qdrant.breaker import (
    FAILURES_TO_OPEN,
    LONGEST_HOLD_SECONDS,
    Breaker,
    Held,
    HoldLimits,
    Permit,
)
from exporter.qdrant.gateway import Door, Gateway
from tests.kit.gateways import LIMIT_BYTES, ask
from tests.kit.servers import Wire, WireServer, answering, reply, silent

UNREACHABLE = FaultKind.UNREACHABLE
GOOD = reply(200, b"{}")


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def breaker_on(clock: HandClock, *, random: float = 1.0, limits: HoldLimits | None = None) -> Breaker:
    """Make a breaker whose random part is fixed."""
    return Breaker(limits=limits or HoldLimits(), clock=clock, random=lambda: random)


def fail(breaker: Breaker, times: int = FAILURES_TO_OPEN) -> None:
    """Let so many calls go and fail."""
    for _ in range(times):
        permit = breaker.admit()
        assert isinstance(permit, Permit)
        breaker.failed(permit, UNREACHABLE)


def held_seconds(breaker: Breaker) -> float:
    """Return for how long a call is held back, 0 when it may go."""
    held = breaker.held()
    return held.seconds if held else 0.0


def test_two_failures_hold_nothing_back() -> None:
    """A lost answer and one restart are not a pattern."""
    breaker = breaker_on(HandClock())
    fail(breaker, 2)

    assert breaker.held() is None


def test_an_answer_between_failures_starts_the_count_anew() -> None:
    """Only failures in a row count."""
    breaker = breaker_on(HandClock())
    fail(breaker, 2)
    breaker.answered()
    fail(breaker, 2)

    assert breaker.held() is None


def test_three_failures_in_a_row_hold_calls_back() -> None:
    """The breaker opens and says for how long, why, and after how many failures."""
    breaker = breaker_on(HandClock())
    fail(breaker)

    assert breaker.admit() == Held(5.0, 3, UNREACHABLE)


def test_each_failed_trial_doubles_the_hold_up_to_the_limit() -> None:
    """5, 10, 20, 30 and then 30 for ever: a peer that is back is seen within half a minute."""
    clock = HandClock()
    breaker = breaker_on(clock)
    fail(breaker)
    holds = []
    for _ in range(40):
        holds.append(held_seconds(breaker))
        clock.seconds += holds[-1]
        fail(breaker, 1)

    assert holds[:4] == [5.0, 10.0, 20.0, 30.0]
    assert set(holds[3:]) == {LONGEST_HOLD_SECONDS}


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 2.5), (0.5, 3.75), (1.0, 5.0)])
def test_the_hold_is_shortened_at_random_by_up_to_a_half(random: float, seconds: float) -> None:
    """Many endpoints of one dead peer do not knock together."""
    breaker = breaker_on(HandClock(), random=random)
    fail(breaker)

    assert held_seconds(breaker) == pytest.approx(seconds)


def test_after_the_hold_one_trial_goes_and_the_rest_wait_for_its_end() -> None:
    """A peer that just came back is not met by everything at once."""
    clock = HandClock()
    breaker = breaker_on(clock)
    fail(breaker)
    clock.seconds += 5.0

    assert breaker.admit() is Permit.TRIAL
    assert breaker.admit() == Held(0.0, 3, UNREACHABLE)
    breaker.answered()
    assert breaker.admit() is Permit.NORMAL


def test_a_cancelled_trial_leaves_the_next_call_to_be_one() -> None:
    """A trial that nobody ends would hold back for ever."""
    clock = HandClock()
    breaker = breaker_on(clock)
    fail(breaker)
    clock.seconds += 5.0
    trial = breaker.admit()
    assert isinstance(trial, Permit)
    breaker.abandoned(trial)

    assert breaker.admit() is Permit.TRIAL


def test_calls_let_go_before_it_opened_do_not_lengthen_the_hold() -> None:
    """Four calls that hung together are one failure more, not four doublings."""
    breaker = breaker_on(HandClock())
    permits = [breaker.admit() for _ in range(6)]
    for permit in permits:
        assert isinstance(permit, Permit)
        breaker.failed(permit, FaultKind.TIMEOUT)

    assert breaker.held() == Held(5.0, 3, FaultKind.TIMEOUT)


def test_a_late_answer_closes_an_open_breaker() -> None:
    """An answer is proof of life, whenever it was asked for."""
    breaker = breaker_on(HandClock())
    fail(breaker)
    breaker.answered()

    assert breaker.held() is None


def test_the_servers_time_to_wait_is_kept_whatever_else_is_answered() -> None:
    """Retry-After holds for as long as it says, and then needs no trial."""
    clock = HandClock()
    breaker = breaker_on(clock)
    breaker.told_to_wait(12.0)
    breaker.answered()

    assert breaker.admit() == Held(12.0, 0, FaultKind.REFUSED)
    clock.seconds += 12.0
    assert breaker.admit() is Permit.NORMAL


def test_a_foolish_time_to_wait_is_cut() -> None:
    """A day's Retry-After blinds us for ten minutes, not for a day."""
    breaker = breaker_on(HandClock())
    breaker.told_to_wait(86_400.0)

    assert held_seconds(breaker) == 600.0


class ServerWithGateway:
    """A gateway on a hand-moved clock before a server that is up or drops every connection."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.up = True
        self.server = WireServer(self._play)
        self.gateway: Gateway | None = None

    async def _play(self, wire: Wire) -> None:
        if self.up:
            await answering(GOOD)(wire)
        await wire.request()

    async def __aenter__(self) -> ServerWithGateway:
        await self.server.__aenter__()
        self.gateway = Gateway(
            door=Door(self.server.url),
            clock=self.clock,
            response_limit_bytes=LIMIT_BYTES,
            fast_seconds=15.0,
            random=lambda: 1.0,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.gateway is not None
        await self.gateway.close()
        await self.server.__aexit__()

    async def fail(self, path: str) -> str:
        """Ask, expect a failure, return its detail."""
        assert self.gateway is not None
        with pytest.raises(SourceUnreachable) as raised:
            await ask(self.gateway, path)
        return raised.value.detail


async def test_a_dead_peer_is_not_asked_while_its_breaker_holds() -> None:
    """After three broken connections the fourth call fails at once, unsent and uncounted."""
    async with ServerWithGateway() as stage:
        stage.up = False
        for _ in range(3):
            await stage.fail("/issues")
        detail = await stage.fail("/issues")

    assert detail == "held back for 5.0s after 3 failures"
    assert len(stage.server.requests) == 3
    assert stage.gateway is not None
    assert stage.gateway.counts()["/issues", "unreachable"] == 3


async def test_a_breaker_holds_back_its_own_endpoint_only() -> None:
    """What fails on one endpoint says nothing of another."""
    async with ServerWithGateway() as stage:
        stage.up = False
        for _ in range(3):
            await stage.fail("/issues")
        stage.up = True
        assert stage.gateway is not None
        answer = await ask(stage.gateway, "/aliases")

    assert answer.status == 200


async def test_a_peer_that_is_back_is_seen_at_the_first_trial() -> None:
    """The trial's good answer opens the road for all."""
    async with ServerWithGateway() as stage:
        stage.up = False
        for _ in range(3):
            await stage.fail("/issues")
        stage.up = True
        stage.clock.seconds += 5.0
        assert stage.gateway is not None
        for _ in range(3):
            await ask(stage.gateway, "/issues")

    assert stage.gateway.counts()["/issues", "ok"] == 3


async def test_a_cancelled_trial_call_does_not_close_the_road_for_good() -> None:
    """A poll that is stopped during the trial leaves the next poll to be it."""
    async with ServerWithGateway() as stage:
        stage.up = False
        for _ in range(3):
            await stage.fail("/issues")
        stage.server.play = silent
        stage.clock.seconds += 5.0
        assert stage.gateway is not None
        trial = asyncio.create_task(ask(stage.gateway, "/issues"))
        while len(stage.server.requests) < 4:
            await asyncio.sleep(0.01)
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial
        stage.server.play = answering(GOOD)
        answer = await ask(stage.gateway, "/issues")

    assert answer.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/cluster", "/telemetry?details_level=3"])
async def test_the_fast_lane_asks_a_dead_peer_at_every_interval(path: str) -> None:
    """Twenty polls 15 s apart are twenty calls: recovery is seen at the next one."""
    async with ServerWithGateway() as stage:
        stage.up = False
        for _ in range(20):
            assert "held back" not in await stage.fail(path)
            stage.clock.seconds += 15.0

    assert len(stage.server.requests) == 20


async def test_a_timed_out_endpoint_is_held_back_as_timed_out() -> None:
    """The kind of the fault stays what it was: hung is not gone."""
    clock = HandClock()
    async with WireServer(silent) as server:
        gateway = Gateway(
            door=Door(server.url), clock=clock, response_limit_bytes=LIMIT_BYTES, fast_seconds=15.0
        )
        for _ in range(3):
            with pytest.raises(SourceTimeout):
                await ask(gateway, "/issues", deadline_seconds=0.05)
        with pytest.raises(SourceTimeout, match="held back for"):
            await ask(gateway, "/issues")
        await gateway.close()


async def test_429_with_a_time_to_wait_holds_back_for_that_time() -> None:
    """The server is not asked again before it said, and then it is."""
    clock = HandClock()
    async with WireServer(answering(reply(429, b"slow down", "Retry-After: 12"), GOOD)) as server:
        gateway = Gateway(
            door=Door(server.url), clock=clock, response_limit_bytes=LIMIT_BYTES, fast_seconds=15.0
        )
        with pytest.raises(SourceRefused):
            await ask(gateway, "/issues")
        clock.seconds += 11.0
        with pytest.raises(SourceRefused) as held:
            await ask(gateway, "/issues")
        clock.seconds += 1.0
        answer = await ask(gateway, "/issues")
        await gateway.close()

    assert held.value.detail == "held back for 1.0s as the server asked"
    assert (held.value.status, held.value.retry_after_seconds) == (429, 1.0)
    assert answer.status == 200


async def test_429_without_a_time_to_wait_holds_nothing_back() -> None:
    """The next poll is pause enough."""
    async with WireServer(answering(reply(429, b"slow down"))) as server:
        gateway = Gateway(
            door=Door(server.url), clock=HandClock(), response_limit_bytes=LIMIT_BYTES, fast_seconds=15.0
        )
        for _ in range(5):
            with pytest.raises(SourceRefused):
                await ask(gateway, "/issues")
        await gateway.close()

    assert len(server.requests) == 5


async def test_answers_that_say_no_never_open_the_breaker() -> None:
    """A peer that answers 500 or 401 is there: asking it costs nobody anything."""
    async with WireServer(answering(reply(500), reply(401), reply(503), reply(500))) as server:
        gateway = Gateway(
            door=Door(server.url), clock=HandClock(), response_limit_bytes=LIMIT_BYTES, fast_seconds=15.0
        )
        for _ in range(8):
            with pytest.raises((SourceRefused, SourceAuth)):
                await ask(gateway, "/issues")
        await gateway.close()

    assert len(server.requests) == 8
