"""What is told of jobs and of the collections that they cover, from settings and ledger. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.backup.records import Covered
from exporter.backup.words import Level
from exporter.config.jobs import JobSettings
from exporter.jobs.ledger import Record
from exporter.jobs.records import FAILED, OK, PARTLY, JobFacts
from exporter.jobs.schedule import longest_gap_seconds, next_fires
from exporter.jobs.words import Outcome

_STATUS = {Outcome.OK: OK, Outcome.PARTLY: PARTLY}  # of any other end: FAILED

# Two: the store is read, and no more. What goes further asks for it.
DEFAULT_LEVEL = Level.HASHED
_GLOB = frozenset("*?[")


def cluster_of(job: JobSettings, clusters: Sequence[str]) -> str:
    """Return the cluster of a job: the one it names, or the only one."""
    return job.cluster if job.cluster is not None else clusters[0]


def level_of(job: JobSettings) -> Level:
    """Return up to which level a verify job proves."""
    return DEFAULT_LEVEL if job.level is None else Level(str(job.level))


def max_age_seconds(job: JobSettings) -> float:
    """Return how old the newest backup may be: as written, or the longest time between two runs."""
    return job.max_age_seconds if job.max_age_seconds is not None else longest_gap_seconds(job.schedule)


def job_facts(job: JobSettings, cluster: str, record: Record, now: float, *, lacks_rights: bool) -> JobFacts:
    """Return what is known of a job. One whose key may not do it fails, before it is even due."""
    last, begun = record.last, record.last_begun
    status = None if last is None or last.outcome is None else _STATUS.get(last.outcome, FAILED)
    return JobFacts(
        job=job.name,
        kind=job.kind,
        cluster=cluster,
        running=record.running is not None,
        next_run_at=next(iter(next_fires(job.schedule, now, 1)), None),
        last_started_at=None if begun is None else begun.started_at,
        last_ended_at=None if begun is None else begun.ended_at,
        last_status=FAILED if lacks_rights else status,
        last_duration_seconds=None if begun is None else begun.took_seconds,
        last_success_at=record.last_success_at,
        last_success_by_collection={
            collection: at for (collection, level), at in record.successes.items() if not level and collection
        },
        runs=record.counts,
        skipped=record.skips,
    )


def covered(jobs: Iterable[JobSettings], records: Mapping[str, Record]) -> Iterator[Covered]:
    """Yield each collection that backup jobs of a cluster cover, with the strictest of their demands.

    Those that a job names in full, and those that it last worked on. One that was deleted since then goes
    with the next run: its sets stay, and nobody waits for another.
    """
    jobs = tuple(jobs)
    backups = [job for job in jobs if job.kind == "backup"]
    for name in sorted(set().union(*(_named(job) | _worked_on(records[job.name]) for job in backups))):
        covering = [job for job in backups if job.collections.selects(name)]
        if covering:
            proving = [job for job in jobs if job.kind == "verify" and job.collections.selects(name)]
            yield Covered(
                collection=name,
                max_age_seconds=min(max_age_seconds(job) for job in covering),
                due=any(records[job.name].done_until > 0 for job in covering),
                levels_due=frozenset(
                    level
                    for job in proving
                    if records[job.name].done_until > 0
                    for level in Level
                    if level <= level_of(job)
                ),
                proven_at=_proven_at(name, (records[job.name] for job in jobs)),
            )


def _named(job: JobSettings) -> set[str]:
    return {name for name in job.collections.include if not _GLOB & set(name)}


def _worked_on(record: Record) -> set[str]:
    parts = () if record.last_worked is None else record.last_worked.parts
    return {part.collection for part in parts if part.collection}


def _proven_at(collection: str, records: Iterable[Record]) -> dict[Level, float]:
    newest: dict[Level, float] = {}
    for record in records:
        for (name, word), at in record.successes.items():
            if name == collection and word in set(Level):
                level = Level(word)
                newest[level] = max(at, newest.get(level, at))
    return newest
