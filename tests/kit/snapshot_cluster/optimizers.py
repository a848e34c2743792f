"""Segments of a replica, and the vacuum that rewrites them as a real server's optimizers would.

Nothing runs by itself: `advance` is called before each request and ends what is due.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

CANCELLED = "process cancelled by service"
LOG_LENGTH = 16  # what a server keeps of ended optimizations
# About what 4 numbers a vector and a small payload take.
VECTOR_BYTES, PAYLOAD_BYTES = 16, 20


def _new_uuid() -> str:
    return str(uuid.uuid4())


@dataclass(slots=True)
class Segment:
    """One segment. `live` None: it holds what the replica's other segments do not.

    `deleted`: deleted points. `vectors`: (num_vectors, num_indexed_vectors) by name where they are not what
    follows from live and deleted. Sizes are of a point, in bytes.
    """

    live: int | None = None
    deleted: int = 0
    kind: str = "plain"  # "indexed", or "special", as a proxy while a snapshot or an optimizer works
    uuid: str = field(default_factory=_new_uuid)
    vectors: dict[str, tuple[int, int]] = field(default_factory=dict)
    vector_bytes: int = VECTOR_BYTES
    payload_bytes: int = PAYLOAD_BYTES


@dataclass(slots=True)
class Run:
    """An optimization in the log. Its uuid becomes that of the segment it makes."""

    segment: str  # uuid of what it rewrites
    started: datetime
    ends: float | None  # Unix time; None: only `looks` end it
    looks: int | None  # telemetry answers that still show it
    uuid: str = field(default_factory=_new_uuid)
    name: str = "vacuum"
    status: Any = "optimizing"
    ended: datetime | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return bool(self.status == "optimizing")


@dataclass(slots=True)
class Pace:
    """How optimizations go: `seconds` each, or with `looks` until so many telemetry answers showed it.

    `held`: none ends by itself. `error`: each ends with it. `starts` False: what is wanted stays queued.
    """

    seconds: float = 0.02
    looks: int | None = None
    held: bool = False
    error: str | None = None
    starts: bool = True


@dataclass(slots=True)
class Optimizers:
    """The optimizers of one replica. Not `triggered`: since the last start nobody wrote or patched.

    `says_green`: what is wanted and not triggered is green and not grey, as servers say that know no grey.
    """

    segments: list[Segment] = field(default_factory=lambda: [Segment(), Segment(live=0)])
    log: list[Run] = field(default_factory=list)  # newest first
    triggered: bool = True
    error: str | None = None
    says_green: bool = False

    @property
    def running(self) -> list[Run]:
        """What runs; one at a time."""
        return [run for run in self.log if run.running]

    def live(self, segment: Segment, points: int) -> int:
        """Return the live points of a segment of a replica with so many."""
        if segment.live is not None:
            return segment.live
        return max(0, points - sum(other.live or 0 for other in self.segments))

    def vectors(self, segment: Segment, points: int, names: list[str]) -> dict[str, tuple[int, int]]:
        """Return (num_vectors, num_indexed_vectors) by name.

        The vectors of deleted points count in both: seen on 1.18.3.
        """
        total = self.live(segment, points) + segment.deleted
        indexed = total if segment.kind == "indexed" else 0
        return {name: segment.vectors.get(name, (total, indexed)) for name in names}

    def wanted(self, points: int, thresholds: Mapping[str, Any], names: list[str]) -> list[Segment]:
        """Return what a vacuum would rewrite at these thresholds and does not yet: strictly above them."""
        busy = {run.segment for run in self.running}
        return [
            one
            for one in self.segments
            if one.kind != "special"
            and one.uuid not in busy
            and self._exceeds(one, points, thresholds, names)
        ]

    def _exceeds(
        self, segment: Segment, points: int, thresholds: Mapping[str, Any], names: list[str]
    ) -> bool:
        counts = [(segment.deleted, self.live(segment, points) + segment.deleted)]
        for vectors, indexed in self.vectors(segment, points, names).values():
            counts.append((indexed - vectors, indexed))
        least, ratio = thresholds["vacuum_min_vector_number"], thresholds["deleted_threshold"]
        return any(total >= max(1, least) and gone / total > ratio for gone, total in counts)

    def patched(self, now: float) -> None:
        """Settings of the optimizers were written: what runs is cancelled, and all is planned anew."""
        self._end({"cancelled": CANCELLED}, now)
        self.triggered, self.error = True, None

    def restarted(self) -> None:
        """The server was restarted: no run and no log, and grey where something is wanted."""
        self.log.clear()
        self.triggered, self.error = False, None

    def advance(
        self, points: int, thresholds: Mapping[str, Any], names: list[str], *, pace: Pace, now: float
    ) -> None:
        """End the run that is due, and begin the next one that is wanted."""
        for run in self.running:
            if not pace.held and (
                (run.looks is not None and run.looks <= 0) or (run.ends is not None and run.ends <= now)
            ):
                self.finish(now, error=pace.error)
        allowed = pace.starts and thresholds.get("max_optimization_threads") != 0
        if self.triggered and allowed and self.error is None and not self.running:
            for segment in self.wanted(points, thresholds, names)[:1]:
                ends = None if pace.looks is not None else now + pace.seconds
                self.log.insert(0, Run(segment.uuid, datetime.fromtimestamp(now, UTC), ends, pace.looks))
                del self.log[LOG_LENGTH:]

    def finish(self, now: float, *, error: str | None = None) -> None:
        """End what runs: the segment is one of a new uuid, without deleted points."""
        for run in self.running:
            for segment in self.segments:
                if segment.uuid == run.segment and error is None:
                    segment.uuid, segment.deleted = run.uuid, 0
                    segment.vectors = {name: (held, held) for name, (held, _) in segment.vectors.items()}
        self._end("done" if error is None else {"error": error}, now)
        self.error = error or self.error

    def looked(self) -> None:
        """A telemetry answer showed what runs."""
        for run in self.running:
            if run.looks is not None:
                run.looks -= 1

    def _end(self, status: Any, now: float) -> None:
        for run in self.running:
            run.status, run.ended = status, datetime.fromtimestamp(now, UTC)
