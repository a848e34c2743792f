"""One run through one peer: the searches, the exact ones beside them, and the plan. Fills a Report."""

from __future__ import annotations

import asyncio
import json

from exporter.clock import Clock
from exporter.errors import BadPayload
from exporter.observe.probes.plan import Plan
from exporter.observe.probes.pool import VECTORS_A_NAME, Pool, Query, WrittenPool
from exporter.observe.probes.reasons import Failure, Skip, reason_of
from exporter.observe.probes.searches import Comparison, Found, Searcher, without
from exporter.probing.peers import PlanLooks
from exporter.probing.report import (
    Phase,
    QuerySource,
    Ranked,
    Report,
    Sent,
    Tell,
    Wanted,
    in_words,
    named,
    side_by_side,
    times_of,
)
from exporter.probing.settling import Settled, why_no_recall
from exporter.qdrant.lanes import WARM_UP, Lanes
from exporter.qdrant.payloads import result
from exporter.qdrant.search import points_request
from exporter.qdrant.versions import Version

COUNT_ENDPOINT = "/collections/{collection}/points/count"

# Of ten points each: a thousand points tell a recall to one per cent, and each costs a whole scan.
RECALL_QUERIES = 100
# A server that is down fails ten thousand times, and a frozen one takes fourteen hours for it.
FAILURES_IN_A_ROW = 10

RESTING = "the server asks for rest"


class Measuring:
    """Searches one after the other, over one connection. `tell` hears of each step."""

    def __init__(
        self,
        *,
        wanted: Wanted,
        settled: Settled,
        report: Report,
        lanes: Lanes,
        version: Version | None,
        looks: PlanLooks | None,  # None: the segments are not to be asked
        pool_limit_bytes: int,
        clock: Clock,
        tell: Tell,
    ) -> None:
        self._wanted = wanted
        self._settled = settled
        self._asking = settled.asking
        self._report = report
        self._lanes = lanes
        self._version = version
        self._looks = looks
        self._clock = clock
        self._tell = tell
        self._written = self._asking.settings.queries_file
        self._pool: Pool | WrittenPool = Pool(limit_bytes=pool_limit_bytes)
        if self._written is not None:
            self._pool = WrittenPool(self._written.queries)
        self._searcher = Searcher(
            collection=wanted.collection, asking=self._asking, pool=self._pool, clock=clock
        )
        self._drawn = 0
        self._to_compare: dict[Query, None] = {}  # different ones, in their order

    async def run(self) -> None:
        """Do all of it; what fails is in the report."""
        if self._looks is not None:
            await self._looks.before()
        if await self._connect():
            await self._count_points()
            await self._search_all()
            await self._compare_all()
            await self._tell_plan()

    @property
    def _deadline_seconds(self) -> float:
        return self._asking.settings.deadline_seconds

    @property
    def _single(self) -> bool:
        return self._wanted.count == 1

    async def _connect(self) -> bool:
        """Open the connection; the second request on it tells the way to the server and back."""
        started = self._clock.monotonic()
        answered = await self._lanes.call(
            WARM_UP, endpoint=WARM_UP.path, deadline_seconds=self._deadline_seconds
        )
        whole_seconds = self._clock.monotonic() - started
        if answered.failure is not None:
            self._report.searches.failed(reason_of(answered.failure), in_words(answered.failure))
            return False
        self._report.phases.append(Phase("connection", whole_seconds - answered.took_seconds))
        self._report.phases.append(Phase("round trip", answered.took_seconds))
        return True

    async def _count_points(self) -> None:
        """Ask how many points an exact search would read. Unknown where the answer fails."""
        request = points_request(
            self._wanted.collection, "count", {"exact": False}, timeout_seconds=self._asking.timeout_seconds
        )
        counted = await self._lanes.call(
            request, endpoint=COUNT_ENDPOINT, deadline_seconds=self._deadline_seconds
        )
        if counted.failure is not None:
            return
        try:
            told: dict[str, int] = result(counted.body, dict[str, int], COUNT_ENDPOINT)
        except BadPayload:
            return
        self._report.points = told.get("count")

    async def _search_all(self) -> None:
        searches = self._report.searches
        interval = 0.0 if self._single else self._asking.shortest_interval_seconds
        for number in range(1, searches.asked + 1):
            began = self._clock.monotonic()
            query = await self._next_query()
            if query is not None:
                await self._search(query)
            searches.done = number
            self._tell("searches", number, searches.asked)
            self._report.stopped = self._why_stop()
            if self._report.stopped or number == searches.asked:
                return
            await asyncio.sleep(max(0.0, began + interval - self._clock.monotonic()))

    def _why_stop(self) -> str:
        searches = self._report.searches
        if searches.done == searches.asked:
            return ""
        if Failure.RATE_LIMITED in searches.reasons:
            return RESTING
        if Skip.EMPTY in searches.reasons:
            return "nothing to search with"
        return f"{FAILURES_IN_A_ROW} failures in a row" if searches.in_a_row >= FAILURES_IN_A_ROW else ""

    async def _next_query(self) -> Query | None:
        """Return the next query; stored vectors are sampled anew where each was searched with once."""
        searches = self._report.searches
        if isinstance(self._pool, Pool) and self._drawn % VECTORS_A_NAME == 0:
            self._pool.clear()
        sampled = await self._searcher.replenish(self._lanes, self._version)
        if sampled is not None and self._single:
            self._add_phase("sample", sampled)
        if sampled is not None and sampled.failure is not None and sampled.reason is not None:
            searches.failed(sampled.reason, f"sampling stored vectors: {in_words(sampled.failure)}")
            return None
        query = self._pool.next(self._settled.vector.name)
        if query is None:
            searches.failed(Skip.EMPTY, self._why_empty())
            return None
        self._drawn += 1
        return query

    def _why_empty(self) -> str:
        if self._report.points:
            return f"no point of a random sample has {named(self._settled.vector.name)}"
        return "the collection is empty: there is no vector to search with"

    async def _search(self, query: Query) -> None:
        searches, exact = self._report.searches, self._asking.settings.exact
        if self._drawn == 1:
            self._describe(query)
        found = await self._searcher.search(self._lanes, query, limit=self._asking.limit, exact=exact)
        self._searched(query.using, exact=exact)
        if self._single:
            self._add_phase("search", found)
        if found.reason in (None, Failure.TIMEOUT):
            searches.seconds.append(found.timed.took_seconds)
        if found.failure is not None and found.reason is not None:
            searches.failed(found.reason, in_words(found.failure))
        if found.answer is None:
            return
        searches.in_a_row = 0
        searches.server_seconds.append(found.answer.time)
        if self._single:
            self._report.found = [Ranked(point.id, point.score) for point in found.answer.result.points]
        if len(self._to_compare) < RECALL_QUERIES and query.using not in self._sparse():
            self._to_compare[query] = None

    def _describe(self, query: Query) -> None:
        """Tell of the first query where it is from, and how it goes out."""
        report = self._report
        body = self._asking.body(query, limit=self._asking.limit, exact=self._asking.settings.exact)
        request = points_request(
            self._wanted.collection, "query", body, timeout_seconds=self._asking.timeout_seconds
        )
        sent = json.loads(request.body)
        report.request = Sent(request.method, request.path, sent)
        report.filter = sent.get("filter")
        report.vector = query.using
        if self._written is None:
            report.query_from = QuerySource(point=query.own_id)
        else:
            queries = len(self._written.queries)
            report.query_from = QuerySource(file=str(self._written.path), queries=queries)

    async def _compare_all(self) -> None:
        """Compare each different query's answer with an exact one, after the searches whose time counts."""
        recall, times = self._report.recall, times_of(self._report.searches.seconds)
        if not times:
            recall.why_not = "no search succeeded"
            return
        if self._report.stopped or Failure.RATE_LIMITED in self._report.searches.reasons:
            recall.why_not = self._report.stopped or RESTING
            return
        recall.why_not = why_no_recall(self._settled, self._wanted, self._report.points, times.p95)
        interval = 0.0 if self._single else self._asking.shortest_interval_seconds
        for number, query in enumerate(() if recall.why_not else self._to_compare, start=1):
            began = self._clock.monotonic()
            await self._compare(query)
            self._tell("exact searches", number, len(self._to_compare))
            if recall.why_not or number == len(self._to_compare):
                return
            await asyncio.sleep(max(0.0, began + interval - self._clock.monotonic()))

    async def _compare(self, query: Query) -> None:
        recall = self._report.recall
        compared = await self._searcher.compare(self._lanes, query, None)
        if compared.approximate is not None:
            self._searched(query.using, exact=False)
        for call in (compared.exact, compared.approximate):
            if call is not None and call.failure is not None:
                recall.why_not = in_words(call.failure)
                recall.failed = call.reason if isinstance(call.reason, Failure) else None
                return
        recall.k = compared.k
        recall.queries += 1
        recall.expected += compared.expected
        recall.matched += compared.matched
        if self._single:
            self._show_beside(query, compared)

    def _show_beside(self, query: Query, compared: Comparison) -> None:
        exact, found = compared.exact, compared.approximate
        if exact is None or exact.answer is None or found is None or found.answer is None:
            return
        self._add_phase("exact search", exact)
        self._add_phase("search again", found)
        k = compared.k
        self._report.exact, self._report.found = side_by_side(
            without(query.own_id, exact.answer.result.points)[:k],
            without(query.own_id, found.answer.result.points)[:k],
        )

    async def _tell_plan(self) -> None:
        report = self._report
        if self._asking.settings.exact:
            report.plans = {report.vector: Plan.SCAN}
        elif report.vector in self._sparse():
            report.plan_unknown = "the index of a sparse vector is no graph, and exact by design"
        elif self._looks is None:
            report.plan_unknown = "the source segments is switched off"
        elif report.request is not None:
            report.plans, report.plan_unknown = await self._looks.after()

    def _searched(self, vector: str, *, exact: bool) -> None:
        if self._looks is not None and not exact and vector not in self._sparse():
            self._looks.searched(vector)

    def _add_phase(self, name: str, found: Found) -> None:
        server_seconds = None if found.answer is None else found.answer.time
        self._report.phases.append(Phase(name, found.timed.took_seconds, server_seconds))

    def _sparse(self) -> set[str]:
        return {vector.name for vector in self._report.vectors if vector.sparse}
