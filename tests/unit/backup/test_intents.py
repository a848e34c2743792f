"""What earlier runs left on the servers, cleared up by the next one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from exporter.backup.intents import Reconciled, reconcile
from exporter.backup.words import BackupIntent, PeerIntent
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import CLUSTER, FAST, Ground, ground_of

ID = "20270115T080000Z-00000a"
ASKED_AT = 1_800_000_000.0


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    """Three peers and a collection."""
    async with ground_of(SnapshotCluster()) as made:
        made.cluster.create("docs", points(60), shard_number=3)
        yield made


def snapshot_name(ground: Ground, peer: int, *, after_seconds: float) -> str:
    """Name a snapshot that began so long after we asked."""
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(ASKED_AT + after_seconds))
    return f"docs-{ground.cluster.ids[peer]}-{stamp}.snapshot"


async def left(ground: Ground, *parts: PeerIntent, collection: str = "docs") -> None:
    """Let a run have been killed that had asked so far."""
    await ground.shelf.save_intent(BackupIntent(ID, CLUSTER, collection, ASKED_AT, "host process 7", parts))


def part(ground: Ground, peer: int, *listed: str, name: str | None = None, label: str = "") -> PeerIntent:
    """Return what it had asked of a peer."""
    return PeerIntent(label or "abc"[peer], ground.cluster.ids[peer], listed, ASKED_AT, name)


async def cleared(ground: Ground) -> Reconciled:
    """Do what the next run does first."""
    return await reconcile(ground.shelf, ground.peers, cluster=CLUSTER, collection="docs", limits=FAST)


async def test_a_snapshot_whose_name_was_known_is_deleted_and_the_intent_closed(ground: Ground) -> None:
    """Killed between the answer and the deletion."""
    ours, theirs = (snapshot_name(ground, 0, after_seconds=seconds) for seconds in (1, 2))
    ground.cluster.lay_snapshot(0, "docs", ours)
    ground.cluster.lay_snapshot(0, "docs", theirs)
    await left(ground, part(ground, 0, name=ours), part(ground, 1, name="gone.snapshot"))

    result = await cleared(ground)

    assert result == Reconciled(deleted=(ours,))
    assert ground.cluster.snapshots("docs") == [[theirs], [], []]
    assert await ground.shelf.intents() == []


async def test_exactly_one_new_snapshot_of_that_time_is_ours(ground: Ground) -> None:
    """Killed between the request and its answer."""
    old, ours = snapshot_name(ground, 0, after_seconds=-30), snapshot_name(ground, 0, after_seconds=1)
    for name in (old, ours):
        ground.cluster.lay_snapshot(0, "docs", name)
    await left(ground, part(ground, 0, old))

    result = await cleared(ground)

    assert result.deleted == (ours,)
    assert ground.cluster.snapshots("docs")[0] == [old]
    assert await ground.shelf.intents() == []


async def test_two_new_snapshots_of_that_time_are_reported_and_stay(ground: Ground) -> None:
    """Nobody can say which is ours, and no later look will: the intent is closed."""
    names = tuple(snapshot_name(ground, 0, after_seconds=seconds) for seconds in (1, 2))
    for name in names:
        ground.cluster.lay_snapshot(0, "docs", name)
    await left(ground, part(ground, 0))

    result = await cleared(ground)

    assert result == Reconciled(unclaimed=names)
    assert ground.cluster.snapshots("docs")[0] == list(names)
    assert await ground.shelf.intents() == []


@pytest.mark.parametrize("after_seconds", [-3_600, 3_600])
async def test_a_snapshot_of_another_time_is_not_ours_though_it_is_new(
    ground: Ground, after_seconds: int
) -> None:
    """Ours never came, and a script of somebody's took one an hour later."""
    theirs = snapshot_name(ground, 0, after_seconds=after_seconds)
    ground.cluster.lay_snapshot(0, "docs", theirs)
    await left(ground, part(ground, 0))

    assert await cleared(ground) == Reconciled()
    assert ground.cluster.snapshots("docs")[0] == [theirs]
    assert await ground.shelf.intents() == []


async def test_an_uploaded_file_is_not_ours_though_it_is_new(ground: Ground) -> None:
    """The server names what it takes; this one a person named."""
    ground.cluster.lay_snapshot(0, "docs", "docs-copy.snapshot")
    await left(ground, part(ground, 0))

    assert await cleared(ground) == Reconciled()
    assert ground.cluster.snapshots("docs")[0] == ["docs-copy.snapshot"]


async def test_what_still_runs_keeps_the_intent_open_for_the_next_time(ground: Ground) -> None:
    """A snapshot goes on when nobody waits for it any more."""
    await left(ground, part(ground, 0))
    ground.cluster.peers[0].running["docs"] = 1

    result = await cleared(ground)

    assert result.open == ("a still takes a snapshot",)
    assert len(await ground.shelf.intents()) == 1

    ground.cluster.peers[0].running["docs"] = 0
    ours = snapshot_name(ground, 0, after_seconds=1)
    ground.cluster.lay_snapshot(0, "docs", ours)
    assert (await cleared(ground)).deleted == (ours,)
    assert await ground.shelf.intents() == []


async def test_a_peer_that_does_not_answer_keeps_its_part_open_and_no_other(ground: Ground) -> None:
    """The others are cleared up now."""
    ours = [snapshot_name(ground, peer, after_seconds=1) for peer in (0, 1)]
    for peer in (0, 1):
        ground.cluster.lay_snapshot(peer, "docs", ours[peer])
    await left(ground, part(ground, 0, name=ours[0]), part(ground, 1, name=ours[1]))
    await ground.cluster.kill(1)

    result = await cleared(ground)

    assert result.deleted == (ours[0],)
    assert len(result.open) == 1
    (intent,) = await ground.shelf.intents()
    assert [one.peer for one in intent.peers] == ["b"]

    await ground.cluster.revive(1)
    assert (await cleared(ground)).deleted == (ours[1],)
    assert await ground.shelf.intents() == []


async def test_a_peer_is_known_by_its_id_under_another_label(ground: Ground) -> None:
    """The daemon and a person at a terminal may call it differently."""
    ours = snapshot_name(ground, 1, after_seconds=1)
    ground.cluster.lay_snapshot(1, "docs", ours)
    await left(ground, part(ground, 1, name=ours, label="qdrant-1"))

    assert (await cleared(ground)).deleted == (ours,)


async def test_a_label_that_is_another_peer_s_now_is_not_believed(ground: Ground) -> None:
    """It was replaced: what is on the new one is not ours, and the old one left the cluster."""
    theirs = snapshot_name(ground, 0, after_seconds=1)
    ground.cluster.lay_snapshot(0, "docs", theirs)
    await left(ground, PeerIntent("a", 12_345, (), ASKED_AT, theirs))

    assert await cleared(ground) == Reconciled()
    assert ground.cluster.snapshots("docs")[0] == [theirs]
    assert await ground.shelf.intents() == []


async def test_a_peer_of_the_cluster_whose_url_is_not_given_keeps_its_part_open(ground: Ground) -> None:
    """It may be there, and nobody asked it."""
    ours = snapshot_name(ground, 2, after_seconds=1)
    ground.cluster.lay_snapshot(2, "docs", ours)
    await left(ground, part(ground, 2, name=ours))
    ground.peers = ground.peers[:2]

    result = await cleared(ground)

    assert result.open == ("c is not among the peers that answer",)
    assert len(await ground.shelf.intents()) == 1


async def test_a_collection_that_is_gone_leaves_nothing_to_do(ground: Ground) -> None:
    """Its list of snapshots is a 404 then."""
    await left(ground, part(ground, 0, name=snapshot_name(ground, 0, after_seconds=1)))
    ground.cluster.world.delete("docs")

    assert await cleared(ground) == Reconciled()
    assert await ground.shelf.intents() == []


async def test_intents_of_other_collections_and_clusters_are_not_touched(ground: Ground) -> None:
    """Their locks are not ours: a run may be alive."""
    await left(ground, part(ground, 0, name="x.snapshot"), collection="other")

    assert await cleared(ground) == Reconciled()
    assert len(await ground.shelf.intents()) == 1


async def test_a_server_without_a_cluster_is_known_by_its_label() -> None:
    """It has no id."""
    async with ground_of(SnapshotCluster(standalone=True)) as ground:
        ground.cluster.create("docs", points(6))
        ours = snapshot_name(ground, 0, after_seconds=1)
        ground.cluster.lay_snapshot(0, "docs", ours)
        await left(ground, PeerIntent("a", None, (), ASKED_AT, ours))

        assert (await cleared(ground)).deleted == (ours,)
