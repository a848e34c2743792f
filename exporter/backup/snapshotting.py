"""A snapshot on one peer: asked for once, and found again where no answer came."""

from __future__ import annotations

import asyncio
import calendar
import re
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from exporter.backup.calling import Limits, is_gone, may_have_been_done, patiently, told_to_wait
from exporter.backup.survey import PeerAt
from exporter.clock import Clock
from exporter.errors import JobError, SourceError, SourceRefused, SourceUnsupported
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.kept import SnapshotDescription
from exporter.qdrant.payloads import RunningSnapshots

log = get_logger()

# What the server calls a snapshot: the collection, the peer's id, and when it began in UTC.
_SERVER_NAME = re.compile(r"-[0-9]+-([0-9]{4}(?:-[0-9]{2}){5})\.snapshot")
FAILED = 500
_STAMP = "%Y-%m-%d-%H-%M-%S"


# A run that was killed, or got no answer, cannot say which it asked for: of what appeared since, only what
# began by its name from two minutes before to ten minutes after we asked may be ours. Clocks differ, servers
# queue.
WINDOW_BEFORE_SECONDS = 120.0
WINDOW_AFTER_SECONDS = 600.0


class NotTakenError(Exception):
    """By all that can be seen the server took none, and takes none. `failure`: what it answered."""

    def __init__(self, failure: SourceError) -> None:
        super().__init__(str(failure))
        self.failure = failure


class SnapshotLost(JobError):
    """Nobody can say which snapshot is ours: more than one appeared."""


class NameShared(JobError):
    """Somebody else's snapshot of the same second has, or had, the same name."""


async def listed(peer: PeerAt, collection: str, limits: Limits) -> list[SnapshotDescription]:
    """Return the snapshots of a collection that lie on a peer; none where it has no such collection.

    Raises SourceError.
    """
    try:
        return keeping.read_snapshots(
            await patiently(peer.courier, keeping.list_snapshots(collection), limits)
        )
    except SourceError as error:
        if is_gone(error):
            return []
        raise


async def running(peer: PeerAt, collection: str, limits: Limits) -> int | None:
    """Return how many snapshots of a collection a peer takes now; None where it does not tell.

    Raises SourceError.
    """
    seen = keeping.read_telemetry(await patiently(peer.courier, keeping.telemetry(3), limits), collection)
    return 0 if seen is None else seen.snapshots_running


async def begun(peer: PeerAt, collection: str, limits: Limits) -> RunningSnapshots | None:
    """Return what a peer counts of a collection's snapshots; None where it does not. Raises SourceError."""
    return keeping.read_running(await patiently(peer.courier, keeping.telemetry(2), limits), collection)


async def others_begun(
    peer: PeerAt,
    collection: str,
    making: asyncio.Future[SnapshotDescription],
    before: RunningSnapshots | None,
    limits: Limits,
) -> int:
    """Return how many snapshots but ours a peer began since `before`, within the seconds in which ours began.

    0 where it does not tell. Two of one second get one name; both who asked hear that all is well, and the
    later file takes the place of the earlier (seen on 1.18.3).
    """
    await asyncio.wait([making], timeout=limits.look_seconds)
    if before is None:
        return 0
    try:
        now = await begun(peer, collection, limits)
    except SourceError:
        return 0
    return 0 if now is None else now.total_snapshot_creations - before.total_snapshot_creations - 1


async def check_name(
    peer: PeerAt, collection: str, name: str, before: Collection[str], others: int, limits: Limits
) -> None:
    """See that a snapshot's name is ours alone: `others` that were begun with it must lie there by their own.

    `before`: the names that lay there. Raises NameShared, SourceError.
    """
    if others <= 0:
        return
    there = await listed(peer, collection, limits)
    new = [one for one in there if one.name not in before and began_at(one.name, collection) is not None]
    if others > sum(one.name != name for one in new):
        raise NameShared("more snapshots were begun than can be seen: two of one second have one name")


async def make(
    peer: PeerAt,
    collection: str,
    before: Collection[str],
    *,
    limits: Limits,
    clock: Clock,
    blind: bool = False,
) -> SnapshotDescription:
    """Take a snapshot on a peer. `before`: the names that lay there; `blind`: it does not tell what runs.

    It is asked for once: where no answer came, or one that says nothing, the server may still be at it,
    so we look until it is there or nothing runs any more. Only after a 429 is it asked for again.
    Raises NotTakenError; SourceError where one may still come; SnapshotLost, NameShared.
    """
    asked_at = clock.now()
    asked = keeping.create_snapshot(collection)
    deadline_seconds = limits.create_seconds if blind else min(limits.answer_seconds, limits.create_seconds)
    for number in range(1, limits.tries + 1):
        try:
            body = await peer.courier.call(asked, deadline_seconds=deadline_seconds)
            snapshot = keeping.read_snapshot(body)
        except SourceError as error:
            wait_seconds = told_to_wait(error, limits)
            if wait_seconds is not None and number < limits.tries:
                await asyncio.sleep(wait_seconds)
                continue
            if not may_have_been_done(error):
                raise NotTakenError(error) from error
            return await _Search(peer, collection, before, asked_at, limits, clock).found(error)
        if snapshot.name in before:
            raise NameShared("a snapshot of the same name lay there: somebody takes them too")
        return snapshot
    raise AssertionError


@dataclass(frozen=True, slots=True)
class _Search:
    """For a snapshot that may be made or may be under way."""

    peer: PeerAt
    collection: str
    before: Collection[str]
    asked_at: float  # Unix seconds
    limits: Limits
    clock: Clock

    async def found(self, failure: SourceError) -> SnapshotDescription:
        """Look until it is there. Raises NotTakenError, SnapshotLost, SourceError where it may still come."""
        log.info("snapshot.looked_for", peer=printable(self.peer.label), reason=str(failure))
        limits, clock = self.limits, self.clock
        began = answered = quiet_since = clock.monotonic()
        quiet = 0
        while clock.monotonic() - began < limits.create_seconds:
            await asyncio.sleep(limits.look_seconds)
            try:
                new, runs = await self._look()
            except SourceError:
                if clock.monotonic() - answered > limits.lost_seconds:
                    raise
                continue
            answered = clock.monotonic()
            if runs:
                quiet, quiet_since = 0, answered
                continue
            if new:
                return the_one(new)
            quiet += 1
            patient = runs is None and not _is_its_own_word(failure)
            if quiet >= limits.quiet_looks and not (
                patient and answered - quiet_since <= limits.blind_seconds
            ):
                raise NotTakenError(failure) from failure
        raise failure

    async def _look(self) -> tuple[list[SnapshotDescription], int | None]:
        """Return what is new, and how many run: asked first, so one that ends in between is listed."""
        runs = await running(self.peer, self.collection, self.limits)
        there = await listed(self.peer, self.collection, self.limits)
        return new_ones(there, self.collection, self.before, self.asked_at), runs


def _is_its_own_word(failure: SourceError) -> bool:
    """A 500 is the server's own: it failed. All else a proxy may have said, or nobody."""
    return isinstance(failure, SourceRefused) and failure.status == FAILED


def the_one(new: Sequence[SnapshotDescription]) -> SnapshotDescription:
    """Return the only one of them. Raises SnapshotLost where there are more."""
    if len(new) > 1:
        names = ", ".join(sorted(printable(one.name) for one in new))
        raise SnapshotLost(
            f"{len(new)} snapshots appeared meanwhile, and nobody can say which is ours: {names}"
        )
    return new[0]


def new_ones(
    now: Iterable[SnapshotDescription], collection: str, before: Collection[str], asked_at: float
) -> list[SnapshotDescription]:
    """Return what appeared since and may be what was asked for at that time: an uploaded file is none."""
    return [
        one
        for one in now
        if one.name not in before
        and (began := began_at(one.name, collection)) is not None
        and -WINDOW_BEFORE_SECONDS <= began - asked_at <= WINDOW_AFTER_SECONDS
    ]


def began_at(name: str, collection: str) -> float | None:
    """Read from a snapshot's name when it began, in Unix seconds by the server's clock.

    None where the server did not make the name up.
    """
    found = _SERVER_NAME.fullmatch(name.removeprefix(collection)) if name.startswith(collection) else None
    if found is None:
        return None
    try:
        return float(calendar.timegm(time.strptime(found[1], _STAMP)))
    except ValueError:
        return None


async def delete(peer: PeerAt, collection: str, name: str, limits: Limits) -> None:
    """Delete a snapshot on a peer; one that is not there any more is no error. Raises SourceError."""
    asked = keeping.delete_snapshot(collection, name)
    try:
        await patiently(peer.courier, asked, limits)
    except SourceError as error:
        if not is_gone(error) and not isinstance(error, SourceUnsupported):
            raise
    log.info("snapshot.deleted", peer=printable(peer.label), snapshot=printable(name))
