"""The words of a vacuum: what it is allowed, what it would do and why not, and what came of it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from exporter.backup.thresholds.optimizing import SegmentSeen

LOWEST_MINIMUM = 100  # vacuum_min_vector_number: a lower one is refused with 422

MINUTE_SECONDS = 60
MINUTES_AN_HOUR = 60


@dataclass(frozen=True, slots=True)
class Window:
    """When on a day a vacuum may begin, in minutes since midnight; over midnight where it ends before it
    starts."""

    start_minute: int
    end_minute: int  # not included
    zone: ZoneInfo

    def holds(self, at: float) -> bool:
        """Whether a moment, in Unix seconds, is in it."""
        local = datetime.fromtimestamp(at, self.zone)
        minute = local.hour * MINUTES_AN_HOUR + local.minute
        if self.start_minute <= self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute

    def __str__(self) -> str:
        ends = (divmod(minute, MINUTES_AN_HOUR) for minute in (self.start_minute, self.end_minute))
        return " to ".join(f"{hour:02}:{minute:02}" for hour, minute in ends) + f" ({self.zone.key})"


@dataclass(frozen=True, slots=True)
class VacuumTerms:
    """What a person wants of a vacuum, and when it must not be."""

    min_deleted_ratio: float = 0.1  # of a segment's points; half of the server's own threshold
    min_reclaim_bytes: int = 64 << 20  # over all victims; a rewrite for less is not worth its cost
    queue_limit: int = 100  # operations that wait on a replica
    p95_limit_seconds: float | None = 0.1  # of searches just before; None: whatever they take
    window: Window | None = None  # None: at any time
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What a collection's `optimizers_config` says that decides about a vacuum."""

    deleted_threshold: float
    minimum: int
    may_optimize: bool  # False: max_optimization_threads is 0, so nothing would ever be rewritten


@dataclass(frozen=True, slots=True)
class Victim:
    """A segment that a vacuum rewrites, and why."""

    segment: SegmentSeen
    reason: str
    wanted: bool = True  # False: not by our terms, but the lowered thresholds take it too


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition that must hold before anything is sent."""

    name: str
    ok: bool
    detail: str  # what was seen; where it is closed also what to do


@dataclass(frozen=True, slots=True)
class VacuumPlan:
    """What a vacuum of a collection would do, and what stands in its way."""

    collection: str
    victims: tuple[Victim, ...]  # most reclaimable bytes first; () where there is nothing to do
    besides: tuple[Victim, ...]  # what is rewritten with them
    gates: tuple[Gate, ...]  # without victims only those by which all is seen
    change: Mapping[str, float]  # thresholds to put; {}: they suffice as they are, so it is only triggered
    needed_bytes: Mapping[str, int]  # by peer: free disk that the server wants while it rewrites
    free_bytes: Mapping[str, int | None]  # by peer; None: unknown
    note: str  # why there is nothing to do, or ""
    p95_seconds: float | None = None  # of searches just before; None: not measured, or too few answers

    @property
    def refusals(self) -> tuple[Gate, ...]:
        """The gates that are closed."""
        return tuple(gate for gate in self.gates if not gate.ok)

    @property
    def reclaimable_bytes(self) -> float:
        """What rewriting the victims frees, as METRICS tells it, over all replicas."""
        return sum(victim.segment.reclaimable_bytes for victim in self.victims)


@dataclass(frozen=True, slots=True)
class Weight:
    """What a collection weighs, over all replicas."""

    segments: int
    points: int
    deleted: int
    reclaimable_bytes: float
    data_bytes: int  # vectors and payload of what is not deleted
    disk_bytes: int | None = None  # as the server counts it, with what it allots ahead; None: before 1.18


class VacuumOutcome(StrEnum):
    """How a vacuum ended."""

    NOTHING = "nothing"  # no victims
    PLANNED = "planned"  # a dry run: there are victims and every gate is open
    DONE = "done"  # the victims were rewritten and nothing runs any more
    PARTLY = "partly"  # something was rewritten, and a victim is still there
    UNTOUCHED = "untouched"  # no optimizer took anything up
    FAILED = "failed"  # an optimizer of the collection stopped with an error
    GONE = "gone"  # somebody deleted the collection meanwhile
    LOST = "lost"  # a peer was gone for too long to say what became of it

    @property
    def is_good(self) -> bool:
        """It ended as it should."""
        return self in (VacuumOutcome.DONE, VacuumOutcome.NOTHING, VacuumOutcome.PLANNED)


def segments_text(number: int) -> str:
    """Return a number of segments, for people."""
    return "1 segment" if number == 1 else f"{number:,} segments"


# How `VacuumReport.thresholds` begins where they are not back yet.
OPEN = "open: "


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What came of a vacuum, with what it was before."""

    collection: str
    outcome: VacuumOutcome
    detail: str  # for people
    plan: VacuumPlan
    before: Weight
    after: Weight
    took_seconds: float
    p95_before_seconds: float | None
    p95_meanwhile_seconds: float | None  # None: fewer than ten answers
    failed_searches: int
    runs: int  # optimizations that began and ended meanwhile
    cancelled_runs: int  # of those: ended by a change of settings, ours or another's
    thresholds: str  # "unchanged", "put back", "gone with ...", or "open: " and why they are not back

    @property
    def is_open(self) -> bool:
        """Thresholds are still changed: their intent is open, and its reconciler goes on."""
        return self.thresholds.startswith(OPEN)
