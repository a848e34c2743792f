"""Delivery over real sockets: order, retries, pauses, refusals, and nobody waits for another receiver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import pytest_asyncio

from exporter.alerting.deliverer import Deliverer
from exporter.alerting.ledger import Ledger
from exporter.alerting.outbox import RowState
from exporter.alerting.receivers.contract import Receiver, Sending
from exporter.alerting.receivers.webhook import Webhook
from exporter.alerting.words import Changes, Delivery, Notification, Outcome
from exporter.config.alerting import WebhookSettings
from exporter.config.secret import Secret
from tests.kit.clock import ManualClock
from tests.kit.notifications import (
    NOW,
    UPDATE,
    alert,
    fires,
    notification,
    resolves,
)
from tests.kit.receiver import (
    BUSY,
    BUSY_BUT_TAKES,
    HANG,
    HANG_BUT_TAKE,
    REFUSE,
    REJECT,
    RESET_BUT_TAKE,
    TOO_MANY,
    ScriptedReceiver,
    webhook,
)

HOOK = "hook-1"


def highest(low: float, high: float) -> float:
    return high


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest_asyncio.fixture
async def hook() -> AsyncIterator[ScriptedReceiver]:
    async with ScriptedReceiver() as receiver:
        yield receiver


class Delivering:
    """A deliverer over a ledger in memory, and time that is moved by hand."""

    def __init__(self, clock: ManualClock, *receivers: Receiver) -> None:
        self.clock = clock
        self.ledger = Ledger(store=None, clock=clock)
        self.deliverer = Deliverer(
            ledger=self.ledger,
            receivers={receiver.id: receiver for receiver in receivers},
            owed={},
            clock=clock,
            external_url="https://watch.example.com",
            uniform=highest,
        )

    async def tell(self, changes: Changes) -> None:
        await self.ledger.commit(changes)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something is true, in real time."""
        async with asyncio.timeout(10.0):
            while not holds():
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Return when nothing is being sent any more, so that time may be moved."""
        await self.until(lambda: all(row.state is RowState.PENDING for row in self.ledger.outbox.rows()))

    async def advance(self, seconds: float) -> None:
        """Move the clock on and let everybody look."""
        self.clock.advance(seconds)
        self.deliverer.wake()

    async def stays_silent(self, hook: ScriptedReceiver) -> bool:
        """Whether nothing arrives though everybody looks."""
        before = len(hook.arrivals)
        self.deliverer.wake()
        await asyncio.sleep(0.1)
        return len(hook.arrivals) == before

    def outcomes(self, name: str = "hook") -> dict[str, float]:
        """Return the counted outcomes that are not 0."""
        return {
            reading.labels[1]: reading.value
            for reading in self.deliverer.readings()
            if reading.spec.name == "qdrantx_notifications_total"
            and reading.labels[0] == name
            and reading.value
        }

    def gauge(self, name: str, receiver: str = "hook") -> float | None:
        """Return the value of a metric that has the label receiver only."""
        found = {(reading.spec.name, reading.labels): reading.value for reading in self.deliverer.readings()}
        return found.get((name, (receiver,)))


@asynccontextmanager
async def delivering(clock: ManualClock, *receivers: Receiver) -> AsyncIterator[Delivering]:
    """Run a deliverer to these receivers."""
    delivering = Delivering(clock, *receivers)
    running = asyncio.create_task(delivering.deliverer.run())
    try:
        yield delivering
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def told(hook: ScriptedReceiver) -> list[tuple[str, int]]:
    """Return kind and episode of all that the service acted on."""
    return [arrival.told for arrival in hook.taken]


async def test_a_notification_arrives_once_and_its_resolve_after_it(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """The receiver hears where people reach us, and a key to know a repeat by."""
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires())
        await hook.wait_for(1)
        await running.tell(resolves(at=NOW + 1))
        await hook.wait_for(2)
        await running.settled()

        assert told(hook) == [("trigger", 1), ("resolve", 1)]
        assert hook.arrivals[0].json["externalURL"] == "https://watch.example.com"
        assert len({arrival.headers["idempotency-key"] for arrival in hook.arrivals}) == 2
        assert running.outcomes() == {"delivered": 2.0}
        assert running.gauge("qdrantx_notifications_pending") == 0.0
        assert running.gauge("qdrantx_notification_oldest_pending_timestamp_seconds") is None


async def test_a_slow_receiver_delays_nobody(hook: ScriptedReceiver, clock: ManualClock) -> None:
    """It hangs at every key it can be sent at once; the other one hears of all at once."""
    async with ScriptedReceiver(lambda: HANG) as slow:
        receivers = (webhook(slow.url, name="slow", deadline_seconds=30.0), webhook(hook.url))
        async with delivering(clock, *receivers) as running:
            for number in range(6):
                await running.tell(fires(receiver="slow-1", key=f"k{number}"))
            await slow.wait_for(4)
            for number in range(6):
                await running.tell(fires(key=f"k{number}"))

            await hook.wait_for(6, seconds=2.0)

            assert len(slow.arrivals) == 4
            assert running.gauge("qdrantx_notifications_pending", "slow") == 6.0
            assert running.gauge("qdrantx_notification_oldest_pending_timestamp_seconds", "slow") == NOW


async def test_within_a_key_nothing_overtakes(hook: ScriptedReceiver, clock: ManualClock) -> None:
    """The update waits for the trigger's retry; another key does not."""
    hook.script(BUSY)
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires(key="a"))
        await running.until(lambda: len(hook.arrivals) == 1)
        await running.settled()
        await running.tell(fires(key="b"))
        await hook.wait_for(2)
        assert await running.stays_silent(hook)

        await running.advance(4.0)
        await hook.wait_for(3)

        kinds = [(arrival.json["qdrantx"]["key"], arrival.play.name) for arrival in hook.arrivals]
        assert kinds == [("a", "500"), ("b", "take"), ("a", "take")]
        keys = [arrival.headers["idempotency-key"] for arrival in hook.arrivals]
        assert keys[0] == keys[2]
        assert hook.arrivals[2].json["qdrantx"]["maybeRepeat"]
        assert hook.arrivals[2].headers["qdrantx-attempt"] == "2"


async def test_429_pauses_the_receiver_and_retry_after_is_kept(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """Other keys would only be refused as well."""
    hook.script(replace(TOO_MANY, headers={"Retry-After": "120"}))
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires(key="a"))
        await hook.wait_for(1)
        await running.settled()
        await running.tell(fires(key="b"))
        await running.advance(119.0)
        assert await running.stays_silent(hook)

        await running.advance(1.0)
        await hook.wait_for(3)

        assert sorted(arrival.json["qdrantx"]["key"] for arrival in hook.taken) == ["a", "b"]


async def test_a_refusing_receiver_keeps_its_rows_and_is_tried_every_quarter_of_an_hour(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """With one message; when that is taken, the others follow."""
    hook.script(REFUSE, REFUSE)
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires(key="a"))
        await hook.wait_for(1)
        await running.settled()
        assert running.gauge("qdrantx_receiver_up") == 0.0
        await running.tell(fires(key="b"))
        await running.advance(899.0)
        assert await running.stays_silent(hook)

        await running.advance(1.0)
        await hook.wait_for(2)
        await running.settled()
        assert await running.stays_silent(hook)
        assert running.gauge("qdrantx_notifications_pending") == 2.0

        await running.advance(900.0)
        await hook.wait_for(4)
        await running.settled()

        assert sorted(arrival.json["qdrantx"]["key"] for arrival in hook.taken) == ["a", "b"]
        assert running.gauge("qdrantx_receiver_up") == 1.0
        assert running.outcomes() == {"refused": 2.0, "delivered": 2.0}


async def test_a_reload_tries_a_refusing_receiver_at_once(hook: ScriptedReceiver, clock: ManualClock) -> None:
    """Somebody may have mended the key: as the same object, and as a new one with another key."""
    first, second = webhook(hook.url), webhook(hook.url)
    hook.script(REFUSE, REFUSE)
    async with delivering(clock, first) as running:
        await running.tell(fires())
        await hook.wait_for(1)
        await running.settled()

        running.deliverer.reconfigure({HOOK: first}, {})
        await hook.wait_for(2)
        await running.settled()
        running.deliverer.reconfigure({HOOK: second}, {})
        await hook.wait_for(3)
        await running.settled()

        assert told(hook) == [("trigger", 1)]


async def test_what_is_rejected_is_given_up_and_the_next_one_goes(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """It holds up nothing, and is counted."""
    hook.script(REJECT)
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires())
        await hook.wait_for(1)
        await running.settled()
        assert running.gauge("qdrantx_notification_oldest_pending_timestamp_seconds") == NOW
        update = notification(UPDATE, at=NOW + 5, firing=(alert(1), alert(2)))
        await running.tell(Changes(NOW + 5, notifications=(update,)))
        await hook.wait_for(2)
        await running.settled()

        assert told(hook) == [("update", 1)]
        assert running.outcomes() == {"rejected": 1.0, "delivered": 1.0}
        assert running.gauge("qdrantx_notification_oldest_pending_timestamp_seconds") is None


async def test_silence_is_tried_again_after_30_seconds_while_it_fires(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """The second attempt says that it may be a repeat."""
    hook.script(HANG)
    async with delivering(clock, webhook(hook.url, deadline_seconds=0.1)) as running:
        await running.tell(fires())
        await running.until(lambda: running.outcomes() == {"unknown": 1.0})
        await running.settled()
        await running.advance(29.0)
        assert await running.stays_silent(hook)

        await running.advance(1.0)
        await hook.wait_for(2)
        await running.settled()

        assert hook.arrivals[1].json["qdrantx"]["maybeRepeat"]
        assert told(hook) == [("trigger", 1)]


async def test_silence_about_what_no_longer_fires_is_not_tried_again(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """Its alert resolved within the group's interval; the resolve comes when that is over."""
    hook.script(HANG)
    async with delivering(clock, webhook(hook.url, deadline_seconds=0.1)) as running:
        await running.tell(fires())
        await running.until(lambda: running.outcomes() == {"unknown": 1.0})
        await running.settled()
        await running.tell(Changes(NOW + 10, alerts=(alert(firing=False),)))
        await running.advance(40.0)
        assert await running.stays_silent(hook)

        await running.tell(replace(resolves(at=NOW + 300)))
        await hook.wait_for(2)

        assert told(hook) == [("resolve", 1)]


async def test_a_chat_gets_a_message_without_an_answer_four_times_at_most(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """Then it is given up, and counted as that."""
    hook.script(then=HANG_BUT_TAKE)
    async with delivering(clock, webhook(hook.url, keyless=True, deadline_seconds=0.1)) as running:
        await running.tell(fires())
        for unknowns, seconds in ((1, 30.0), (2, 120.0), (3, 600.0), (4, 86_400.0)):
            await running.until(lambda: running.outcomes().get("unknown") == unknowns)  # noqa: B023
            await running.settled()
            await running.advance(seconds)
        assert await running.stays_silent(hook)

        assert running.outcomes() == {"unknown": 4.0, "expired": 1.0}
        assert running.gauge("qdrantx_notifications_pending") == 0.0


async def test_a_webhook_is_taken_for_one_that_knows_no_repeat_unless_it_is_said_to(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """One that acts and answers too late pages four times at most, and says so; its resolve goes once."""
    settings = WebhookSettings(url=Secret(hook.url)).model_copy(update={"deadline_seconds": 0.1})
    hook.script(then=HANG_BUT_TAKE)
    async with delivering(clock, Webhook(id=HOOK, name="hook", settings=settings)) as running:
        await running.tell(fires())
        for unknowns, seconds in ((1, 30.0), (2, 120.0), (3, 600.0), (4, 600.0)):
            await running.until(lambda: running.outcomes().get("unknown") == unknowns)  # noqa: B023
            await running.settled()
            await running.advance(seconds)
        assert await running.stays_silent(hook)
        hook.script()
        await running.tell(resolves(at=NOW + 1_400))
        await running.until(lambda: running.outcomes().get("delivered") == 1)
        await running.settled()
        await running.advance(600.0)
        assert await running.stays_silent(hook)

        assert told(hook) == [("trigger", 1)] * 4 + [("resolve", 1)]
        assert [arrival.json["qdrantx"]["maybeRepeat"] for arrival in hook.arrivals[:2]] == [False, True]


async def test_the_repeat_of_a_resolve_does_not_close_the_next_incident(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """T1 times out, R1 is sent, T2 is delivered: R1's repeat, due two minutes later, is never sent."""
    hook.script(HANG)
    async with delivering(clock, webhook(hook.url, deadline_seconds=0.1)) as running:
        await running.tell(fires())
        await running.until(lambda: running.outcomes() == {"unknown": 1.0})
        await running.settled()
        await running.tell(resolves(at=NOW + 10))
        await hook.wait_for(2)
        await running.settled()
        await running.advance(60.0)
        await running.tell(fires(at=NOW + 60, episode=2))
        await hook.wait_for(3)
        await running.settled()

        await running.advance(3_600.0)

        assert await running.stays_silent(hook)
        assert told(hook) == [("resolve", 1), ("trigger", 2)]


async def test_the_resolve_of_a_trigger_without_an_answer_is_told_twice(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """In case that the trigger arrived late; the second one under a key of its own."""
    hook.script(RESET_BUT_TAKE)
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires())
        await hook.wait_for(1)
        await running.settled()
        await running.tell(resolves(at=NOW + 10))
        await hook.wait_for(2)
        await running.settled()
        await running.advance(119.0)
        assert await running.stays_silent(hook)

        await running.advance(1.0)
        await hook.wait_for(3)
        await running.settled()
        await running.advance(3_600.0)

        assert await running.stays_silent(hook)
        assert told(hook) == [("trigger", 1), ("resolve", 1), ("resolve", 1)]
        assert len({arrival.headers["idempotency-key"] for arrival in hook.arrivals}) == 3


async def test_a_receiver_that_is_gone_for_a_while_hears_of_what_still_fires(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """What fired and resolved meanwhile is told to nobody."""
    await hook.stop()
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires(key="short"))
        await running.tell(fires(key="long"))
        await running.until(lambda: running.outcomes().get("retry") == 2.0)
        await running.settled()
        await running.tell(resolves(key="short", at=NOW + 2))
        await running.tell(Changes(NOW + 2, alerts=(alert(),)))
        await hook.start()

        await running.advance(4.0)
        await hook.wait_for(1)
        await running.settled()

        assert [arrival.json["qdrantx"]["key"] for arrival in hook.arrivals] == ["long"]


async def test_a_trigger_that_a_gateway_answered_with_500_is_owed_its_resolve(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """The service behind it took it, and nobody else will close the incident."""
    hook.script(BUSY_BUT_TAKES)
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires())
        await hook.wait_for(1)
        await running.settled()
        await running.tell(resolves(at=NOW + 2))
        await hook.wait_for(2)

        assert told(hook) == [("trigger", 1), ("resolve", 1)]


async def test_a_receiver_that_leaves_finishes_what_it_is_sending_and_takes_up_nothing_more(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """Its place on the page goes with it."""
    async with ScriptedReceiver() as other, delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires())
        await hook.wait_for(1)
        new = webhook(other.url, name="other")
        running.deliverer.reconfigure({new.id: new}, {})
        await running.settled()
        await running.tell(fires(key="late"))
        await running.tell(fires(receiver="other-1"))
        await other.wait_for(1)

        assert await running.stays_silent(hook)
        assert running.gauge("qdrantx_receiver_up") is None
        assert running.gauge("qdrantx_receiver_up", "other") == 1.0


async def test_a_receiver_that_left_and_refuses_us_is_nobodys_alarm_and_goes_when_it_is_owed_nothing(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """It is tried until its resolve is too old; a person who took it out has nothing to mend."""
    leaving = webhook(hook.url)
    hook.script(then=REFUSE)
    async with ScriptedReceiver() as other, delivering(clock, leaving) as running:
        new = webhook(other.url, name="other")
        await running.tell(fires())
        await hook.wait_for(1)
        await running.settled()

        running.deliverer.reconfigure({new.id: new}, {HOOK: leaving})
        await hook.wait_for(2)
        await running.settled()

        assert running.gauge("qdrantx_receiver_up") is None
        assert running.gauge("qdrantx_notifications_pending") == 1.0
        await running.tell(resolves(at=NOW + 10))
        assert running.outcomes() == {}
        running.deliverer.release([HOOK, new.id])
        await running.tell(fires(at=NOW + 20, episode=2))
        await running.advance(900.0)
        assert await running.stays_silent(hook)
        assert running.gauge("qdrantx_receiver_up", "other") == 1.0


async def test_what_not_everybody_behind_a_receiver_got_is_said_once_until_all_did(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mail that one of two recipients was refused has arrived, and yet a person must hear of it."""
    partly = Partly()
    async with delivering(clock, partly) as running:
        for number in range(5):
            await running.tell(fires(receiver="partly-1", key=str(number)))
            await running.until(lambda: running.outcomes("partly").get("delivered") == number + 1)  # noqa: B023

    assert capsys.readouterr().out.count("notification.delivered_in_part") == 2


class Partly:
    """A receiver with two recipients, one of whom is refused but for the fourth time."""

    id, name = "partly-1", "partly"
    drops_repeats, wants_reminders, resolve_lives_seconds = False, True, 3_600.0
    times = 0

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        self.times += 1
        return Delivery(Outcome.DELIVERED, "" if self.times == 4 else "dba@example.org was refused")

    async def close(self) -> None:
        pass


class Broken:
    """A receiver with a bug."""

    id, name = "broken-1", "broken"
    drops_repeats, wants_reminders, resolve_lives_seconds = True, True, 3_600.0
    tries = 0

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        self.tries += 1
        raise KeyError("https://example.com/secret")

    async def close(self) -> None:
        pass


async def test_a_bug_in_a_receiver_is_tried_again_later_and_ends_nobody(
    hook: ScriptedReceiver, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its text, which may hold a secret, is in no log."""
    broken = Broken()
    async with delivering(clock, broken, webhook(hook.url)) as running:
        await running.tell(fires(receiver="broken-1"))
        await running.until(lambda: running.outcomes("broken") == {"retry": 1.0})
        await running.settled()
        await running.tell(fires())
        await hook.wait_for(1)
        await running.advance(4.0)
        await running.until(lambda: broken.tries == 2)

    written = capsys.readouterr()
    assert "KeyError" in written.out
    assert "secret" not in written.out + written.err


async def test_a_shutdown_waits_for_what_is_due_and_leaves_the_rest(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """What waits for a retry stays; what was sent is stored as delivered."""
    hook.script(BUSY)
    async with delivering(clock, webhook(hook.url)) as running:
        await running.tell(fires(key="a"))
        await hook.wait_for(1)
        await running.settled()
        await running.tell(fires(key="b"))

        await running.deliverer.drain()

        assert told(hook) == [("trigger", 1)]
        assert [row.key for row in running.ledger.outbox.rows()] == ["a"]


async def test_a_shutdown_does_not_wait_for_a_receiver_that_hangs(
    hook: ScriptedReceiver, clock: ManualClock
) -> None:
    """What it is sending then counts as being sent, so that the next start knows it may have arrived."""
    hook.script(then=HANG)
    async with delivering(clock, webhook(hook.url, deadline_seconds=30.0)) as running:
        await running.tell(fires())
        await hook.wait_for(1)

        async with asyncio.timeout(5.0):
            await running.deliverer.drain(0.2)

    (row,) = running.ledger.outbox.rows()
    assert row.state is RowState.INFLIGHT
