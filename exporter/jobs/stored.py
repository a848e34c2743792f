"""Runs between their words and the bytes of the database."""

from __future__ import annotations

import msgspec

from exporter.jobs.words import Cause, JobRun, Outcome, Part, Reason
from exporter.state import StoredRun

_PARTS = msgspec.json.Decoder(tuple[Part, ...])


def stored_run(run: JobRun) -> StoredRun:
    """Return a run as it is stored."""
    return StoredRun(
        id=run.id,
        job=run.job,
        cluster=run.cluster,
        kind=run.kind,
        cause=run.cause.value,
        planned_at=run.planned_at,
        started_at=run.started_at,
        heartbeat_at=run.heartbeat_at,
        ended_at=run.ended_at,
        outcome=None if run.outcome is None else run.outcome.value,
        reason=run.reason.value,
        detail=run.detail,
        figures=msgspec.json.encode(run.parts),
    )


def job_run(stored: StoredRun) -> JobRun:
    """Return a stored run. Words that a newer version wrote are read as what comes closest."""
    outcome = None if stored.outcome is None else _outcome(stored.outcome)
    return JobRun(
        id=stored.id,
        job=stored.job,
        cluster=stored.cluster,
        kind=stored.kind,
        cause=Cause(stored.cause) if stored.cause in set(Cause) else Cause.SCHEDULE,
        planned_at=stored.planned_at,
        started_at=stored.started_at,
        heartbeat_at=stored.heartbeat_at,
        ended_at=stored.ended_at,
        outcome=outcome,
        reason=Reason(stored.reason) if stored.reason in set(Reason) else Reason.FAILED,
        detail=stored.detail,
        parts=_parts(stored.figures),
    )


def _outcome(word: str) -> Outcome:
    return Outcome(word) if word in set(Outcome) else Outcome.FAILED


def _parts(figures: bytes) -> tuple[Part, ...]:
    try:
        return _PARTS.decode(figures)
    except msgspec.DecodeError:
        return ()  # the run is told without them
