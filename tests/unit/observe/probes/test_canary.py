"""Rounds of the write canary: on the real engine, through a server that errs, and in a cluster of three."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from exporter.clock import Clock
from exporter.observe.probes.canary import LEFT_OVER_SECONDS, POINTS_AT_ONCE, Canary
from exporter.observe.probes.canary_book import TIMED, Phase
from exporter.observe.probes.canary_collection import NEEDS_A_KEY, NOT_OURS, CanaryPeer, remove
from exporter.observe.probes.canary_rounds import CanaryRounds
from exporter.observe.probes.known import ProbeTarget
from exporter.observe.probes.reasons import Skip
from exporter.observe.sources.segments import ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen
from exporter.qdrant import canary as requests
from exporter.qdrant.canary import PATH
from exporter.qdrant.door import Door
from exporter.qdrant.lanes import Lanes
from tests.kit.patience import LoopClock
from tests.kit.scripted import free_port
from tests.kit.watching import named
from tests.unit.embedded.kit import Served, serving

MINE, ANOTHER = "the-instance-of-this-test", "another-instance"
# A round takes 10 ms here. The short one is for what never comes, in patient time.
DEADLINE_SECONDS, SHORT_SECONDS = 10.0, 0.3
IDS = (11, 22, 33)
LISTED = frozenset(IDS)
ALONE: frozenset[int] = frozenset()
KEY, READ_ONLY_KEY = "a-key-that-may-manage", "a-key-that-may-read"
WITH_CUSTOM_SHARDING = {"vectors": requests.VECTORS, "sharding_method": "custom"}
PLAIN = {"vectors": requests.VECTORS}

LanesTo = Callable[..., Lanes]
Answer = web.Response | Exception  # an Exception: never an answer


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that a played peer got. `step` names what it is for."""

    peer: int
    step: str
    body: dict[str, Any]

    @property
    def key(self) -> str | None:
        """The shard key in it."""
        key: str | None = self.body.get("shard_key")
        return key


@dataclass(slots=True)
class Shard:
    """The points of one key, by id. `peer_id` is where it was placed."""

    peer_id: int | None
    points: dict[str, dict[str, Any]] = field(default_factory=dict)


STEPS = {
    ("GET", ""): "describe",
    ("PUT", ""): "create",
    ("DELETE", ""): "drop",
    ("GET", "/shards"): "keys",
    ("PUT", "/shards"): "create key",
    ("POST", "/shards/delete"): "delete key",
    ("PUT", "/points"): "write",
    ("POST", "/points/delete"): "delete",
    ("POST", "/points"): "retrieve",
    ("POST", "/points/query"): "search",
    ("POST", "/points/count"): "count",
}
NEVER = TimeoutError("no answer")


def good(result: Any) -> web.Response:
    """Answer as Qdrant does."""
    return web.json_response({"result": result, "status": "ok", "time": 0.001})


def refused(status: int, text: str) -> web.Response:
    """Refuse as Qdrant does."""
    return web.json_response({"status": {"error": text}, "time": 0.001}, status=status)


ACCEPTED = {"operation_id": 1, "status": "acknowledged"}


class Played:
    """Three peers of one cluster, or one server alone, that hold the canary's collection as 1.18.3 does.

    `says` is given in place of the true answer, by peer and step: to all of its requests, or to those
    that the function wants to answer.
    """

    def __init__(self, peers: int = 1) -> None:
        self.config: dict[str, Any] | None = None
        self.shards: dict[str | None, Shard] = {}
        self.seen: list[Seen] = []
        self.says: dict[tuple[int, str], Answer | Callable[[Seen], Answer | None]] = {}
        self.delays: dict[tuple[int, str], float] = {}  # in seconds, before an answer
        self.urls: list[str] = []
        self._peers = peers
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for peer in range(self._peers):
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", self._handler(peer))
            runner = web.AppRunner(
                application, handler_cancellation=True, shutdown_timeout=0.05, access_log=None
            )
            await runner.setup()
            self._stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def steps(self, *wanted: str) -> list[str]:
        """The steps asked for, in order; all, or just these."""
        return [seen.step for seen in self.seen if not wanted or seen.step in wanted]

    def hold(self, key: str | None, *, peer_id: int | None = None, **points: dict[str, Any]) -> None:
        """Hold these points under a key."""
        self.shards[key] = Shard(peer_id, dict(points))

    def _handler(self, peer: int) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            read = await request.read()
            step = STEPS.get((request.method, request.path.removeprefix(PATH)), "root")
            seen = Seen(peer, step, msgspec.json.decode(read) if read else {})
            self.seen.append(seen)
            await asyncio.sleep(self.delays.get((peer, step), 0.0))
            said = self.says.get((peer, step))
            if callable(said):
                said = said(seen)
            if isinstance(said, Exception):
                await asyncio.Event().wait()
            if isinstance(said, web.Response):
                return web.Response(status=said.status, body=said.body, headers=said.headers)
            return self._answer(seen)

        return handle

    def _answer(self, seen: Seen) -> web.Response:
        if seen.step == "root":
            return web.json_response({"title": "qdrant - vector search engine", "version": "1.18.3"})
        if seen.step == "create":
            self.config = seen.body
            custom = seen.body.get("sharding_method") == "custom"
            self.shards = {} if custom else {None: Shard(None)}
            return good(True)
        if self.config is None:
            return refused(404, "Not found: Collection `_qdrantx_canary` doesn't exist!")
        match seen.step:
            case "describe":
                names = ("vectors", "sharding_method")
                params = {name: self.config[name] for name in names if name in self.config}
                return good({"status": "green", "config": {"params": params}})
            case "drop":
                self.config, self.shards = None, {}
                return good(True)
            case "keys":
                return good({"shard_keys": [{"key": key} for key in self.shards if key is not None]})
            case "create key" | "delete key":
                return self._change_keys(seen)
        shard = self.shards.get(seen.key)
        if shard is None:
            return refused(400, f'Bad request: Shard key "{seen.key}" not found')
        return self._of_points(seen, shard)

    def _change_keys(self, seen: Seen) -> web.Response:
        if seen.step == "delete key":
            self.shards.pop(seen.key, None)
            return good(True)
        if seen.key in self.shards:
            text = f'Bad request: Sharding key "{seen.key}" already exists for collection _qdrantx_canary'
            return refused(400, text)
        (peer_id,) = seen.body["placement"]
        self.shards[seen.key] = Shard(peer_id)
        return good(True)

    def _of_points(self, seen: Seen, shard: Shard) -> web.Response:
        body = seen.body
        if seen.step == "write":
            shard.points |= {one["id"]: one["payload"] for one in body["points"]}
            return good(ACCEPTED)
        if seen.step == "delete":
            gone = body.get("points") or left_overs(shard.points, body["filter"])
            shard.points = {one: payload for one, payload in shard.points.items() if one not in gone}
            return good(ACCEPTED)
        asked = body["ids"] if seen.step == "retrieve" else body["filter"]["must"][0]["has_id"]
        found = [one for one in asked if one in shard.points]
        if seen.step == "count":
            return good({"count": len(found)})
        points = [{"id": one, "version": 1, "score": 1.0, "shard_key": seen.key} for one in found]
        return good({"points": points} if seen.step == "search" else points)


def left_overs(points: dict[str, dict[str, Any]], chosen: dict[str, Any]) -> list[str]:
    """Return the ids that match what the canary writes as a filter of left-overs."""
    own, old = chosen["should"]
    assert (own["key"], old["key"]) == ("instance", "written_at")
    return [
        one
        for one, payload in points.items()
        if payload["instance"] == own["match"]["value"] or payload["written_at"] < old["range"]["lt"]
    ]


class Rounds:
    """A canary and its peers, through real lanes."""

    def __init__(
        self,
        lanes_to: LanesTo,
        urls: Sequence[str],
        *,
        ids: Sequence[int] = (),
        instance: str = MINE,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        labels = "abcdefgh"
        self.peers = [
            CanaryPeer(labels[number], ids[number] if ids else None, lanes_to(url))
            for number, url in enumerate(urls)
        ]
        self.canary = Canary(instance=instance, deadline_seconds=deadline_seconds, clock=LoopClock())
        self.listed = frozenset(ids)
        self.book = self.canary.book
        self.book.keep(peer.label for peer in self.peers)

    @property
    def trouble(self) -> str:
        """What a person should do."""
        return self.canary.collection.trouble

    async def round(self) -> dict[str, float]:
        """Run a round through all peers and return the seconds of answers that it cost each."""
        return (await self.canary.round(self.peers, self.listed)).cost_seconds

    def told(self) -> dict[str, float]:
        """Return values by series, the parts of histograms by their own names."""
        return {named(reading): reading.value for reading in self.book.readings("default", 60.0)}

    def failures(self) -> dict[tuple[str, Phase], int]:
        """Return failed rounds by peer and step, those that were."""
        told = self.told()
        counts = {
            (peer.label, phase): int(told[f"canary_failures_total{{peer={peer.label},phase={phase}}}"])
            for peer in self.peers
            for phase in Phase
        }
        return {key: count for key, count in counts.items() if count}

    def timed(self, label: str = "a") -> dict[Phase, int]:
        """Return how often each step of a peer was measured."""
        told = self.told()
        name = "canary_visible_seconds_count"
        return {phase: int(told[f"{name}{{peer={label},phase={phase}}}"]) for phase in TIMED}


@pytest_asyncio.fixture
async def lanes_to() -> AsyncIterator[LanesTo]:
    """Return a function that makes lanes to a url; further arguments are the door's."""
    made: list[Lanes] = []

    def make(url: str, *, clock: Clock | None = None, **door: Any) -> Lanes:
        made.append(Lanes(door=Door(url, **door), clock=clock or LoopClock()))
        return made[-1]

    yield make
    for lanes in made:
        await lanes.close()


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """An embedded server."""
    async with serving() as one:
        yield one


@pytest_asyncio.fixture
async def lone() -> AsyncIterator[Played]:
    """A server without peers, played."""
    async with Played() as one:
        yield one


@pytest_asyncio.fixture
async def three() -> AsyncIterator[Played]:
    """A cluster of three, played."""
    async with Played(3) as cluster:
        yield cluster


async def written(served: Served, **points: tuple[str, float]) -> None:
    """Write points of these instances, so many seconds old."""
    now = time.time()
    vector = {requests.VECTOR_NAME: requests.VECTOR}
    body = [
        {"id": id_of(name), "vector": vector, "payload": {"instance": who, "written_at": now - age}}
        for name, (who, age) in points.items()
    ]
    await served.result("PUT", f"{PATH}/points?wait=true", {"points": body})


async def held(served: Served) -> set[str]:
    """Return the names of the points that the collection holds now."""
    page = await served.result("POST", f"{PATH}/points/scroll", {"limit": 100})
    return {name for name in NAMES if id_of(name) in {one["id"] for one in page["points"]}}


NAMES = ("mine", "fresh", "young", "old")


def id_of(name: str) -> str:
    return f"00000000-0000-4000-8000-{NAMES.index(name):012}"


# On the real engine


async def test_a_round_writes_finds_counts_deletes_and_sees_it_gone(
    served: Served, lanes_to: LanesTo
) -> None:
    """Each step is measured once a round, none fails, and nothing is left in the collection."""
    rounds = Rounds(lanes_to, [served.server.url])

    costs = [await rounds.round() for _ in range(3)]

    assert rounds.failures() == {}
    assert rounds.timed() == dict.fromkeys(TIMED, 3)
    assert all(cost.keys() == {"a"} and cost["a"] > 0 for cost in costs)
    assert rounds.told()["probes_total{collection=_qdrantx_canary,probe=canary}"] == 3
    count = await served.result("POST", f"{PATH}/points/count", {"exact": True})
    assert count == {"count": 0}


async def test_what_is_told_is_a_whole_histogram_a_step_and_every_failure_from_0(
    served: Served, lanes_to: LanesTo
) -> None:
    """Steps that come later were never seen before earlier ones; all of it is far below a second."""
    rounds = Rounds(lanes_to, [served.server.url])

    await rounds.round()

    told = rounds.told()
    for phase in TIMED:
        name, labels = "canary_visible_seconds", f"peer=a,phase={phase}"
        assert told[f"{name}_bucket{{{labels},le=1}}"] == told[f"{name}_bucket{{{labels},le=+Inf}}"] == 1
        assert 0 < told[f"{name}_sum{{{labels}}}"] < 1
    sums = {phase: told[f"canary_visible_seconds_sum{{peer=a,phase={phase}}}"] for phase in TIMED}
    assert sums[Phase.WRITE] <= min(sums[Phase.RETRIEVE], sums[Phase.SEARCH], sums[Phase.COUNT])
    failures = [name for name in told if name.startswith("canary_failures_total")]
    assert len(failures) == len(Phase)
    skipped = "probes_skipped_total{collection=_qdrantx_canary,probe=canary,reason"
    assert [told[f"{skipped}={skip}}}"] for skip in (Skip.BUDGET, Skip.CONCURRENCY, Skip.LATE)] == [0, 0, 0]
    assert told["probe_interval_seconds{collection=_qdrantx_canary,probe=canary}"] == 60


async def test_the_collection_is_made_once_and_stays(served: Served, lanes_to: LanesTo) -> None:
    """Small: one shard, one segment; a second daemon finds it there."""
    before = await served.result("GET", "/collections")
    for _ in range(2):
        rounds = Rounds(lanes_to, [served.server.url])
        await rounds.round()
        await rounds.round()

    info = await served.result("GET", PATH)
    requests_seen = (await served.result("GET", "/telemetry?details_level=3"))["requests"]["rest"][
        "responses"
    ]
    assert before == {"collections": []}
    assert requests_seen["PUT /collections/{collection_name}"]["200"]["count"] == 1
    assert "DELETE /collections/{collection_name}" not in requests_seen
    assert info["config"]["params"]["vectors"] == requests.VECTORS
    assert info["config"]["optimizer_config"]["default_segment_number"] == 1


async def test_left_overs_of_our_own_and_old_ones_of_anybody_are_removed(
    served: Served, lanes_to: LanesTo
) -> None:
    """A point that another daemon has just written is in use."""
    rounds = Rounds(lanes_to, [served.server.url])
    await rounds.round()
    await written(
        served,
        mine=(MINE, 0.0),
        fresh=(ANOTHER, 0.0),
        young=(ANOTHER, LEFT_OVER_SECONDS - 60),
        old=(ANOTHER, LEFT_OVER_SECONDS + 60),
    )

    await rounds.round()

    assert await held(served) == {"fresh", "young"}
    assert rounds.failures() == {}


async def test_a_collection_of_that_name_that_is_not_ours_is_never_touched(
    served: Served, lanes_to: LanesTo
) -> None:
    """Somebody's data may be in it: nothing is written, nothing deleted, and the trouble says why."""
    await served.result("PUT", PATH, {"vectors": {"size": 4, "distance": "Dot"}})
    point = {"id": 1, "vector": [1.0, 0.0, 0.0, 0.0], "payload": {"instance": MINE, "written_at": 0}}
    await served.result("PUT", f"{PATH}/points?wait=true", {"points": [point]})
    rounds = Rounds(lanes_to, [served.server.url])

    await rounds.round()
    await rounds.round()

    assert NOT_OURS in rounds.trouble
    assert rounds.failures() == {("a", Phase.PREPARE): 2}
    assert rounds.timed() == dict.fromkeys(TIMED, 0)
    assert await served.result("POST", f"{PATH}/points/count", {"exact": True}) == {"count": 1}
    assert (await served.result("GET", PATH))["config"]["params"]["vectors"]["distance"] == "Dot"


async def test_a_collection_that_is_removed_while_we_run_is_made_again(
    served: Served, lanes_to: LanesTo
) -> None:
    """One round fails to write, which says that something is missing; the next one works."""
    rounds = Rounds(lanes_to, [served.server.url])
    await rounds.round()
    assert await remove(rounds.peers[0])

    await rounds.round()
    await rounds.round()

    assert rounds.failures()[("a", Phase.WRITE)] == 1
    assert rounds.timed() == dict.fromkeys(TIMED, 2)


async def test_a_wrong_key_fails_the_round_and_says_which_key_is_needed(lanes_to: LanesTo) -> None:
    """401 of a real server; with the right key the trouble is over."""
    async with serving(api_key=KEY) as locked:
        rounds = Rounds(lanes_to, [locked.server.url])
        await rounds.round()
        trouble, failures = rounds.trouble, rounds.failures()

        opened = lanes_to(locked.server.url, api_key=KEY)
        rounds.peers[0] = replace(rounds.peers[0], lanes=opened)
        await rounds.round()

    assert trouble == NEEDS_A_KEY
    assert "probes.canary.api_key" in trouble
    assert failures == {("a", Phase.PREPARE): 1} == rounds.failures()
    assert rounds.trouble == ""
    assert rounds.timed() == dict.fromkeys(TIMED, 1)


# Through a server that errs


async def test_a_key_that_may_only_read_says_so_at_the_creation(lone: Played, lanes_to: LanesTo) -> None:
    """403; every round tries again, and nothing else is sent meanwhile."""
    lone.says[0, "create"] = refused(403, "Forbidden: Global manage access is required")
    rounds = Rounds(lanes_to, lone.urls)

    await rounds.round()
    await rounds.round()

    assert rounds.trouble == NEEDS_A_KEY
    assert rounds.failures() == {("a", Phase.PREPARE): 2}
    assert [step for step in lone.steps() if step != "root"] == ["describe", "create"] * 2


@pytest.mark.parametrize(
    "says",
    [
        good({"status": "green"}),
        good({"config": {"params": {"vectors": 7}}}),
        web.Response(text="<html>a login page</html>", content_type="text/html"),
        refused(500, "Service internal error: no"),
        web.Response(text="not JSON"),
    ],
)
async def test_what_describes_the_collection_and_does_not_read_is_never_written_to(
    lone: Played, lanes_to: LanesTo, says: web.Response
) -> None:
    """Whatever answers there, it is not what the canary made."""
    lone.config = dict(PLAIN)
    lone.hold(None)
    lone.says[0, "describe"] = says
    rounds = Rounds(lanes_to, lone.urls)

    await rounds.round()

    assert rounds.failures() == {("a", Phase.PREPARE): 1}
    assert rounds.trouble.startswith("/collections/{collection}: ")
    assert lone.steps() == ["root", "describe"]


FOUND_NOTHING = {
    "retrieve": good([]),
    "search": good({"points": []}),
    "count": good({"count": 0}),
}
FOUND_ALWAYS = {
    "retrieve": good([{"id": 1}]),
    "search": good({"points": [{"id": 1, "version": 1, "score": 1.0}]}),
    "count": good({"count": 1}),
}
LOOKS = {"retrieve": Phase.RETRIEVE, "search": Phase.SEARCH, "count": Phase.COUNT}


@pytest.mark.parametrize("step", LOOKS)
@pytest.mark.usefixtures("patient_time")
async def test_a_point_that_one_way_never_shows_fails_that_step_alone(
    lone: Played, lanes_to: LanesTo, step: str
) -> None:
    """Once a round; the other steps are measured, and gone it is."""
    lone.says[0, step] = FOUND_NOTHING[step]
    rounds = Rounds(lanes_to, lone.urls, deadline_seconds=SHORT_SECONDS)

    await rounds.round()
    await rounds.round()

    phase = LOOKS[step]
    assert rounds.failures() == {("a", phase): 2}
    assert rounds.timed() == dict.fromkeys(TIMED, 2) | {phase: 0}


@pytest.mark.parametrize("step", LOOKS)
@pytest.mark.usefixtures("patient_time")
async def test_a_point_that_one_way_shows_for_ever_is_not_gone(
    lone: Played, lanes_to: LanesTo, step: str
) -> None:
    """A stale index, or a wrong count: deleted is only what nobody sees any more."""
    lone.says[0, step] = FOUND_ALWAYS[step]
    rounds = Rounds(lanes_to, lone.urls, deadline_seconds=SHORT_SECONDS)

    await rounds.round()

    assert rounds.failures() == {("a", Phase.GONE): 1}
    assert rounds.timed() == dict.fromkeys(TIMED, 1) | {Phase.GONE: 0}


@pytest.mark.usefixtures("patient_time")
async def test_a_deletion_that_is_not_applied_fails_gone_and_its_point_goes_as_a_left_over(
    lone: Played, lanes_to: LanesTo
) -> None:
    """The server accepted it; the next round begins with what lies about."""
    lone.says[0, "delete"] = lambda seen: good(ACCEPTED) if "points" in seen.body else None
    rounds = Rounds(lanes_to, lone.urls, deadline_seconds=SHORT_SECONDS)
    await rounds.round()
    assert len(lone.shards[None].points) == 1

    lone.says.clear()
    await rounds.round()

    assert rounds.failures() == {("a", Phase.GONE): 1}
    assert lone.shards[None].points == {}


async def test_a_write_that_fails_is_one_failure_and_the_point_is_deleted_all_the_same(
    lone: Played, lanes_to: LanesTo
) -> None:
    """500 may come after the write was done; nobody looks for it, and nothing is measured."""
    lone.says[0, "write"] = refused(500, "Service internal error: no space left on device")
    rounds = Rounds(lanes_to, lone.urls)

    await rounds.round()

    assert rounds.failures() == {("a", Phase.WRITE): 1}
    assert rounds.timed() == dict.fromkeys(TIMED, 0)
    (written_id,) = [seen.body["points"][0]["id"] for seen in lone.seen if seen.step == "write"]
    assert [seen.body.get("points") for seen in lone.seen if seen.step == "delete"] == [None, [written_id]]


async def test_a_deletion_that_fails_fails_gone(lone: Played, lanes_to: LanesTo) -> None:
    """The point was visible before, which counts."""
    lone.says[0, "delete"] = refused(500, "Service internal error: no")
    rounds = Rounds(lanes_to, lone.urls)

    await rounds.round()

    assert rounds.failures() == {("a", Phase.GONE): 1}
    assert rounds.timed() == dict.fromkeys(TIMED, 1) | {Phase.GONE: 0}


@pytest.mark.parametrize(
    "says", [good(7), web.Response(text="<html>busy</html>"), refused(500, "no"), web.Response(text="no")]
)
@pytest.mark.usefixtures("patient_time")
async def test_what_is_no_answer_to_a_search_shows_neither_that_it_is_there_nor_that_it_is_gone(
    lone: Played, lanes_to: LanesTo, says: web.Response
) -> None:
    """Asked again until the deadline, as it may pass."""
    lone.says[0, "search"] = says
    rounds = Rounds(lanes_to, lone.urls, deadline_seconds=SHORT_SECONDS)

    await rounds.round()

    assert rounds.failures() == {("a", Phase.SEARCH): 1, ("a", Phase.GONE): 1}
    assert lone.steps("search").count("search") > 2


async def test_a_look_that_fails_once_is_no_failure(lone: Played, lanes_to: LanesTo) -> None:
    """By the deadline it was seen; how long that took is measured."""
    answered = iter([None, refused(500, "Service internal error: no"), good({"points": []})])
    lone.says[0, "search"] = lambda _: next(answered, None)
    rounds = Rounds(lanes_to, lone.urls)

    await rounds.round()

    assert rounds.failures() == {}
    assert rounds.timed() == dict.fromkeys(TIMED, 1)
    told = rounds.told()
    took = {phase: told[f"canary_visible_seconds_sum{{peer=a,phase={phase}}}"] for phase in LOOKS.values()}
    assert took[Phase.SEARCH] > 0.015 > 0  # it waited 5 and 10 ms before it looked again


@pytest.mark.usefixtures("patient_time")
async def test_a_server_that_freezes_under_way_fails_the_steps_left_in_time(
    lone: Played, lanes_to: LanesTo
) -> None:
    """After the write: each of the steps left takes no longer than its deadline."""
    frozen = False

    def says(seen: Seen) -> Answer | None:
        nonlocal frozen
        frozen |= seen.step == "write"
        return NEVER if frozen and seen.step != "write" else None

    lone.says = {(0, step): says for step in ("root", *STEPS.values())}
    rounds = Rounds(lanes_to, lone.urls, deadline_seconds=SHORT_SECONDS)
    started = LoopClock().monotonic()

    await rounds.round()

    assert rounds.failures() == dict.fromkeys([("a", phase) for phase in (*LOOKS.values(), Phase.GONE)], 1)
    assert rounds.timed() == dict.fromkeys(TIMED, 0) | {Phase.WRITE: 1}
    assert LoopClock().monotonic() - started == pytest.approx(2 * SHORT_SECONDS)


@pytest.mark.usefixtures("patient_time")
async def test_a_step_that_is_done_after_the_deadline_has_failed(lone: Played, lanes_to: LanesTo) -> None:
    """A look sent shortly before it gets no deadline of its own."""
    answers = iter([good([]), good([])])  # to the look before the write, and to the first one after it
    lone.says[0, "retrieve"] = lambda _: next(answers, None)
    lone.delays[0, "retrieve"] = 0.8 * SHORT_SECONDS
    rounds = Rounds(lanes_to, lone.urls, deadline_seconds=SHORT_SECONDS)

    await rounds.round()

    assert rounds.failures()[("a", Phase.RETRIEVE)] == 1


# In a cluster of three


async def test_each_peer_gets_a_key_with_its_one_shard_placed_on_it(three: Played, lanes_to: LanesTo) -> None:
    """So a point written through a peer lies there; every peer shows every point."""
    rounds = Rounds(lanes_to, three.urls, ids=IDS)

    await rounds.round()
    await rounds.round()

    assert three.config is not None
    assert (three.config["sharding_method"], three.config["replication_factor"]) == ("custom", 1)
    assert {key: shard.peer_id for key, shard in three.shards.items()} == {str(one): one for one in IDS}
    assert three.steps("create", "keys", "create key") == ["create", "keys", *["create key"] * 3]
    writes = [(seen.peer, seen.key) for seen in three.seen if seen.step == "write"]
    assert sorted(writes) == sorted([(peer, str(one)) for peer, one in enumerate(IDS)] * 2)
    assert rounds.failures() == {}
    for label in "abc":
        assert rounds.timed(label) == dict.fromkeys(TIMED, 2)
    for step in LOOKS:
        asked = {(seen.peer, seen.key) for seen in three.seen if seen.step == step}
        assert len(asked) == len(IDS) ** 2


async def test_a_shard_is_never_asked_for_without_its_key(three: Played, lanes_to: LanesTo) -> None:
    """A request without one would go to every shard, and fail where another peer is down."""
    rounds = Rounds(lanes_to, three.urls, ids=IDS)

    await rounds.round()

    with_key = {"create key", "write", "delete", "retrieve", "search", "count"}
    assert all(seen.key in {str(one) for one in IDS} for seen in three.seen if seen.step in with_key)


@pytest.mark.usefixtures("patient_time")
async def test_a_point_that_one_peer_does_not_show_is_the_failure_of_the_peer_written_through(
    three: Played, lanes_to: LanesTo
) -> None:
    """The third answers, and answers wrongly for the second's shard only: the others are good."""
    three.says[2, "count"] = lambda seen: good({"count": 0}) if seen.key == str(IDS[1]) else None
    rounds = Rounds(lanes_to, three.urls, ids=IDS, deadline_seconds=SHORT_SECONDS)

    await rounds.round()

    assert rounds.failures() == {("b", Phase.COUNT): 1}
    assert rounds.timed("b") == dict.fromkeys(TIMED, 1) | {Phase.COUNT: 0}
    for label in "ac":
        assert rounds.timed(label) == dict.fromkeys(TIMED, 1)


@pytest.mark.usefixtures("patient_time")
async def test_a_silent_peer_is_at_fault_itself_and_the_round_ends_in_time(
    three: Played, lanes_to: LanesTo
) -> None:
    """Once a step, though no point was seen there; each step took its deadline and no more."""
    rounds = Rounds(lanes_to, three.urls, ids=IDS, deadline_seconds=SHORT_SECONDS)
    await rounds.round()
    before = [rounds.timed(label) for label in "abc"]
    three.says = {(1, step): NEVER for step in ("root", *STEPS.values())}
    started = LoopClock().monotonic()

    await rounds.round()

    took_seconds = LoopClock().monotonic() - started
    assert rounds.failures() == dict.fromkeys([("b", phase) for phase in TIMED], 1)
    assert [rounds.timed(label) for label in "abc"] == [
        timed | {Phase.WRITE: timed[Phase.WRITE] + (label != "b")}
        for label, timed in zip("abc", before, strict=True)
    ]
    # the looks before the write, those after it, those after the deletion; for two points, then one
    assert took_seconds == pytest.approx(2 * 3 * SHORT_SECONDS)


@pytest.mark.usefixtures("patient_time")
async def test_a_peer_that_died_is_unreachable_at_once_and_at_fault(three: Played, lanes_to: LanesTo) -> None:
    """A refused connection may be a restart, so it is tried until the deadline."""
    rounds = Rounds(lanes_to, three.urls, ids=IDS, deadline_seconds=SHORT_SECONDS)
    await rounds.round()
    rounds.peers[2] = replace(
        rounds.peers[2], lanes=lanes_to(f"http://127.0.0.1:{free_port(('127.0.0.1',))}")
    )

    await rounds.round()

    assert {label for label, _ in rounds.failures()} == {"c"}
    assert rounds.failures() == dict.fromkeys([("c", phase) for phase in TIMED], 1)


async def test_the_key_of_a_peer_that_left_is_deleted_and_that_of_a_silent_one_stays(
    three: Played, lanes_to: LanesTo
) -> None:
    """22 is listed and down, 99 is no peer any more; deleting takes whatever lies under it."""
    three.config = dict(WITH_CUSTOM_SHARDING)
    for key in ("11", "22", "99"):
        three.hold(key, peer_id=int(key))
    rounds = Rounds(lanes_to, three.urls, ids=IDS)
    rounds.peers = [rounds.peers[0], rounds.peers[2]]

    await rounds.round()

    assert three.shards.keys() == {"11", "22", "33"}
    assert [seen.key for seen in three.seen if seen.step == "create key"] == ["33"]
    assert [seen.key for seen in three.seen if seen.step == "delete key"] == ["99"]
    assert rounds.failures() == {}


async def test_the_key_of_a_peer_that_leaves_while_we_run_is_deleted(
    three: Played, lanes_to: LanesTo
) -> None:
    """Else its shard would stay for ever, and be in the way of the next peer's removal."""
    rounds = Rounds(lanes_to, three.urls, ids=IDS)
    await rounds.round()
    gone = rounds.peers.pop()
    rounds.listed -= {gone.peer_id or 0}

    await rounds.round()

    assert three.shards.keys() == {"11", "22"}
    assert rounds.failures() == {}


async def test_a_peer_that_joins_while_we_run_gets_its_key(three: Played, lanes_to: LanesTo) -> None:
    """And is then a part of every round."""
    rounds = Rounds(lanes_to, three.urls, ids=IDS)
    joins = rounds.peers.pop()
    await rounds.round()
    assert three.shards.keys() == {"11", "22"}

    rounds.peers.append(joins)
    await rounds.round()

    assert three.shards.keys() == {"11", "22", "33"}
    assert rounds.failures() == {}
    assert rounds.timed("c") == dict.fromkeys(TIMED, 1)


async def test_left_overs_are_removed_under_every_key(three: Played, lanes_to: LanesTo) -> None:
    """Each peer's own, as in a lone server."""
    three.config = dict(WITH_CUSTOM_SHARDING)
    now = time.time()
    for one in IDS:
        three.hold(
            str(one),
            peer_id=one,
            mine={"instance": MINE, "written_at": now},
            fresh={"instance": ANOTHER, "written_at": now},
            old={"instance": ANOTHER, "written_at": now - LEFT_OVER_SECONDS - 60},
        )
    rounds = Rounds(lanes_to, three.urls, ids=IDS)

    await rounds.round()

    assert [set(shard.points) for shard in three.shards.values()] == [{"fresh"}] * 3


async def test_a_collection_from_before_there_was_a_cluster_is_made_anew(
    three: Played, lanes_to: LanesTo
) -> None:
    """It has no keys; in it lie points of nobody."""
    three.config = dict(PLAIN)
    three.hold(None)
    rounds = Rounds(lanes_to, three.urls, ids=IDS)

    await rounds.round()

    assert three.steps("describe", "drop", "create") == ["describe", "drop", "create"]
    assert three.shards.keys() == {"11", "22", "33"}
    assert rounds.failures() == {}


async def test_a_collection_from_a_cluster_is_made_anew_on_a_server_alone(
    lone: Played, lanes_to: LanesTo
) -> None:
    """Restored from a snapshot, say."""
    lone.config = dict(WITH_CUSTOM_SHARDING)
    lone.hold("11", peer_id=11)
    rounds = Rounds(lanes_to, lone.urls)

    await rounds.round()

    assert lone.steps("drop", "create") == ["drop", "create"]
    assert lone.shards.keys() == {None}
    assert rounds.failures() == {}


async def test_a_key_that_another_daemon_makes_in_the_same_moment_is_as_good(
    three: Played, lanes_to: LanesTo
) -> None:
    """Two daemons start together: the second is told that the key exists, and goes on in the next round."""
    rounds = Rounds(lanes_to, three.urls, ids=IDS)
    others = Rounds(lanes_to, three.urls, ids=IDS, instance=ANOTHER)

    await asyncio.gather(rounds.round(), others.round())
    await asyncio.gather(rounds.round(), others.round())

    assert three.shards.keys() == {"11", "22", "33"}
    assert (rounds.trouble, others.trouble) == ("", "")
    assert min(rounds.timed()[Phase.GONE], others.timed()[Phase.GONE]) >= 1
    for one in (rounds, others):
        assert {phase for _, phase in one.failures()} <= {Phase.PREPARE}


async def test_more_peers_than_points_at_once_all_get_their_turn(lanes_to: LanesTo) -> None:
    """Each point is looked for three times on every peer, so that a large cluster takes a while."""
    under_way: set[str] = set()
    most = 0

    def began(seen: Seen) -> None:
        nonlocal most
        under_way.add(seen.key or "")
        most = max(most, len(under_way))

    def ended(seen: Seen) -> None:
        if "points" in seen.body:
            under_way.discard(seen.key or "")

    async with Played(2 * POINTS_AT_ONCE) as cluster:
        for peer in range(2 * POINTS_AT_ONCE):
            cluster.says[peer, "write"] = began
            cluster.says[peer, "delete"] = ended
        rounds = Rounds(lanes_to, cluster.urls, ids=range(1, 2 * POINTS_AT_ONCE + 1))

        await rounds.round()

    assert most == POINTS_AT_ONCE
    assert rounds.failures() == {}
    assert all(rounds.timed(label) == dict.fromkeys(TIMED, 1) for label in "abcdef"[: 2 * POINTS_AT_ONCE])


# Which peers a round goes through


class Told:
    """What is known of a watched cluster, as a test tells it."""

    def __init__(self, *targets: ProbeTarget, listed: frozenset[int] | None = ALONE) -> None:
        self.targets = targets
        self.listed = listed

    def news(self) -> int:
        return 0

    def probe_targets(self) -> Sequence[ProbeTarget]:
        return self.targets

    def peers_listed(self) -> frozenset[int] | None:
        return self.listed

    def collections_to_probe(self) -> Sequence[str]:
        return ()

    def collection_seen(self, name: str) -> CollectionSeen | None:
        return None

    def points_of(self, name: str) -> float | None:
        return None

    def state_of(self, name: str) -> None:
        return None

    def segments_of(self, name: str) -> Sequence[tuple[int, ShardSegmentsSeen]] | None:
        return None


def target_of(lanes: Lanes, label: str, *, up: bool | None = True, peer_id: int | None = None) -> ProbeTarget:
    return ProbeTarget(label, up, version=None, peer_id=peer_id, lanes=lanes, writing=lanes)


def rounds_of(known: Told) -> CanaryRounds:
    """The rounds of the canary in a cluster of which this is known."""
    canary = Canary(instance=MINE, deadline_seconds=DEADLINE_SECONDS, clock=LoopClock())
    rounds = CanaryRounds(cluster="default", canary=canary, known=known)
    rounds.keep([target.label for target in known.targets])
    return rounds


async def test_a_round_goes_through_every_peer_that_is_not_known_to_be_down(lanes_to: LanesTo) -> None:
    """Before its first poll it is not known; where a peer has not told its id there is no key for it."""
    lanes = lanes_to("http://127.0.0.1:1")
    known = Told(
        target_of(lanes, "up", peer_id=11),
        target_of(lanes, "down", up=False, peer_id=22),
        target_of(lanes, "new", up=None, peer_id=33),
        target_of(lanes, "unnamed", up=None),
        listed=frozenset({11, 22, 33, 44}),
    )

    assert [target.label for target in rounds_of(known).targets()] == ["up", "new"]


async def test_of_servers_without_peers_the_first_that_is_up_is_asked(lanes_to: LanesTo) -> None:
    """They would share nothing."""
    lanes = lanes_to("http://127.0.0.1:1")
    several = Told(target_of(lanes, "a", up=False), target_of(lanes, "b"), target_of(lanes, "c"))

    assert [target.label for target in rounds_of(several).targets()] == ["b"]
    assert list(rounds_of(Told(target_of(lanes, "a", up=False))).targets()) == []


async def test_no_round_goes_before_it_is_known_whether_the_peer_has_others_beside_it(
    lanes_to: LanesTo,
) -> None:
    """The collection's shape hangs on that: as a server alone it would have it made anew without keys."""
    known = Told(target_of(lanes_to("http://127.0.0.1:1"), "a", peer_id=11), listed=None)

    assert list(rounds_of(known).targets()) == []


async def test_a_cluster_of_one_peer_has_no_keys(lone: Played, lanes_to: LanesTo) -> None:
    """Its own id is listed, and there is nowhere else to be."""
    known = Told(target_of(lanes_to(lone.urls[0]), "a", peer_id=7), listed=frozenset({7}))
    rounds = rounds_of(known)

    made = await rounds.run(rounds.targets())

    assert made.cost_seconds.keys() == {"a"}
    assert lone.shards.keys() == {None}


async def test_a_round_that_is_due_while_one_is_under_way_is_skipped(lone: Played, lanes_to: LanesTo) -> None:
    """Two at once would remove each other's points as left-overs."""
    known = Told(target_of(lanes_to(lone.urls[0]), "a"))
    lone.delays[0, "write"] = 0.1
    rounds = rounds_of(known)

    running = asyncio.create_task(rounds.run(rounds.targets()))
    await asyncio.sleep(0)
    meanwhile = rounds.targets()
    await running

    assert list(meanwhile) == []
    assert [target.label for target in rounds.targets()] == ["a"]
    skipped = {
        reading.labels[-1]: reading.value
        for reading in rounds.readings(60.0)
        if reading.spec.name == "qdrantx_probes_skipped_total"
    }
    assert skipped == {Skip.BUDGET: 0, Skip.CONCURRENCY: 1, Skip.BACKOFF: 0, Skip.LATE: 0}
