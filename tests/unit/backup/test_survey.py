"""A collection as all its peers show it: recorded answers of real servers, and scripted peers."""

from __future__ import annotations

from dataclasses import replace

from exporter.backup.survey import joined, schema_of_archive
from exporter.backup.words import KeyLayout
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import ground_of
from tests.unit.backup.recorded import survey, view

PEERS = {"peer0": 392660894735341, "peer1": 3791264816499452, "peer2": 2386962488601729}


def test_a_healthy_collection_has_all_replicas_whole() -> None:
    """Six shards with two replicas each: every one Active, loaded and counted."""
    seen = survey("02_healthy", "rf2")

    assert [layout.shard for layout in seen.shards] == [0, 1, 2, 3, 4, 5]
    replicas = [replica for layout in seen.shards for replica in layout.replicas]
    assert len(replicas) == 12
    assert all(replica.is_whole for replica in replicas)
    assert all(PEERS[str(replica.peer)] == replica.node for replica in replicas)
    assert [layout.replicas[0].points for layout in seen.shards] == [3334, 3110, 2746, 3509, 3466, 3835]
    assert len(seen.op_numbers) == 12
    assert seen.versions == dict.fromkeys(PEERS, "1.18.3")
    assert seen.uuid is not None
    assert (seen.transfers, seen.resharding, seen.busy, seen.missing) == ((), False, None, ())
    assert seen.peers_holding() == ("peer0", "peer1", "peer2")


def test_shard_keys_come_with_their_shards() -> None:
    """Each of the three keys has a shard of its own."""
    seen = survey("02_healthy", "custom")

    assert seen.keys == (KeyLayout("de", (1,)), KeyLayout("en", (2,)), KeyLayout("fr", (3,)))
    assert [(layout.shard, layout.key) for layout in seen.shards] == [(1, "de"), (2, "en"), (3, "fr")]


def test_a_dead_peer_s_replicas_say_active_and_are_not_relied_on() -> None:
    """Nobody wrote since it died, so consensus calls them Active; who did not answer shows no data."""
    seen = survey("04_peer2_killed_9s", "rf2", peers=(0, 1))

    lost = [replica for layout in seen.shards for replica in layout.replicas if replica.peer is None]
    assert {replica.node for replica in lost} == {PEERS["peer2"]}
    assert {replica.state for replica in lost} == {"Active"}
    assert not any(replica.is_whole for replica in lost)
    assert all(any(replica.is_whole for replica in layout.replicas) for layout in seen.shards)


def test_replicas_that_writes_passed_by_are_dead() -> None:
    """After a write the cluster knows."""
    seen = survey("06_peer2_down_after_writes", "rf2", peers=(0, 1))

    states = {replica.node: replica.state for layout in seen.shards for replica in layout.replicas}
    assert states == {PEERS["peer0"]: "Active", PEERS["peer1"]: "Active", PEERS["peer2"]: "Dead"}


def test_a_peer_without_a_replica_holds_nothing() -> None:
    """Its shards moved away."""
    assert survey("17_all_back", "rf1").peers_holding() == ("peer1", "peer2")


def test_a_shard_that_did_not_load_is_not_whole() -> None:
    """It says green and Active; only its variant tells."""
    seen = joined("binary", views=[view("v1.18.3/single/broken_shard", "binary", "one")])

    (replica,) = seen.shards[0].replicas
    assert (replica.state, replica.loaded, replica.is_whole) == ("Active", False, False)
    assert not seen.in_cluster


def test_a_state_that_one_peer_sees_otherwise_is_not_active() -> None:
    """One that lags behind consensus, or is ahead of the others."""
    healthy = survey("02_healthy", "rf2")
    later = survey("06_peer2_down_after_writes", "rf2", peers=(0, 1))

    mixed = joined("rf2", views=[healthy.views[2], *later.views])

    on_peer2 = [replica for layout in mixed.shards for replica in layout.replicas if replica.peer == "peer2"]
    assert len(on_peer2) == 4
    assert not any(replica.is_whole for replica in on_peer2)


def test_a_shard_that_was_lost_with_its_last_peer_is_still_a_shard() -> None:
    """Only telemetry shows it, without a replica."""
    seen = survey("02_healthy", "rf1")
    without = [
        replace(
            view,
            placement=None
            if view.placement is None
            else type(view.placement)(peer_id=view.placement.peer_id, shard_count=3),
        )
        for view in seen.views
    ]

    lost = joined("rf1", views=without)

    assert [(layout.shard, layout.replicas) for layout in lost.shards] == [(0, ()), (1, ()), (2, ())]


def test_the_indexes_of_an_archive_read_like_the_server_s() -> None:
    """As written by 1.18.3 for three indexes."""
    index = {
        "schema": {
            "k": {"type": "keyword", "is_tenant": True},
            "n": "integer",
            "t": {"type": "text", "tokenizer": "word", "lowercase": True},
        }
    }

    assert schema_of_archive(index) == {
        "k": {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": True}},
        "n": {"data_type": "integer"},
        "t": {"data_type": "text", "params": {"type": "text", "tokenizer": "word", "lowercase": True}},
    }
    assert schema_of_archive({}) == {}


async def test_every_peer_is_asked_and_one_that_fails_is_missing_with_its_reason() -> None:
    """Refusals, HTML and silence are all no answer; they raise nothing."""
    async with ground_of(SnapshotCluster()) as ground:
        ground.cluster.create("docs", points(60), shard_number=3, replication_factor=2)
        await ground.cluster.kill(1)
        ground.cluster.knobs.fail("GET", "/telemetry", 403, peer=2, text="Forbidden")

        seen = await ground.look()

        assert [view.label for view in seen.views] == ["a"]
        assert [peer.label for peer in seen.missing] == ["b", "c"]
        assert "Connection refused" in seen.missing[0].reason
        assert "403" in seen.missing[1].reason


async def test_what_is_under_way_is_told_with_its_peer() -> None:
    """Somebody's snapshot, then an optimizer."""
    async with ground_of(SnapshotCluster()) as ground:
        ground.cluster.create("docs", points(60), shard_number=3)
        assert (await ground.look()).busy is None

        ground.cluster.peers[1].running["docs"] = 1
        assert (await ground.look()).busy == "a snapshot is taken on b"

        ground.cluster.peers[1].running["docs"] = 0
        shard, on = next(iter(ground.cluster.counts("docs").items()))
        ground.cluster.replica("docs", shard, next(iter(on))).status = "yellow"
        assert (await ground.look()).busy == f"an optimizer runs on {'abc'[next(iter(on))]}"


async def test_a_collection_that_is_nowhere_does_not_exist() -> None:
    """And neither does an alias, which is none."""
    async with ground_of(SnapshotCluster()) as ground:
        ground.cluster.create("docs", points(6))
        ground.cluster.world.aliases["current"] = "docs"

        assert not (await ground.look("nosuch")).exists
        assert not (await ground.look("current")).exists
        assert (await ground.look()).aliases == ("current",)
