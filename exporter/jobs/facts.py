"""What is told of jobs and of the collections that they cover, from settings and ledger. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from exporter.backup.records import Covered
from exporter.backup.words import Level
from exporter.config.jobs import JobSettings
from exporter.jobs.ledger import LEVEL_OF_A_RUN, Record
from exporter.jobs.records import FAILED, OK, PARTLY, JobFacts
from exporter.jobs.schedule import longest_gap_seconds, next_fires
from exporter.jobs.words import Outcome

_STATUS = {Outcome.OK: OK, Outcome.PARTLY: PARTLY}  # of any other end: FAILED

# Two: the store is read, and no more. What goes further asks for it.
DEFAULT_LEVEL = Level.HASHED
_GLOB = frozenset("*?[")
_NONE: frozenset[Level] = frozenset()
_LEVELS = frozenset(level.value for level in Level)


def cluster_of(job: JobSettings, clusters: Sequence[str]) -> str:
    """Return the cluster of a job: the one it names, or the only one."""
    return job.cluster if job.cluster is not None else clusters[0]


def no_such_job(jobs: Iterable[JobSettings]) -> str:
    """Say that a job is not among these, which are all there are."""
    names = ", ".join(job.name for job in jobs) or "none"
    return f"there is no job of this name in the configuration; there are: {names}"


def level_of(job: JobSettings) -> Level:
    """Return up to which level a verify job proves."""
    return DEFAULT_LEVEL if job.level is None else Level(str(job.level))


def stored_formats(jobs: Iterable[JobSettings], clusters: Sequence[str], cluster: str) -> frozenset[str]:
    """Return what the backup jobs of a cluster store: `snapshot`, `export`, both or nothing."""
    return frozenset(
        job.format for job in jobs if job.kind == "backup" and cluster_of(job, clusters) == cluster
    )


def max_age_seconds(job: JobSettings) -> float:
    """Return how old the newest backup may be: as written, or the longest time between two runs."""
    return job.max_age_seconds if job.max_age_seconds is not None else longest_gap_seconds(job.schedule)


def job_facts(job: JobSettings, cluster: str, record: Record, now: float, *, cannot: bool) -> JobFacts:
    """Return what is known of a job. One that cannot be done, for its key or the store, fails at once.

    Successes are told of the collections that it names or last worked on: others are gone.
    """
    last, begun = record.last, record.last_begun
    its_own = named(job) | _worked_on(record)
    status = None if last is None or last.outcome is None else _STATUS.get(last.outcome, FAILED)
    return JobFacts(
        job=job.name,
        kind=job.kind,
        cluster=cluster,
        running=record.running is not None,
        next_run_at=next(iter(next_fires(job.schedule, now, 1)), None),
        last_status=FAILED if cannot else status,
        last_duration_seconds=None if begun is None else begun.took_seconds,
        last_success_at=record.last_success_at,
        last_success_by_collection={
            collection: at
            for (collection, level), at in record.successes.items()
            if level == LEVEL_OF_A_RUN and collection in its_own
        },
        runs=record.counts,
        skipped=record.skips,
    )


class _Known(NamedTuple):
    """A job, with what is worked out once for all of its collections: there may be thousands."""

    record: Record
    selects: Callable[[str], bool]
    named: frozenset[str]
    worked_on: frozenset[str]
    max_age_seconds: float  # of kind backup
    levels: frozenset[Level]  # of kind verify

    def was_due(self, collection: str) -> bool:
        """A run came to it, or failed each time before it got to any: so it did to all of them."""
        if self.record.last_worked is None:
            return self.record.last is not None and self.record.done_until > 0
        return collection in self.worked_on


def covered(jobs: Iterable[JobSettings], records: Mapping[str, Record]) -> Iterator[Covered]:
    """Yield each collection that backup jobs of a cluster cover, with the strictest of their demands.

    Those that a job names in full, and those that it last worked on. One that was deleted since then goes
    with the next run: its sets stay, and nobody waits for another.
    """
    jobs = tuple(jobs)
    backups = [_known(job, records[job.name]) for job in jobs if job.kind == "backup"]
    proofs = [_known(job, records[job.name]) for job in jobs if job.kind == "verify"]
    proven_at = _proven_at(records[job.name] for job in jobs)
    for name in sorted(frozenset().union(*(one.named | one.worked_on for one in backups))):
        covering = [one for one in backups if one.selects(name)]
        if not covering:
            continue
        proving = [one for one in proofs if one.selects(name)]
        successes = [one.record.successes.get((name, LEVEL_OF_A_RUN)) for one in covering]
        yield Covered(
            collection=name,
            max_age_seconds=min(one.max_age_seconds for one in covering),
            due=any(one.was_due(name) for one in covering),
            is_named=any(name in one.named for one in covering),
            done_at=max((at for at in successes if at is not None), default=None),
            levels_asked=_NONE.union(*(one.levels for one in proving)),
            levels_due=_NONE.union(*(one.levels for one in proving if one.was_due(name))),
            proven_at=proven_at.get(name, {}),
        )


def named(job: JobSettings) -> set[str]:
    """Return the collections that a job names in full: it is about them whether they exist or not."""
    return {name for name in job.collections.include if not _GLOB & set(name)}


def _worked_on(record: Record) -> frozenset[str]:
    parts = () if record.last_worked is None else record.last_worked.parts
    return frozenset(part.collection for part in parts if part.collection)


def _known(job: JobSettings, record: Record) -> _Known:
    return _Known(
        record=record,
        selects=job.collections.selects,
        named=frozenset(named(job)),
        worked_on=_worked_on(record),
        max_age_seconds=max_age_seconds(job) if job.kind == "backup" else 0.0,
        levels=frozenset(level for level in Level if level <= level_of(job)),
    )


def _proven_at(records: Iterable[Record]) -> dict[str, dict[Level, float]]:
    """Return when each level was last proven, by collection."""
    newest: dict[str, dict[Level, float]] = {}
    for record in records:
        for (name, word), at in record.successes.items():
            if word in _LEVELS:
                of_name = newest.setdefault(name, {})
                of_name[Level(word)] = max(at, of_name.get(Level(word), at))
    return newest
