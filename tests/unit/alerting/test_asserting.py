"""Receivers that are told the whole state: at once of a change, and again; none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from exporter.alerting.asserting import Asserting
from exporter.alerting.receivers.alertmanager import Alertmanager
from exporter.alerting.receivers.contract import Asserter, Sending
from exporter.alerting.words import Alert, Delivery, Outcome
from exporter.config.alerting import AlertmanagerSettings
from tests.kit.clock import ManualClock
from tests.kit.notifications import NOW, alert
from tests.kit.receiver import BUSY, REFUSE, TOO_MANY, Arrival, ScriptedReceiver


def alertmanager(url: str, name: str = "am") -> Alertmanager:
    settings = AlertmanagerSettings.model_construct(urls=(url.removesuffix("/hook"),), deadline_seconds=5.0)
    return Alertmanager(id=f"{name}-1", name=name, settings=settings)


@dataclass
class Truth:
    """What is told now."""

    alerts: list[Alert] = field(default_factory=lambda: [alert()])
    looks: int = 0  # times that somebody asked

    def __call__(self, asserter: Asserter) -> Sequence[Alert]:
        self.looks += 1
        return tuple(self.alerts)


@asynccontextmanager
async def asserting(clock: ManualClock, truth: Truth, *asserters: Asserter) -> AsyncIterator[Asserting]:
    """Run it for these asserters, with the longest pauses that jitter may give."""
    asserting = Asserting(
        asserters={asserter.id: asserter for asserter in asserters},
        alerts=truth,
        clock=clock,
        unsaved=lambda: False,
        uniform=lambda low, high: high,
    )
    running = asyncio.create_task(asserting.run())
    try:
        yield asserting
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(holds: Callable[[], bool]) -> None:
    """Return when something is true, in real time."""
    async with asyncio.timeout(10.0):
        while not holds():
            await asyncio.sleep(0.005)


def value(asserting: Asserting, *labels: str, name: str) -> float:
    found = {(reading.spec.name, reading.labels): reading.value for reading in asserting.readings()}
    return found[name, labels]


def counted(asserting: Asserting, outcome: str, name: str = "am") -> float:
    return value(asserting, name, outcome, name="qdrantx_notifications_total")


def peers(arrival: Arrival) -> list[str]:
    return [told["labels"]["peer"] for told in arrival.json]


async def test_the_state_is_told_at_once_and_at_every_change() -> None:
    """Long before the interval is over."""
    truth = Truth()
    async with (
        ScriptedReceiver() as server,
        asserting(ManualClock(), truth, alertmanager(server.url)) as told,
    ):
        await until(lambda: counted(told, "delivered") == 1.0)
        truth.alerts.append(alert(2))
        told.wake()

        await until(lambda: counted(told, "delivered") == 2.0)

        assert [len(peers(arrival)) for arrival in server.arrivals] == [1, 2]


async def test_the_state_is_told_again_when_the_interval_is_over() -> None:
    """Nothing changed; the other side must not take silence for an end."""
    clock = ManualClock()
    async with (
        ScriptedReceiver() as server,
        asserting(clock, Truth(), alertmanager(server.url)) as told,
    ):
        await until(lambda: counted(told, "delivered") == 1.0)
        clock.advance(60.0)

        await until(lambda: counted(told, "delivered") == 2.0)

        assert [len(peers(arrival)) for arrival in server.arrivals] == [1, 1]


async def test_what_was_not_taken_is_told_again_soon_as_it_is_then() -> None:
    """There is no queue: the newest state is all that matters."""
    clock, truth = ManualClock(), Truth()
    async with (
        ScriptedReceiver() as server,
        asserting(clock, truth, alertmanager(server.url)) as told,
    ):
        await until(lambda: counted(told, "delivered") == 1.0)
        server.script(BUSY)
        truth.alerts = [alert(2)]
        told.wake()
        await until(lambda: counted(told, "retry") == 1.0)
        truth.alerts = [alert(3)]
        clock.advance(4.0)

        await until(lambda: counted(told, "delivered") == 2.0)

        assert peers(server.arrivals[-1]) == ["10.0.0.3:6333"]


async def test_a_change_does_not_break_the_pause_that_a_server_asked_for() -> None:
    """Retry-After holds, whatever happens meanwhile."""
    clock, truth = ManualClock(), Truth()
    async with ScriptedReceiver() as server:
        server.script(TOO_MANY)
        async with asserting(clock, truth, alertmanager(server.url)) as told:
            await until(lambda: counted(told, "retry") == 1.0)
            told.wake()
            await asyncio.sleep(0.1)
            assert len(server.arrivals) == 1

            clock.advance(1.0)

            await until(lambda: counted(told, "delivered") == 1.0)


async def test_one_that_refuses_is_down_and_delays_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """One outage is one line in the log."""
    clock = ManualClock()
    async with ScriptedReceiver(lambda: REFUSE) as closed, ScriptedReceiver() as open_:
        asserters = (alertmanager(closed.url, "closed"), alertmanager(open_.url, "open"))
        async with asserting(clock, Truth(), *asserters) as told:
            await until(lambda: counted(told, "delivered", "open") == 1.0)
            for times in (1.0, 2.0, 3.0):
                await until(lambda: counted(told, "refused", "closed") >= times)  # noqa: B023
                clock.advance(60.0)

            assert value(told, "closed", name="qdrantx_receiver_up") == 0.0
            assert value(told, "open", name="qdrantx_receiver_up") == 1.0
            assert [len(each.taken) for each in told.assertions()] == [0, 1]

    assert capsys.readouterr().out.count("assertion.failed") == 1


async def test_asserters_come_and_go_at_a_reload() -> None:
    """The new one is told at once, the old one nothing any more."""
    truth = Truth()
    async with (
        ScriptedReceiver() as old,
        ScriptedReceiver() as new,
        asserting(ManualClock(), truth, alertmanager(old.url)) as told,
    ):
        await until(lambda: counted(told, "delivered") == 1.0)
        other = alertmanager(new.url, "other")
        told.reconfigure({other.id: other})
        await until(lambda: counted(told, "delivered", "other") == 1.0)
        told.wake()
        await until(lambda: counted(told, "delivered", "other") == 2.0)

        assert len(old.arrivals) == 1
        assert [reading.labels[0] for reading in told.readings()].count("am") == 0


OLDEST = "qdrantx_notification_oldest_pending_timestamp_seconds"


async def test_what_nobody_takes_is_pending_since_it_was_first_to_be_told() -> None:
    """An Alertmanager that is away has no queue, and must be seen to be stuck all the same."""
    clock = ManualClock(NOW)
    async with ScriptedReceiver() as server:
        away = alertmanager(server.url)
    async with asserting(clock, Truth(), away) as told:
        for times in (1.0, 2.0, 3.0):
            await until(lambda: counted(told, "retry") >= times)  # noqa: B023
            clock.advance(60.0)

        assert value(told, "am", name=OLDEST) == NOW
        assert value(told, "am", name="qdrantx_notifications_pending") == 1.0
        await server.start()
        clock.advance(60.0)
        await until(lambda: counted(told, "delivered") == 1.0)
        assert value(told, "am", name="qdrantx_notifications_pending") == 0.0
        await server.stop()


async def test_what_may_not_be_told_yet_is_pending_too() -> None:
    """A server that asks for an hour is silent about what begins meanwhile."""
    clock, truth = ManualClock(NOW), Truth([])
    async with ScriptedReceiver() as server:
        server.script(then=replace(TOO_MANY, headers={"Retry-After": "3600"}))
        async with asserting(clock, truth, alertmanager(server.url)) as told:
            truth.alerts = [alert(1)]
            told.wake()
            await until(lambda: counted(told, "retry") == 1.0)
            clock.advance(600.0)
            truth.alerts = [alert(2)]
            told.wake()
            await until(lambda: value(told, "am", name=OLDEST) == NOW + 600)

            assert len(server.arrivals) == 1


async def test_a_pause_that_is_over_with_nothing_to_tell_is_over() -> None:
    """What begins after it does not wait for another one."""
    clock, truth = ManualClock(NOW), Truth()
    async with ScriptedReceiver() as server:
        server.script(replace(TOO_MANY, headers={"Retry-After": "3600"}))
        async with asserting(clock, truth, alertmanager(server.url)) as told:
            await until(lambda: counted(told, "retry") == 1.0)
            truth.alerts, looks = [], truth.looks
            clock.advance(3_600.0)
            await until(lambda: truth.looks > looks)
            truth.alerts = [alert(2)]
            told.wake()

            await until(lambda: counted(told, "delivered") == 1.0)


async def test_a_telling_of_nothing_is_no_success() -> None:
    """Nobody was asked, so nobody took anything."""
    truth = Truth([])
    async with (
        ScriptedReceiver() as server,
        asserting(ManualClock(), truth, alertmanager(server.url)) as told,
    ):
        truth.alerts = [alert()]
        told.wake()
        await until(lambda: counted(told, "delivered") == 1.0)
        truth.alerts = []
        told.wake()
        await until(lambda: not told.assertions()[0].taken)

        assert counted(told, "delivered") == 1.0
        assert len(server.arrivals) == 1


async def test_one_that_refused_is_asked_again_though_there_is_nothing_to_tell() -> None:
    """Or it would be down until something fires, long after a person mended it."""
    clock, truth = ManualClock(), Truth()
    async with ScriptedReceiver() as server:
        server.script(REFUSE)
        async with asserting(clock, truth, alertmanager(server.url)) as told:
            await until(lambda: counted(told, "refused") == 1.0)
            truth.alerts = []
            clock.advance(60.0)
            await until(lambda: counted(told, "delivered") == 1.0)

            assert server.arrivals[-1].json == []
            assert value(told, "am", name="qdrantx_receiver_up") == 1.0


async def test_what_was_taken_in_part_is_said_once_until_it_is_whole_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A member that is down takes nothing from the other, and would else be noticed with the second."""
    clock = ManualClock()
    async with ScriptedReceiver() as gone:
        pass
    async with ScriptedReceiver() as server:
        settings = AlertmanagerSettings.model_construct(
            urls=tuple(each.url.removesuffix("/hook") for each in (server, gone)), deadline_seconds=5.0
        )
        async with asserting(clock, Truth(), Alertmanager(id="am-1", name="am", settings=settings)) as told:
            for times in (1.0, 2.0, 3.0):
                await until(lambda: counted(told, "delivered") == times)  # noqa: B023
                clock.advance(60.0)
            await gone.start()
            clock.advance(60.0)
            await until(lambda: counted(told, "delivered") == 4.0)
            await gone.stop()
            clock.advance(60.0)
            await until(lambda: counted(told, "delivered") == 5.0)

    assert capsys.readouterr().out.count("assertion.taken_in_part") == 2


async def test_a_bug_in_what_is_to_be_told_ends_nobody() -> None:
    """What was to be told before goes on being told."""
    clock, truth = ManualClock(), Truth()
    async with ScriptedReceiver() as server, asserting(clock, truth, alertmanager(server.url)) as told:
        await until(lambda: counted(told, "delivered") == 1.0)
        truth.alerts = None  # type: ignore[assignment]
        clock.advance(60.0)

        await until(lambda: counted(told, "delivered") == 2.0)

        assert [len(peers(arrival)) for arrival in server.arrivals] == [1, 1]


class Broken:
    """An asserter with a bug."""

    id, name, interval_seconds = "broken-1", "broken", 60.0

    async def tell(self, alerts: Sequence[Alert], sending: Sending) -> Delivery:
        raise KeyError("https://example.com/secret")

    async def close(self) -> None:
        pass


async def test_a_bug_in_an_asserter_ends_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """Its text, which may hold a secret, is in no log."""
    async with asserting(ManualClock(), Truth(), Broken()) as told:
        await until(lambda: counted(told, Outcome.RETRY.value, "broken") == 1.0)

    written = capsys.readouterr()
    assert "KeyError" in written.out
    assert "secret" not in written.out + written.err
