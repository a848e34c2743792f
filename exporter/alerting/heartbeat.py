"""The dead man's switch: a URL is called while all is well with us; who listens pages when it stops."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Literal, NamedTuple

import httpx

from exporter.alerting.assertions import Assertions
from exporter.alerting.ledger import Ledger
from exporter.alerting.outbox import Row
from exporter.alerting.records import HEARTBEAT_OUTCOMES
from exporter.alerting.words import Alert, AlertState, Group, NotificationKind
from exporter.logs import get_logger

log = get_logger()

DEADLINE_SECONDS = 10.0
POLL_INTERVALS = 3  # as many as make a value too old
EVALUATION_INTERVALS = 2
FIRST_SECONDS = 30.0  # an evaluation at the start that takes longer is an ailment
# A page that nobody got within this time is a page that failed.
UNTOLD_SECONDS = 300.0
CRITICAL = "critical"


class Turn(NamedTuple):
    """The newest turn of one loop. A poll that failed is a turn."""

    what: str  # "polls of 10.0.0.1:6333"
    age_seconds: float
    interval_seconds: float


class Heartbeat:
    """Calls the URL each interval while nothing ails us."""

    def __init__(
        self,
        *,
        url: str,
        method: Literal["GET", "POST"],
        interval_seconds: float,
        ailments: Callable[[], Iterable[str]],
        evaluated: asyncio.Event,
    ) -> None:
        """`ailments` returns what is wrong with us now, nothing while all is well.

        `evaluated` is set once the rules were evaluated: before that there is nothing to say of us.
        """
        self._url = url
        self._method = method
        self._interval_seconds = interval_seconds
        self._ailments = ailments
        self._evaluated = evaluated
        self._said = ""
        self.outcomes: dict[str, int] = dict.fromkeys(HEARTBEAT_OUTCOMES, 0)

    async def run(self) -> None:
        """Beat until cancelled."""
        # httpx logs each request with its URL, which is a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        # Off the loop: reading the system's authorities takes some ten milliseconds.
        context = await asyncio.to_thread(ssl.create_default_context)
        async with httpx.AsyncClient(verify=context, timeout=DEADLINE_SECONDS) as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self._evaluated.wait()
            while True:
                await self.beat(client)
                await asyncio.sleep(self._interval_seconds)

    async def beat(self, client: httpx.AsyncClient) -> None:
        """Call once, or withhold the call and say why."""
        ailments = sorted(self._ailments())
        if ailments:
            self._count("withheld", "; ".join(ailments))
            return
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                response = await client.request(self._method, self._url)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # Its text may hold the URL.
            self._count("failed", type(error).__name__)
            return
        if response.is_success:
            self._count("sent", "")
        else:
            self._count("failed", f"status {response.status_code}")

    def _count(self, outcome: str, reason: str) -> None:
        self.outcomes[outcome] += 1
        if reason and reason != self._said:  # one outage is one line
            log.warning(f"heartbeat.{outcome}", reason=reason)
        elif self._said and not reason:
            log.info("heartbeat.resumed")
        self._said = reason


def ailments(
    *,
    ledger: Ledger,
    polls: Iterable[Turn],
    evaluation: Turn | None,
    assertions: Collection[Assertions],
    now: float,
) -> Iterator[str]:
    """Yield everything that is wrong with us, in words.

    `assertions`: of each receiver that is told the whole state, what it took.
    """
    yield from stalled(polls, evaluation)
    waiting = [*ledger.outbox.rows(), *ledger.outbox.lost()]
    yield from untold(waiting, ledger.groups, assertions, now=now)
    if ledger.unsaved:
        yield "the state directory cannot be written"


def stalled(polls: Iterable[Turn], evaluation: Turn | None) -> Iterator[str]:
    """Yield which loops did not turn in time. None: nothing was evaluated yet."""
    for turn in polls:
        if turn.age_seconds > POLL_INTERVALS * turn.interval_seconds:
            yield f"{turn.what}: none for {turn.age_seconds:.0f} s"
    if evaluation is None:
        yield "no evaluation yet"
    elif evaluation.age_seconds > EVALUATION_INTERVALS * evaluation.interval_seconds:
        yield f"{evaluation.what}: none for {evaluation.age_seconds:.0f} s"


def untold(
    rows: Iterable[Row],
    groups: Mapping[tuple[str, str], Group],
    assertions: Collection[Assertions],
    *,
    now: float,
) -> Iterator[str]:
    """Yield the critical groups, and alerts, of which nobody was told for five minutes.

    `rows` are the notifications that wait or were given up. A receiver that is stuck is no reason to
    stop while every alert it should tell of was told by another one.
    """
    stuck = [
        row
        for row in rows
        if row.notification.severity == CRITICAL
        and row.kind in (NotificationKind.TRIGGER, NotificationKind.UPDATE)
        and now - row.notification.created_at > UNTOLD_SECONDS
    ]
    told = _told(stuck, groups, assertions)
    for row in stuck:
        if not {alert.fingerprint for alert in row.notification.firing} <= told:
            yield f"nobody was told of {_named(row)}"
    for alert in _unasserted(assertions, now):
        if alert.fingerprint not in told:
            yield f"nobody was told of {', '.join(value for _, value in alert.labels)}"


def _told(
    stuck: Iterable[Row], groups: Mapping[tuple[str, str], Group], assertions: Iterable[Assertions]
) -> set[str]:
    """Return the alerts that some receiver took."""
    told = {fingerprint for each in assertions for fingerprint in each.taken}
    silent = {(row.receiver, row.key) for row in stuck}
    for group_id, group in groups.items():
        if group.episode and group_id not in silent:  # without one: told by assertion
            told.update(group.heard)
    return told


def _unasserted(assertions: Iterable[Assertions], now: float) -> Iterator[Alert]:
    """Yield the critical alerts that fire and that an asserter has not taken for five minutes."""
    for each in assertions:
        for alert, since in each.untold.values():
            is_page = alert.state is AlertState.FIRING and alert.severity == CRITICAL
            if is_page and now - since > UNTOLD_SECONDS:
                yield alert


def _named(row: Row) -> str:
    return ", ".join(value for _, value in row.notification.group_labels) or row.key
