"""Asks for the rights of the jobs' keys until it is known, and says once what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack

from exporter.backup.archive.engine import engine_available
from exporter.backup.survey import PeerAt
from exporter.backup.words import Level
from exporter.clock import Clock
from exporter.config.backup import VerifySettings
from exporter.config.jobs import JobSettings
from exporter.jobs.bodies.serving import peer_of
from exporter.jobs.facts import cluster_of, level_of, stored_formats
from exporter.jobs.rights import CHANGES, MANAGES, READS, SNAPSHOTS, WATCHES, Need, rights
from exporter.jobs.works import Works
from exporter.logs import get_logger

log = get_logger()

# A key that is missing a right may be given it on the server, where we do not see that.
ASK_AGAIN_SECONDS = 600.0


HINT = "write jobs: {api_key: …} below the cluster, with a key that may"
HINT_AT_TARGET = "write api_key: below backup.verify.target, with a key that may"


class RightsWatch:
    """What each job's key lacks. Belongs to the event loop."""

    def __init__(self, *, peers_of: Callable[[str], Sequence[PeerAt]], clock: Clock) -> None:
        self._peers_of = peers_of
        self._clock = clock
        self._works: Works | None = None
        self._missing: dict[str, tuple[str, ...]] = {}  # by job
        self._ask_at: dict[str, float] = {}  # monotonic seconds, by job; one that is not there is done

    def exchange(self, works: Works | None) -> None:
        """Ask anew, for the jobs of these works."""
        self._works = works
        jobs = () if works is None else works.settings.jobs
        self._ask_at = {job.name: self._clock.monotonic() for job in jobs}
        names = set(self._ask_at)
        self._missing = {name: missing for name, missing in self._missing.items() if name in names}

    def are_missing(self, job: str) -> bool:
        """The key of this job may not do what it must."""
        return bool(self._missing.get(job))

    def shown(self, job: str) -> None:
        """A run of it did all: whatever was said, the key may."""
        self._missing.pop(job, None)
        self._ask_at.pop(job, None)

    async def look(self) -> bool:
        """Ask for each job of which it is not known; return whether anything changed."""
        works, now = self._works, self._clock.monotonic()
        due = [name for name, at in self._ask_at.items() if at <= now]
        if works is None or not due:
            return False
        before = dict(self._missing)
        for job in [job for job in works.settings.jobs if job.name in due]:
            await self._ask(works, job)
        return self._missing != before

    async def _ask(self, works: Works, job: JobSettings) -> None:
        cluster = cluster_of(job, works.clusters)
        verify = works.settings.backup.verify
        formats = stored_formats(works.settings.jobs, works.clusters, cluster)
        needs = tuple(_needs(job, verify, imports="export" in formats))
        at_target = verify.target if job.kind == "verify" and MANAGES in needs else None
        async with AsyncExitStack() as stack:
            peers = self._peers_of(cluster) if at_target is None else (peer_of(at_target, self._clock),)
            for peer in peers:
                stack.push_async_callback(peer.courier.close)
            found = await rights(needs, peers)
        if self._works is not works or not found.known:
            return
        if found.missing and self._missing.get(job.name) != found.missing:
            log.error(
                "job.rights_missing",
                job=job.name,
                qdrant_cluster=cluster,
                missing=list(found.missing),
                hint=HINT if at_target is None else HINT_AT_TARGET,
            )
        self._missing[job.name] = found.missing
        if found.missing:
            self._ask_at[job.name] = self._clock.monotonic() + ASK_AGAIN_SECONDS
        else:
            self.shown(job.name)


def _needs(job: JobSettings, verify: VerifySettings, *, imports: bool) -> Iterator[Need]:
    """Yield what a job needs of its cluster, or of the server that is named for proofs.

    Where the engine is installed it opens most archives, and nothing is restored into the cluster; `imports`:
    there are exports, which a proof imports into a server.
    """
    if job.kind == "backup":
        yield from (READS, WATCHES)
        if job.format == "snapshot":
            yield SNAPSHOTS
    elif job.kind == "vacuum":
        yield from (READS, WATCHES)
        if not job.dry_run:
            yield CHANGES
    elif job.kind == "prune":
        yield READS
    elif _restores(level_of(job), verify, imports=imports):
        yield from (READS, MANAGES)


def _restores(level: Level, verify: VerifySettings, *, imports: bool) -> bool:
    """Whether a proof of this level restores or imports into a server."""
    if verify.target is None and not verify.allow_same_cluster:
        return False
    served = verify.target is not None or not engine_available()
    return (level >= Level.OPENED and served) or (level >= Level.RESTORED and imports)
