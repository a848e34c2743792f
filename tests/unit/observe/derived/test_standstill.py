"""A yellow collection in which nothing moves, told from one that is worked on."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.model import Observation, ProducerKey
from exporter.observe.sources import segments
from exporter.observe.sources.optimizations import ProgressSeen, QueueSeen, seen_of
from exporter.observe.sources.remembered import Remembered
from tests.kit.derivation import CLUSTER, Deployment, body_of, series
from tests.kit.recordings import recording

PEER = "qdrant:6333"
GREEN = "v1.18.3/single/green"
BEFORE_SNAPSHOTS_WERE_TOLD = "v1.12.6/single/green"
STALLED = "collection_indexing_stalled{collection=docs}"
MERGE = {"name": "merge", "status": "optimizing", "start_at": "2026-11-23T01:40:00Z", "uuid": "m"}
GRAPH_STARTED = "2026-11-23T01:41:00Z"


def docs_of(answer: Any) -> Any:
    """Return the collection "docs" of an answer of telemetry."""
    return next(one for one in answer["result"]["collections"]["collections"] if one["id"] == "docs")


class Site:
    """One server whose collection "docs" is yellow with nothing lagging and nothing running."""

    def __init__(self, state: str = GREEN, levels: tuple[int, int] = (3, 4)) -> None:
        self.deployment = Deployment({PEER: None})
        self.brief, self.whole = (recording(f"{state}/telemetry_{level}").json for level in levels)
        self.status("yellow")

    def _shards(self) -> list[Any]:
        return [shard["local"] for answer in (self.brief, self.whole) for shard in docs_of(answer)["shards"]]

    def status(self, status: str) -> None:
        """The optimizer says so from now on."""
        for local in self._shards():
            local["status"] = status

    def points(self, points: int) -> None:
        """So many points are there from now on."""
        for local in self._shards():
            local["num_points"] = points

    def runs(self, *runs: Any) -> None:
        """The optimizer's log tells these from now on."""
        docs_of(self.whole)["shards"][0]["local"]["optimizations"]["log"] = list(runs)

    def snapshots(self, running: int) -> None:
        """So many snapshots are being made from now on."""
        told = self.brief["result"]["collections"]["snapshots"]
        next(one for one in told if one["id"] == "docs")["running_snapshots"] = running

    def queue(self, queue: QueueSeen) -> None:
        """The optimizers' queue is told, as far as it is asked for."""
        self.deployment.tell(PEER, "optimizations", seen_of({"docs": queue}))

    def look(self, queue: QueueSeen | None = None) -> float | None:
        """Poll all and return what is told: 1 stalled, 0 not, None nothing."""
        self.deployment.telemetry(PEER, self.brief)
        self.deployment.segments(PEER, self.whole)
        if queue is not None:
            self.queue(queue)
        return self.deployment.readings().get(STALLED)

    def looks(self, seconds: float, queue: QueueSeen | None = None) -> list[float | None]:
        """Look every 15 s for so long and return what was told, without repetitions."""
        told: list[float | None] = []
        for _ in range(int(seconds / 15)):
            self.deployment.clock.advance(15)
            now = self.look(queue)
            told += [] if told and told[-1] == now else [now]
        return told


@pytest.fixture
def site() -> Site:
    return Site()


def test_yellow_with_nothing_moving_is_stalled_after_ten_minutes_and_not_before(site: Site) -> None:
    """Nothing runs, and what is queued stays queued."""
    queue = QueueSeen(18_000)
    assert site.look(queue) == 0

    assert site.looks(585, queue) == [0]
    assert site.looks(15, queue) == [1]
    assert site.looks(600, queue) == [1]


def test_green_is_not_stalled_however_long_nothing_moves(site: Site) -> None:
    """That is a collection at rest."""
    site.status("green")

    assert site.looks(1200) == [0]


@pytest.mark.parametrize(
    "move",
    [
        lambda site: site.points(99_999),
        lambda site: docs_of(site.whole)["shards"][0]["local"]["segments"].pop(),
        lambda site: site.queue(QueueSeen(1)),
        lambda site: site.runs(MERGE),
    ],
    ids=["points", "segments", "queue", "run"],
)
def test_whatever_moves_begins_the_ten_minutes_anew(site: Site, move: Any) -> None:
    """Also where it moves once and stands still after that."""
    site.look()
    site.looks(300)
    move(site)

    assert site.looks(585) == [0]
    site.runs()
    assert site.looks(900) == [0, 1]


def test_a_moment_of_another_status_begins_the_ten_minutes_anew(site: Site) -> None:
    """Yellow has to last, and not to come again."""
    site.looks(300)
    site.status("green")
    site.looks(15)
    site.status("yellow")

    assert site.looks(600) == [0]
    assert site.looks(15) == [1]


def test_what_moves_ends_a_standstill_at_once(site: Site) -> None:
    """Somebody wrote, and the optimizer took it up."""
    assert site.looks(900)[-1] == 1
    site.points(99_999)

    assert site.looks(15) == [0]


def test_a_snapshot_turns_a_collection_yellow_and_is_no_standstill(site: Site) -> None:
    """However long it takes."""
    site.snapshots(1)
    assert site.looks(3600) == [0]
    site.snapshots(0)

    assert site.looks(600) == [0]
    assert site.looks(15) == [1]


def test_a_transfer_is_no_standstill(site: Site) -> None:
    """A shard that is sent away is yellow through its proxies."""
    docs_of(site.brief)["transfers"] = [{"shard_id": 0, "from": 1, "to": 2}]

    assert site.looks(1200) == [0]


def test_a_run_that_does_not_tell_how_far_it_is_may_take_its_time(site: Site) -> None:
    """A merge of millions of points takes longer than that and counts nothing; before 1.17 no run does."""
    site.runs(MERGE)

    assert site.looks(1200) == [0]
    assert site.looks(1200, QueueSeen(0, (ProgressSeen("m", ()),))) == [0]


def test_a_run_that_tells_that_it_does_not_get_on_is_stalled(site: Site) -> None:
    """A graph of 14,500 points has taken in 7,990 for ten minutes."""
    site.runs(MERGE)
    stuck = QueueSeen(0, (ProgressSeen("m", ((GRAPH_STARTED, 7_990),)),))
    site.look(stuck)

    assert site.looks(585, stuck) == [0]
    assert site.looks(15, stuck) == [1]


def test_a_run_that_tells_that_it_gets_on_is_not_stalled(site: Site) -> None:
    """However slowly."""
    site.runs(MERGE)

    for done in range(5):
        slow = QueueSeen(0, (ProgressSeen("m", ((GRAPH_STARTED, 7_990 + done),)),))
        assert site.looks(585, slow) == [0]


def test_one_run_that_tells_nothing_beside_a_stuck_one_is_the_benefit_of_the_doubt(site: Site) -> None:
    """It may be what gets on."""
    site.runs(MERGE, {**MERGE, "uuid": "n"})
    queue = QueueSeen(0, (ProgressSeen("m", ((GRAPH_STARTED, 7_990),)), ProgressSeen("n", ())))

    assert site.looks(1200, queue) == [0]


def test_where_a_snapshot_cannot_be_told_apart_nothing_is_said_after_ten_minutes() -> None:
    """Before 1.16 telemetry does not tell of snapshots: 1 may be wrong and 0 too."""
    site = Site(BEFORE_SNAPSHOTS_WERE_TOLD, (2, 2))
    site.look()

    assert site.looks(585) == [0]
    assert site.looks(15) == [None]


def test_what_changes_around_a_collection_does_not_begin_its_ten_minutes_anew(site: Site) -> None:
    """Peers come and go, other collections are made."""
    site.looks(300)
    site.deployment.watched["other:6333"] = None
    site.deployment.fail("other:6333", "telemetry")
    site.looks(300)

    assert site.looks(15) == [1]


def test_a_standstill_needs_looks_ten_minutes_apart(site: Site) -> None:
    """Segments are polled rarely where that is dear: one look alone does not see anything stand still."""
    deployment = site.deployment

    def segments_seen_now() -> None:
        deployment.board.put(
            Observation(
                key=ProducerKey(CLUSTER, PEER, "segments"),
                at_seconds=deployment.clock.now(),
                monotonic_seconds=deployment.clock.monotonic(),
                took_seconds=1.0,
                interval_seconds=900.0,
                seen=segments.read(body_of(site.whole), Remembered(endpoint="/telemetry")),
            )
        )

    def status_seen_now() -> float | None:
        deployment.telemetry(PEER, site.brief)
        return deployment.readings().get(STALLED)

    segments_seen_now()
    assert status_seen_now() == 0
    deployment.clock.advance(885)
    assert status_seen_now() == 0
    segments_seen_now()
    assert status_seen_now() == 1


def test_stalled_is_told_once(site: Site) -> None:
    """Whatever it rests on."""
    site.looks(1200)

    told = [series(one) for block in site.deployment.derive().blocks.values() for one in block]
    assert told.count(STALLED) == 1
