"""What a key may do is found out by questions that change nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from exporter.backup.survey import PeerAt
from exporter.clock import SystemClock
from exporter.jobs.rights import CHANGES, MANAGES, READS, SNAPSHOTS, WATCHES, Rights, rights
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.snapshot_cluster import SnapshotCluster

ALL = (READS, WATCHES, SNAPSHOTS, MANAGES, CHANGES)


@pytest.fixture
async def cluster() -> AsyncIterator[SnapshotCluster]:
    async with SnapshotCluster() as made:
        made.knobs.api_key, made.knobs.read_only_key = "full", "reader"
        yield made


async def found(cluster: SnapshotCluster, key: str | None) -> Rights:
    """Ask with a key."""
    peers = [
        PeerAt(f"p{number}", url, Courier(Door(url=url, api_key=key), SystemClock()))
        for number, url in enumerate(cluster.urls)
    ]
    try:
        return await rights(ALL, peers)
    finally:
        for peer in peers:
            await peer.courier.close()


async def test_a_full_key_may_do_everything(cluster: SnapshotCluster) -> None:
    """And nothing was changed by asking."""
    assert await found(cluster, "full") == Rights(known=True)

    assert cluster.world.collections == {}
    assert cluster.world.aliases == {}


async def test_a_read_only_key_may_not_take_snapshots_nor_manage(cluster: SnapshotCluster) -> None:
    """Each right that is missing is named."""
    missing = (SNAPSHOTS.words, MANAGES.words, CHANGES.words)

    assert await found(cluster, "reader") == Rights(known=True, missing=missing)


async def test_no_key_may_nothing(cluster: SnapshotCluster) -> None:
    """401 is no right either."""
    assert await found(cluster, None) == Rights(known=True, missing=tuple(need.words for need in ALL))


async def test_a_peer_that_cannot_say_is_passed_over(cluster: SnapshotCluster) -> None:
    """Dead, busy or broken: another one knows."""
    await cluster.kill(0)
    cluster.knobs.fail("POST", "_qdrantx_rights", 429, peer=1, headers={"Retry-After": "1"})

    assert await found(cluster, "full") == Rights(known=True)


async def test_where_no_peer_answers_nothing_is_known(cluster: SnapshotCluster) -> None:
    """It is asked again later, and no job is called failing for it."""
    for number in range(3):
        await cluster.kill(number)

    assert await found(cluster, "full") == Rights(known=False)
