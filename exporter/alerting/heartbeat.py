"""The dead man's switch: a URL is called while all is well with us, and whoever listens pages when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import httpx

from exporter.alerting.outbox import Row
from exporter.alerting.records import HEARTBEAT_OUTCOMES
from exporter.alerting.words import Group, NotificationKind
from exporter.clock import Clock
from exporter.logs import get_logger

log = get_logger()

DEADLINE_SECONDS = 10.0
POLL_INTERVALS = 3  # as many as make a value too old
EVALUATION_INTERVALS = 2
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
    ) -> None:
        """`ailments` returns what is wrong with us now, nothing while all is well."""
        self._url = url
        self._method = method
        self._interval_seconds = interval_seconds
        self._ailments = ailments
        self._said = ""
        self.outcomes: dict[str, int] = dict.fromkeys(HEARTBEAT_OUTCOMES, 0)

    async def run(self) -> None:
        """Beat until cancelled."""
        # Its URL is a secret: httpx would log it at level INFO with every request.
        async with httpx.AsyncClient(timeout=DEADLINE_SECONDS, follow_redirects=False) as client:
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


def stalled(turns: Iterable[Turn]) -> Iterator[str]:
    """Yield which loops did not turn in time; each may take so many of its intervals."""
    for turn in turns:
        if turn.age_seconds > turn.interval_seconds:
            yield f"{turn.what}: none for {turn.age_seconds:.0f} s"


def untold(
    rows: Iterable[Row],
    groups: Mapping[tuple[str, str], Group],
    *,
    told_by_assertion: bool,
    now: float,
) -> Iterator[str]:
    """Yield the critical groups of which nobody was told for five minutes.

    `rows` are the notifications that wait or were given up. A receiver that is stuck is no reason to
    stop while every alert it should tell of was told by another one.
    """
    if told_by_assertion:  # an Alertmanager took the whole state just now
        return
    stuck = [
        row
        for row in rows
        if row.notification.severity == CRITICAL
        and row.kind in (NotificationKind.TRIGGER, NotificationKind.UPDATE)
        and now - row.notification.created_at > UNTOLD_SECONDS
    ]
    silent = {(row.receiver, row.key) for row in stuck}
    told: set[str] = set()
    for group_id, group in groups.items():
        if group_id not in silent:
            told.update(group.heard)
    for row in stuck:
        if not {alert.fingerprint for alert in row.notification.firing} <= told:
            yield f"nobody was told of {_named(row)}"


def _named(row: Row) -> str:
    return ", ".join(value for _, value in row.notification.group_labels) or row.key
