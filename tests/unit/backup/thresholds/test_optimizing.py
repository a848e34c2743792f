"""What peers say of their optimizers, joined: recorded servers, and what counts as quiet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from exporter.backup.thresholds.optimizing import Optimizing, PeerWork, SegmentSeen, work_of
from exporter.observe.sources.segments import reclaimable_bytes
from exporter.qdrant.kept_segments import read_segments
from exporter.qdrant.payloads import Segment, SegmentInfo
from tests.kit.recordings import recording
from tests.unit.backup.thresholds.scene import DELETED, LIVE, Scene, scene_of

VACUUM = "v1.18.3/single/vacuum"


def work(name: str, collection: str = "docs", label: str = "a") -> PeerWork:
    """Read a recording as one peer's word."""
    return work_of(label, read_segments(recording(name).body, collection))


def alone(name: str, collection: str = "docs", queued: int | None = 0) -> Optimizing:
    """Join what one recorded server said."""
    return Optimizing(collection, (work(name, collection),), {}, queued)


def segment(**changed: object) -> SegmentSeen:
    """Return a segment of 100 points, of which 20 are deleted."""
    of = SegmentSeen("a", 0, "u", "indexed", 80, 20, 8_000, 800, {"": (100, 100)})
    return replace(of, **changed)  # type: ignore[arg-type]


def test_a_server_at_rest_is_quiet_and_one_that_optimizes_says_what() -> None:
    """Before and after a vacuum, and while something runs."""
    assert alone(f"{VACUUM}/after.telemetry_4").is_quiet
    assert alone(f"{VACUUM}/patch_while_running.telemetry_4").why_not_quiet == "indexing runs on a, shard 0"


def test_a_server_that_was_restarted_is_grey_and_its_queue_waits_for_nobody_else() -> None:
    """A PATCH wakes it, and cancels nothing."""
    seen = alone("v1.18.3/single/restarted/telemetry_4", "docs", queued=1)

    assert seen.is_grey
    assert seen.is_quiet


def test_what_waits_where_all_is_green_is_about_to_run() -> None:
    """Seen for some milliseconds after a PATCH."""
    assert alone(f"{VACUUM}/after.telemetry_4", queued=1).why_not_quiet == "1 optimizations wait"


def test_what_nobody_says_is_not_taken_for_nothing() -> None:
    """Not where the version could say it; before 1.17 the statuses of shards are all there is."""
    seen = alone(f"{VACUUM}/after.telemetry_4", queued=None)

    assert seen.why_not_quiet == "no peer says what waits to be optimized"
    assert alone("v1.16.3/single/vacuum/after.telemetry_4", queued=None).is_quiet


def test_three_recorded_peers_are_joined_by_their_replicas() -> None:
    """A peer whose URL was not given is seen by the replicas that lie on it."""
    folder = "v1.18.3/cluster/02_healthy"
    works = tuple(work(f"{folder}/peer{number}/telemetry_4", "rf3", f"peer{number}") for number in range(3))
    whole = Optimizing("rf3", works, {}, 0)
    part = Optimizing("rf3", works[:2], {}, 0)

    assert whole.is_quiet
    assert whole.values_of("deleted_threshold") == {0.2}
    assert part.unseen == (works[2].node,)
    assert not part.is_quiet
    assert Optimizing("rf3", works[:2], {"peer2": "down"}, 0).why_not_quiet == "peer2 does not answer: down"


def test_a_segment_tells_what_a_rebuild_frees_as_the_metric_does() -> None:
    """The same formula in both places."""
    told = Segment(SegmentInfo(80, num_deleted_vectors=20, vectors_size_bytes=8_000, payloads_size_bytes=800))

    assert segment().reclaimable_bytes == reclaimable_bytes(told) == 2_200
    assert segment(live=0).reclaimable_bytes == 0
    assert (segment().ratio, segment().total) == (0.2, 100)
    assert segment(live=0, deleted=0).ratio == 0


@pytest.mark.parametrize(
    ("vectors", "worst"),
    [
        ({}, 0.2),
        ({"": (100, 100)}, 0.2),
        ({"": (100, 0)}, 0.2),
        ({"a": (100, 100), "b": (30, 60)}, 0.5),
        ({"a": (95, 100)}, 0.2),
    ],
)
def test_the_worst_ratio_is_of_points_or_of_what_an_index_holds_in_vain(
    vectors: dict[str, tuple[int, int]], worst: float
) -> None:
    """A vacuum goes by both."""
    assert segment(vectors=vectors).worst_ratio == worst


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Three peers with a replica each."""
    async with scene_of() as made:
        yield made


async def test_all_peers_are_asked_and_one_of_them_for_the_queue(scene: Scene) -> None:
    """The server would ask all of them for it."""
    seen = await scene.look()

    assert {peer.label for peer in seen.holders} == {"a", "b", "c"}
    assert (seen.queued, seen.silent, seen.is_quiet) == (0, {}, True)
    assert seen.uuid == scene.cluster.world.named("docs").uuid
    assert [(one.live, one.deleted) for one in seen.segments if one.total] == [(LIVE, DELETED)] * 3
    assert sum("optimizations" in line for line in scene.cluster.lines()) == 1


async def test_a_queue_that_nobody_tells_is_unknown(scene: Scene) -> None:
    """Each peer is asked for it, and what nobody tells is not nothing."""
    scene.cluster.knobs.fail("GET", "/optimizations", 500, times=9)

    seen = await scene.look()

    assert (seen.queued, seen.is_quiet) == (None, False)
    assert sum("optimizations" in line for line in scene.cluster.lines()) == 3


async def test_while_a_peer_is_silent_the_queue_is_not_asked_for(scene: Scene) -> None:
    """The server would wait for it."""
    await scene.cluster.kill(1)

    seen = await scene.look()

    assert set(seen.silent) == {"b"}
    assert seen.exists
    assert not seen.is_gone
    assert not any("optimizations" in line for line in scene.cluster.lines())


async def test_a_collection_that_nobody_has_is_gone(scene: Scene) -> None:
    """Where all answered."""
    scene.cluster.world.delete("docs")
    assert (await scene.look()).is_gone
    await scene.cluster.kill(0)
    assert not (await scene.look()).is_gone
    for peer in (1, 2):
        await scene.cluster.kill(peer)

    assert not (await scene.look()).is_gone
