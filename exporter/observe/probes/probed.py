"""One collection under probes: its searches, its books, and whose turn it is. No schedule, no budget."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.config.probes import ProbeSettings
from exporter.model import Reading
from exporter.observe.probes.asking import Asking, asking_of
from exporter.observe.probes.book import RECALL, SEARCH, RecallBook, RunBook, SearchBook
from exporter.observe.probes.plan import PlanWatch
from exporter.observe.probes.pool import Pool, WrittenPool
from exporter.observe.probes.reasons import Failure, Skip
from exporter.observe.probes.searches import Found, Searcher
from exporter.observe.sources.segments import ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen
from exporter.qdrant.lanes import Lanes
from exporter.qdrant.versions import Version


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run came to.

    `cost_seconds`: what it took the peer, None where it failed. `measured`: how long a search took
    whose time counts. `failed`: the request that made it fail or be skipped.
    """

    outcome: Failure | Skip | None
    cost_seconds: float | None = None
    measured_seconds: float | None = None
    failed: Found | None = None


class Probed:
    """The probes of one collection."""

    def __init__(self, *, name: str, settings: ProbeSettings, seen: CollectionSeen, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._turns: dict[str, int] = {}  # among the peers, for each probe by itself
        self._clock = clock
        self._pool: Pool | WrittenPool = Pool(limit_bytes=0)
        if settings.queries_file is not None:
            self._pool = WrittenPool(settings.queries_file.queries)
        self._seen = seen
        self._searcher = Searcher(
            collection=name, asking=asking_of(settings, seen), pool=self._pool, clock=clock
        )
        self._search = SearchBook()
        self._recall = RecallBook(window_seconds=settings.recall.window_seconds)
        self._plan = PlanWatch()

    @property
    def asking(self) -> Asking:
        """How it is searched now."""
        return self._searcher.asking

    @property
    def probes(self) -> tuple[str, ...]:
        """The probes it has: recall only where there is something to compare."""
        return (SEARCH, RECALL) if self.asking.compared else (SEARCH,)

    def update(self, seen: CollectionSeen, pool_limit_bytes: int) -> None:
        """Follow the collection's settings, and the share of memory. Other vectors empty the pool."""
        if isinstance(self._pool, Pool):
            self._pool.limit_bytes = pool_limit_bytes
        if seen is self._seen:
            return
        self._seen = seen
        asking = asking_of(self.settings, seen)
        if asking.vectors != self.asking.vectors:
            self._searcher.forget()
        self._searcher.asking = asking

    def interval_seconds(self, probe: str) -> float:
        """The configured interval, or the shortest that the collection's own rate limit leaves us."""
        settings = self.settings
        wanted = settings.interval_seconds if probe == SEARCH else settings.recall.interval_seconds
        return max(wanted, self.asking.shortest_interval_seconds)

    def next_turn(self, probe: str) -> int:
        """Return a number that grows by 1 each time, from another start for each collection."""
        turn = self._turns[probe] = self._turns.get(probe, zlib.crc32(self.name.encode(errors="replace"))) + 1
        return turn

    def is_exact(self, probe: str) -> bool:
        """Whether a run of it reads every point."""
        return probe == RECALL or self.settings.exact

    def why_not(self, probe: str, points: float | None) -> Skip | None:
        """Return why a probe should not run now. `points` of the collection, None where unknown."""
        if points == 0:
            return Skip.EMPTY
        if probe == SEARCH:
            return self.asking.why_not_search()
        return self.asking.why_not_compare(points, self._search.slow_seconds(self._clock.monotonic()))

    def skipped(self, probe: str, reason: Skip, times: int = 1) -> None:
        """Count what was due and did not run."""
        self._book(probe).skipped(reason, times)

    async def run(self, probe: str, lanes: Lanes, version: Version | None, state: Hashable | None) -> Ran:
        """Run a probe through one peer and book what came of it. `state`: see Searcher.compare."""
        sampled = await self._searcher.replenish(lanes, version)
        vectors = self.asking.vectors if probe == SEARCH else self.asking.compared
        query = self._searcher.next_query(probe, vectors)
        if query is None:
            if sampled is not None and sampled.failure is not None:
                return self._booked(probe, (sampled,))
            self.skipped(probe, Skip.EMPTY)
            return Ran(Skip.EMPTY, None if sampled is None else sampled.timed.took_seconds)
        if probe == SEARCH:
            limit, exact = self.asking.limit, self.settings.exact
            found = await self._searcher.search(lanes, query, limit=limit, exact=exact)
            if not exact:
                self._plan.searched(query.using)
            return self._booked(probe, (sampled, found))
        compared = await self._searcher.compare(lanes, query, state)
        if compared.approximate is not None:
            self._plan.searched(query.using)
        ran = self._booked(probe, (sampled, compared.exact, compared.approximate))
        if ran.outcome is None and compared.expected:
            now = self._clock.monotonic()
            self._recall.compared(query.using, compared.expected, compared.matched, now)
        return ran

    def look_at_segments(self, replicas: Sequence[tuple[int, ShardSegmentsSeen]]) -> bool:
        """Compare what every replica served with what we asked, for the likely plan; return if it changed."""
        looked = self._plan.look(replicas, [vector.name for vector in self.asking.compared])
        before, self._recall.plans = self._recall.plans, {name: plan.value for name, plan in looked.items()}
        return self._recall.plans != before

    def readings(self, probe: str, cluster: str, interval_seconds: float) -> Iterator[Reading]:
        """Yield everything one probe has measured; `interval_seconds` is the one in force."""
        book = self._search if probe == SEARCH else self._recall
        yield from book.readings(cluster, self.name, interval_seconds, self._clock.monotonic())

    def _book(self, probe: str) -> RunBook:
        return self._search.runs if probe == SEARCH else self._recall.runs

    def _booked(self, probe: str, calls: Sequence[Found | None]) -> Ran:
        """Book what the last request of a run says of it."""
        made = [call for call in calls if call is not None]
        last, now, book = made[-1], self._clock.monotonic(), self._book(probe)
        outcome = last.reason
        if isinstance(outcome, Skip):
            book.skipped(outcome)
            return Ran(outcome, failed=last)
        book.ran(outcome, now)
        measured = None
        if probe == SEARCH and outcome in (None, Failure.TIMEOUT):
            measured = last.timed.took_seconds
            self._search.took(measured, None if last.answer is None else last.answer.time, now)
        if outcome is not None:
            return Ran(outcome, None, measured, last)
        return Ran(None, sum(call.timed.took_seconds for call in made), measured)
