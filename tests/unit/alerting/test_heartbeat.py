"""The dead man's switch: beats while all is well, and says in the log why it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import httpx
import pytest

from exporter.alerting.assertions import Assertions
from exporter.alerting.heartbeat import Heartbeat, Turn, ailments, stalled, untold
from exporter.alerting.ledger import Ledger
from exporter.alerting.outbox import Outbox, Row
from exporter.alerting.words import Alert
from tests.kit.clock import ManualClock
from tests.kit.notifications import NOW, RESOLVE, TRIGGER, UPDATE, alert, group, notification
from tests.kit.receiver import BUSY, ScriptedReceiver

HEALTHY = Turn("evaluation", 30.0, 15.0)


def heartbeat(url: str, *reasons: str, method: Literal["GET", "POST"] = "GET") -> Heartbeat:
    return Heartbeat(
        url=url, method=method, interval_seconds=60.0, ailments=lambda: reasons, evaluated=asyncio.Event()
    )


async def beat(heartbeat: Heartbeat, times: int = 1) -> None:
    async with httpx.AsyncClient(timeout=0.3) as client:
        for _ in range(times):
            await heartbeat.beat(client)


async def test_the_first_beat_waits_for_the_first_evaluation() -> None:
    """Before it nothing ails us, and there is nothing to warn of."""
    evaluated = asyncio.Event()
    async with ScriptedReceiver() as server:
        heart = Heartbeat(
            url=server.url,
            method="GET",
            interval_seconds=60.0,
            ailments=lambda: stalled([], Turn("evaluations", 0.0, 15.0) if evaluated.is_set() else None),
            evaluated=evaluated,
        )
        beating = asyncio.create_task(heart.run())
        await asyncio.sleep(0.1)
        evaluated.set()
        await server.wait_for(1)
        beating.cancel()

        assert heart.outcomes["withheld"] == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_it_calls_the_url_while_all_is_well(method: Literal["GET", "POST"]) -> None:
    """By the method that the service wants."""
    async with ScriptedReceiver() as server:
        heart = heartbeat(server.url, method=method)

        await beat(heart)

        assert [arrival.path for arrival in server.arrivals] == ["/hook"]
        assert heart.outcomes == {"sent": 1, "failed": 0, "withheld": 0}


async def test_it_is_silent_while_something_ails_us(capsys: pytest.CaptureFixture[str]) -> None:
    """The log says what, once."""
    async with ScriptedReceiver() as server:
        heart = heartbeat(server.url, "the state directory cannot be written")

        await beat(heart, times=3)

        assert server.arrivals == []
        assert heart.outcomes == {"sent": 0, "failed": 0, "withheld": 3}
    assert capsys.readouterr().out.count("cannot be written") == 1


async def test_a_failure_is_counted_and_its_url_is_in_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    """An error's own text would hold it."""
    async with ScriptedReceiver(lambda: BUSY) as server:
        refused = heartbeat(server.url)
        await beat(refused)
    unreachable = heartbeat(server.url)
    await beat(unreachable, times=2)
    unusable = heartbeat("http://[secret-part")
    await beat(unusable)

    assert [heart.outcomes["failed"] for heart in (refused, unreachable, unusable)] == [1, 2, 1]
    written = capsys.readouterr().out
    assert written.count("heartbeat.failed") == 3
    assert "hook" not in written
    assert "secret" not in written


@pytest.mark.parametrize(
    ("poll", "evaluation", "words"),
    [
        (Turn("polls of a", 30.0, 10.0), HEALTHY, []),
        (Turn("polls of a", 30.5, 10.0), HEALTHY, ["polls of a: none for 30 s"]),
        (Turn("polls of a", 1.0, 10.0), None, ["no evaluation yet"]),
        (Turn("polls of a", 1.0, 10.0), Turn("evaluation", 31.0, 15.0), ["evaluation: none for 31 s"]),
    ],
)
def test_loops_must_turn_within_three_and_two_intervals(
    poll: Turn, evaluation: Turn | None, words: list[str]
) -> None:
    """A poll that failed is a turn too."""
    assert list(stalled([poll], evaluation)) == words


def asserted(*untold: Alert, taken: tuple[Alert, ...] = ()) -> Assertions:
    """Return what an Alertmanager lacks since NOW, and what it took then."""
    one = Assertions()
    one.see((*untold, *taken), NOW)
    one.settle((*untold, *taken), {alert.fingerprint for alert in taken}, NOW)
    return one


def waiting(*rows: Row, assertions: Sequence[Assertions] = (), now: float = NOW + 301) -> list[str]:
    """Return what is untold of hook-1's rows, while chat-1 was told of alert 1."""
    groups = {("hook-1", "k"): group(alert(1), alert(2)), ("chat-1", "c"): group(alert(1), receiver="chat-1")}
    return list(untold(rows, groups, assertions, now=now))


def test_a_page_that_nobody_got_for_five_minutes_stops_the_heart() -> None:
    """Of two alerts in it, the second is told by nobody else."""
    stuck = Row(1, notification(TRIGGER, firing=(alert(1), alert(2))), "a")

    assert waiting(stuck) == ["nobody was told of PeerDown, shop"]
    assert waiting(stuck, now=NOW + 300) == []


def test_a_page_that_another_receiver_got_does_not() -> None:
    """One receiver that is stuck is for NotificationsStuck to tell of."""
    assert waiting(Row(1, notification(TRIGGER, firing=(alert(1),)), "a")) == []


def test_another_receiver_that_is_stuck_as_well_got_nothing() -> None:
    """It has heard only once the message arrived."""
    rows = [
        Row(1, notification(TRIGGER, firing=(alert(1),)), "a"),
        Row(2, notification(TRIGGER, receiver="chat-1", key="c", firing=(alert(1),)), "b"),
    ]

    assert len(waiting(*rows)) == 2


def test_only_pages_count() -> None:
    """No warning, no resolve."""
    rows = [
        Row(1, notification(UPDATE, severity="warning", firing=(alert(2),)), "a"),
        Row(2, notification(RESOLVE), "b"),
    ]

    assert waiting(*rows) == []


def test_a_page_that_an_alertmanager_has_not_taken_for_five_minutes_stops_the_heart() -> None:
    """It has no queue; alert 1 was told by the chat."""
    lacks = asserted(alert(1), alert(3))

    assert waiting(assertions=[lacks]) == ["nobody was told of PeerDown, 10.0.0.3:6333, shop, critical"]
    assert waiting(assertions=[lacks], now=NOW + 300) == []
    assert waiting(assertions=[asserted(alert(3, firing=False))]) == []


def test_a_page_is_told_once_an_alertmanager_of_its_routes_took_it() -> None:
    """Not by one that was routed something else, or nothing."""
    stuck = Row(1, notification(TRIGGER, firing=(alert(3),)), "a")

    assert waiting(stuck, assertions=[asserted(taken=(alert(3),))]) == []
    assert len(waiting(stuck, assertions=[asserted(), asserted(taken=(alert(4),))])) == 1


def test_what_an_alertmanager_took_is_told_though_it_went_away_after_it() -> None:
    """Somebody knows; NotificationsStuck tells the others of the rest. Until it fires anew."""
    took = asserted(taken=(alert(3),))
    took.settle([alert(3)], set(), NOW + 60)
    assert waiting(assertions=[took], now=NOW + 3_600) == []

    took.see([alert(3, fired_at=NOW + 3_000)], NOW + 3_000)

    assert len(waiting(assertions=[took], now=NOW + 3_600)) == 1


async def test_a_page_that_was_rejected_stops_the_heart_too() -> None:
    """It left the queue, but nobody got it; until the Alertmanager has it, or it is over."""
    ledger = Ledger(store=None, clock=ManualClock(NOW))
    outbox: Outbox = ledger.outbox
    outbox.queue(notification(TRIGGER))
    row = outbox.due("hook-1", NOW)
    assert row is not None
    outbox.give_up(outbox.begin(row, now=NOW), now=NOW, reason="400")

    def found(*assertions: Assertions) -> list[str]:
        return list(
            ailments(ledger=ledger, polls=(), evaluation=HEALTHY, assertions=assertions, now=NOW + 400)
        )

    assert found() == ["nobody was told of PeerDown, shop"]
    assert found(asserted(taken=(alert(1),))) == []
    outbox.queue(replace(notification(RESOLVE), created_at=NOW + 390))
    assert found() == []
