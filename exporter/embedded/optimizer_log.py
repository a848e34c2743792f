"""What the optimizer did: one entry a run, with the times that were measured."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from exporter.embedded.answers import to_milliseconds, to_nanoseconds
from exporter.embedded.shard_view import SegmentView
from exporter.embedded.traffic import Tally

KEPT_ENTRIES = 16  # as many as Qdrant keeps


@dataclass(slots=True)
class Run:
    """One run of the engine's optimize()."""

    optimizer: str
    segments: tuple[SegmentView, ...]
    started_seconds: float  # Unix time
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    finished_seconds: float | None = None
    status: Any = "optimizing"  # then "done", {"cancelled": text} or {"error": text}


class OptimizerLog:
    """The newest runs and what all finished ones took. `opened_seconds`: Unix time of the shard's start."""

    def __init__(self, *, opened_seconds: float) -> None:
        self._runs: list[Run] = []  # newest first
        self._done = Tally()
        self._failures = 0
        self._responded_seconds = opened_seconds

    @property
    def running(self) -> Run | None:
        """The run under way."""
        return next((run for run in self._runs if run.finished_seconds is None), None)

    @property
    def finished(self) -> Iterator[Run]:
        """The runs that ended, newest first."""
        return (run for run in self._runs if run.finished_seconds is not None)

    def start(self, run: Run) -> None:
        """Note that a run began."""
        self._runs.insert(0, run)
        del self._runs[KEPT_ENTRIES:]

    def finish(self, run: Run, at_seconds: float, error: str | None = None) -> None:
        """Note that a run ended, well or with an error."""
        run.finished_seconds = at_seconds
        run.status = "done" if error is None else {"error": error}
        self._responded_seconds = at_seconds
        if error is None:
            self._done.add(at_seconds - run.started_seconds, at_seconds)
        else:
            self._failures += 1

    def cancel(self, run: Run, at_seconds: float) -> None:
        """Note that a run was given up, in the server's words."""
        run.finished_seconds, run.status = at_seconds, {"cancelled": "process cancelled by service"}
        self._responded_seconds = at_seconds

    def drop(self, run: Run) -> None:
        """Forget a run in which the engine found nothing to do."""
        self._runs.remove(run)

    def statistics(self) -> dict[str, Any]:
        """Return count and durations of the runs that went well, in microseconds."""
        answer: dict[str, Any] = {"count": 0, "total_duration_micros": 0}
        if self._done.count:
            answer = self._done.answer(full=True)
        if self._failures:
            answer["fail_count"] = self._failures
        return answer | {"last_responded": to_milliseconds(self._responded_seconds)}

    def entries(self, segment_numbers: dict[str, int]) -> list[dict[str, Any]]:
        """Return the log as telemetry shows it, newest first."""
        return [
            {
                "name": run.optimizer,
                "uuid": run.uuid,
                "segment_ids": [segment_numbers[segment.uuid] for segment in run.segments],
                "segment_uuids": [segment.uuid for segment in run.segments],
                "status": run.status,
                "start_at": to_nanoseconds(run.started_seconds),
                "end_at": None if run.finished_seconds is None else to_nanoseconds(run.finished_seconds),
            }
            for run in self._runs
        ]
