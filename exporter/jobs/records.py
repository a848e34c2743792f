"""What scheduled jobs tell of themselves, from the ledger of their runs. Pure.

Readings of a cluster's jobs stand on the Board under one producer, and never expire: after a restart
they are made again from the ledger, so that a failure of last night is not forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.jobs.words import Outcome, Reason
from exporter.model import CLUSTER_LABEL, OURS, Kind, MetricSpec, ProducerKey, Reading

_JOB = (CLUSTER_LABEL, "job_name")

LAST_SUCCESS = MetricSpec(
    "qdrantx_job_last_success_timestamp_seconds",
    Kind.GAUGE,
    'When a job last did all that it had to for a collection; collection "": for all of them in one run',
    "seconds, Unix time",
    OURS,
    (*_JOB, "collection"),
)
LAST_DURATION = MetricSpec(
    "qdrantx_job_last_duration_seconds",
    Kind.GAUGE,
    "How long the last run of a job took that ended",
    "seconds",
    OURS,
    _JOB,
)
LAST_STATUS = MetricSpec(
    "qdrantx_job_last_status",
    Kind.GAUGE,
    "How the last run of a job went: 0 all done, 1 failed, missed or cannot be done, 2 partly",
    "0, 1 or 2",
    OURS,
    _JOB,
)
RUNNING = MetricSpec("qdrantx_job_running", Kind.GAUGE, "Whether a job runs now", "1 or 0", OURS, _JOB)
NEXT_RUN = MetricSpec(
    "qdrantx_job_next_run_timestamp_seconds",
    Kind.GAUGE,
    "When a job runs next by its schedule",
    "seconds, Unix time",
    OURS,
    _JOB,
)
RUNS = MetricSpec(
    "qdrantx_job_runs_total",
    Kind.COUNTER,
    "Runs of a job in the ledger that ended, by how",
    "runs",
    OURS,
    (*_JOB, "outcome"),
)
SKIPPED = MetricSpec(
    "qdrantx_job_skipped_total",
    Kind.COUNTER,
    "Runs of a job that were due and not begun, by why; a skip is never a success",
    "runs",
    OURS,
    (*_JOB, "reason"),
)
SPECS = (LAST_SUCCESS, LAST_DURATION, LAST_STATUS, RUNNING, NEXT_RUN, RUNS, SKIPPED)

# Values of the labels, all of them shown from the start so that the first of a kind is an increase.
OUTCOMES = tuple(outcome.value for outcome in Outcome)
REASONS = tuple(reason.value for reason in Reason if reason is not Reason.NONE)

OK, FAILED, PARTLY = 0, 1, 2  # values of LAST_STATUS


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is known of one job now. Times are Unix seconds; None: it never happened."""

    job: str
    kind: str  # backup, verify, prune
    cluster: str
    running: bool
    next_run_at: float | None = None
    last_status: int | None = None  # OK, FAILED or PARTLY
    last_duration_seconds: float | None = None
    last_success_at: float | None = None  # of a whole run
    last_success_by_collection: Mapping[str, float] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)  # by outcome, one of OUTCOMES
    skipped: Mapping[str, int] = field(default_factory=dict)  # by reason, one of REASONS


def job_producer(cluster: str) -> ProducerKey:
    """Return who says the readings of all jobs of a cluster. In one go, so that what is gone is gone."""
    return ProducerKey(cluster, "", "jobs")


def job_readings(jobs: Iterable[JobFacts]) -> Iterator[Reading]:
    """Yield the readings of jobs, whatever their cluster; what never happened has none."""
    for facts in jobs:
        labels = (facts.cluster, facts.job)
        yield Reading(RUNNING, labels, float(facts.running))
        for spec, value in (
            (NEXT_RUN, facts.next_run_at),
            (LAST_DURATION, facts.last_duration_seconds),
            (LAST_STATUS, facts.last_status),
        ):
            if value is not None:
                yield Reading(spec, labels, float(value))
        if facts.last_success_at is not None:
            yield Reading(LAST_SUCCESS, (*labels, ""), facts.last_success_at)
        for collection, at in sorted(facts.last_success_by_collection.items()):
            yield Reading(LAST_SUCCESS, (*labels, collection), at)
        for outcome in _first(OUTCOMES, facts.runs):
            yield Reading(RUNS, (*labels, outcome), float(facts.runs.get(outcome, 0)))
        for reason in _first(REASONS, facts.skipped):
            yield Reading(SKIPPED, (*labels, reason), float(facts.skipped.get(reason, 0)))


def _first(known: Iterable[str], counted: Mapping[str, int]) -> Iterable[str]:
    """Return the known values of a label, then others that were counted."""
    return dict.fromkeys((*known, *sorted(counted)))
