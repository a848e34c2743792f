"""The scripted cluster plays what was recorded, so that tests may rely on it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.kit.recordings import recording
from tests.kit.scripted import (
    CONSENSUS_STOPPED,
    NO_QUORUM,
    PEER_1_FROZEN,
    PEER_2_DEAD_FOR_9S,
    RECOVERED,
    ScriptedCluster,
    local_shard,
)


async def asked(url: str, path: str, *, seconds: float = 1.0) -> tuple[int, object]:
    """Return status and decoded body of one GET on a fresh connection."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}{path}") as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.text()


async def test_each_peer_answers_as_recorded(scripted_cluster: ScriptedCluster) -> None:
    """Telemetry, quotas and an unknown route of each peer are what that peer said."""
    for peer, url in enumerate(scripted_cluster.urls):
        status, body = await asked(url, "/telemetry?details_level=3&timeout=2")

        assert status == 200
        assert body == recording(f"v1.18.3/cluster/02_healthy/peer{peer}/telemetry_3").json
        assert await asked(url, "/quotas") == (404, "")
        assert await asked(url, "/no/such/route") == (404, "")


async def test_a_dead_peer_refuses_connections_and_comes_back_under_its_url(
    scripted_cluster: ScriptedCluster,
) -> None:
    """Death closes the socket, and the living answer what they said while it was dead."""
    url = scripted_cluster.urls[2]
    await scripted_cluster.play(PEER_2_DEAD_FOR_9S)

    with pytest.raises(aiohttp.ClientConnectorError):
        await asked(url, "/healthz")
    status, _ = await asked(scripted_cluster.urls[0], "/collections/rf2/memory")
    assert status == 500

    await scripted_cluster.play(RECOVERED)
    assert await asked(url, "/healthz") == (200, "healthz check passed")


async def test_a_frozen_peer_is_silent_and_makes_others_late_only_where_they_need_it() -> None:
    """Local calls of the others answer at once; those that reach the frozen peer answer late, with 408."""
    async with ScriptedCluster(stage=PEER_1_FROZEN, frozen_answer_seconds=0.3) as cluster:
        with pytest.raises(TimeoutError):
            await asked(cluster.urls[1], "/healthz", seconds=0.2)
        for url in (cluster.urls[0], cluster.urls[2]):
            status, _ = await asked(url, "/telemetry?details_level=3", seconds=0.2)
            assert status == 200

            began = asyncio.get_running_loop().time()
            status, _ = await asked(url, "/collections/rf2/optimizations?with=queued")
            assert status == 408
            assert asyncio.get_running_loop().time() - began >= 0.3


async def test_without_quorum_one_peer_answers_and_knows_no_leader() -> None:
    """Two sockets are closed, and the third says leader 0."""
    async with ScriptedCluster(stage=NO_QUORUM) as cluster:
        _, body = await asked(cluster.urls[0], "/cluster")

        assert body["result"]["raft_info"]["leader"] == 0  # type: ignore[index]
        assert [server.running for server in cluster.servers] == [True, False, False]


async def test_every_peer_reports_stopped_consensus() -> None:
    """In recording 18 all three say stopped_with_err."""
    async with ScriptedCluster(stage=CONSENSUS_STOPPED) as cluster:
        for url in cluster.urls:
            _, body = await asked(url, "/cluster")

            thread = body["result"]["consensus_thread_status"]  # type: ignore[index]
            assert thread["consensus_thread_status"] == "stopped_with_err"


async def test_one_replica_can_hold_fewer_points_than_its_twin(scripted_cluster: ScriptedCluster) -> None:
    """Only the altered replica differs from the recording, at every level of telemetry."""
    scripted_cluster.set_points(1, "rf3", 0, 17)

    for level in (3, 4):
        _, altered = await asked(scripted_cluster.urls[1], f"/telemetry?details_level={level}")
        _, untouched = await asked(scripted_cluster.urls[0], f"/telemetry?details_level={level}")
        assert local_shard(altered, "rf3", 0)["num_points"] == 17
        assert local_shard(untouched, "rf3", 0)["num_points"] == 3000


async def test_spread_hosts_put_the_peers_where_their_uris_say() -> None:
    """Who reads /cluster of one peer finds the others by host on the same port."""
    async with ScriptedCluster(spread_hosts=True) as cluster:
        _, body = await asked(cluster.urls[0], "/cluster")

        uris = {peer["uri"] for peer in body["result"]["peers"].values()}  # type: ignore[index]
        assert uris == {f"{url}/" for url in cluster.urls}
