"""What every receiver keeps to, whatever it speaks: the same troubles, the same outcomes, no exception."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from exporter.alerting.receivers.contract import Asserter, Receiver
from exporter.alerting.words import Delivery, Outcome
from tests.unit.alerting.receivers.cases import HTTP_KINDS, attempt, receiver
from tests.unit.alerting.receivers.services import Mailbox, Manner, Service, closed_port

Attempt = Callable[..., Awaitable[Delivery]]

# The trouble, and what each protocol makes of it. Apprise says no more than yes or no.
TROUBLES = ("fine", "limited", "failing", "hanging", "resetting", "refusing_connections", "refusing_us")
EXPECTED = {
    "fine": Outcome.DELIVERED,
    "limited": Outcome.RETRY,
    "failing": Outcome.RETRY,
    "hanging": Outcome.UNKNOWN,
    "resetting": Outcome.UNKNOWN,
    "refusing_connections": Outcome.RETRY,
    "refusing_us": Outcome.REFUSED,
}
SHORT_SECONDS = 0.3

MANNERS = {
    "fine": Manner(),
    "limited": Manner(status=429, headers={"Retry-After": "17"}),
    "failing": Manner(status=500),
    "hanging": Manner(hangs=True),
    "resetting": Manner(resets=True),
    "refusing_us": Manner(status=403),
}
MAILBOXES = {
    "fine": {},
    "limited": {"codes": {"mail": 451}},
    "failing": {"codes": {"end": 451}},
    "hanging": {"hangs_at": "end"},
    "resetting": {"resets_at": "end"},
    "refusing_us": {"codes": {"auth": 535}},
}


async def http_attempt(kind: str, trouble: str) -> Delivery:
    """Tell an HTTP receiver one alert in some trouble."""
    seconds = SHORT_SECONDS if trouble == "hanging" else 5.0
    if trouble == "refusing_connections":
        return await told(receiver(kind, f"http://127.0.0.1:{closed_port()}", deadline_seconds=seconds))
    async with Service(MANNERS[trouble]) as service:
        return await told(receiver(kind, service.url, deadline_seconds=seconds))


async def mail_attempt(trouble: str) -> Delivery:
    """Send one alert by mail in some trouble."""
    seconds = SHORT_SECONDS if trouble == "hanging" else 5.0
    if trouble == "refusing_connections":
        return await told(receiver("email", "", port=closed_port()))
    async with Mailbox(**MAILBOXES[trouble]) as box:
        return await told(receiver("email", "", port=box.port, deadline_seconds=seconds))


async def told(one: Receiver | Asserter) -> Delivery:
    """Tell and close."""
    try:
        return await attempt(one)
    finally:
        await one.close()


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("kind", HTTP_KINDS)
async def test_an_http_receiver_tells_troubles_apart(kind: str, trouble: str) -> None:
    """Taken, tried again, maybe arrived, broken: the same for all, and a reason for all but the first."""
    delivery = await http_attempt(kind, trouble)

    assert EXPECTED[trouble] is delivery.outcome
    assert bool(delivery.reason) is (trouble != "fine")
    assert delivery.retry_after_seconds == (17.0 if trouble == "limited" else None)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_mail_tells_troubles_apart(trouble: str) -> None:
    """The same outcomes by SMTP's own codes."""
    delivery = await mail_attempt(trouble)

    assert EXPECTED[trouble] is delivery.outcome
    assert bool(delivery.reason) is (trouble != "fine")


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_apprise_tells_delivered_from_not(trouble: str) -> None:
    """It hears yes or no from its library, and after the deadline nothing."""
    delivery = await http_attempt("apprise", trouble)

    expected = {"fine": Outcome.DELIVERED, "hanging": Outcome.UNKNOWN}.get(trouble, Outcome.RETRY)
    assert expected is delivery.outcome


@pytest.mark.parametrize("status", [401, 403, 404, 410])
@pytest.mark.parametrize("kind", HTTP_KINDS)
async def test_credentials_that_are_not_taken_break_the_receiver(kind: str, status: int) -> None:
    """A person must mend something, so the message is kept and not given up."""
    async with Service(Manner(status=status)) as service:
        delivery = await told(receiver(kind, service.url))

    assert (Outcome.REFUSED, status) == (delivery.outcome, delivery.status)


@pytest.mark.parametrize("kind", [*HTTP_KINDS, "email"])
async def test_a_hanging_service_holds_us_for_the_deadline_and_no_longer(kind: str) -> None:
    """The deadline is for the whole attempt, not for each step of it."""
    start = time.monotonic()
    delivery = await (mail_attempt("hanging") if kind == "email" else http_attempt(kind, "hanging"))

    assert Outcome.UNKNOWN is delivery.outcome
    assert SHORT_SECONDS <= time.monotonic() - start < SHORT_SECONDS + 2.0


@pytest.mark.parametrize("kind", [*HTTP_KINDS, "email", "apprise"])
async def test_an_attempt_can_be_cancelled(kind: str) -> None:
    """At shutdown nobody waits for a deadline."""
    manner, box = Manner(hangs=True), Mailbox(hangs_at="end")
    async with Service(manner) as service, box:
        one = receiver(kind, service.url, port=box.port)
        task = asyncio.create_task(attempt(one))
        while not (service.posted or box.logins or task.done()):
            await asyncio.sleep(0.01)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await one.close()


@pytest.mark.parametrize("kind", [*HTTP_KINDS, "email", "apprise"])
async def test_a_receiver_connects_to_nothing_before_it_sends(kind: str) -> None:
    """Making one is cheap and cannot fail for what the network does; closing twice is fine."""
    async with Service() as service, Mailbox() as box:
        one = receiver(kind, service.url, port=box.port)
        await one.close()
        await one.close()

        assert service.posted == []
        assert box.logins == []


@pytest.mark.parametrize("kind", HTTP_KINDS)
async def test_a_receiver_says_who_it_is_and_sends_json(kind: str) -> None:
    """Every request has our User-Agent and is a JSON document."""
    async with Service() as service:
        await told(receiver(kind, service.url))

    assert service.posted[0].headers["user-agent"].startswith("qdrant-exporter/")
    assert service.posted[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("kind", "drops_repeats", "wants_reminders"),
    [
        ("slack", False, True),
        ("pagerduty", True, False),
        ("webhook", False, True),
        ("email", False, True),
        ("apprise", False, True),
    ],
)
def test_a_receiver_says_what_its_service_can_do(
    kind: str, drops_repeats: bool, wants_reminders: bool
) -> None:
    """The policy of delivery rests on these; Alertmanager is told the state and has none of them."""
    one = receiver(kind, "http://127.0.0.1:1", port=1)

    assert not hasattr(one, "tell")
    assert one.drops_repeats is drops_repeats
    assert one.wants_reminders is wants_reminders
    assert one.resolve_lives_seconds >= 3_600
