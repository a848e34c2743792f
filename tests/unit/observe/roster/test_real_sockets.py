"""The roster beside three listening peers that answer as real ones did, through the real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.observe.roster import ClusterAnswer, Roster, SystemResolver, Target
from exporter.observe.sources import cluster as cluster_source
from exporter.qdrant.gateway import Door, Gateway
from exporter.state import State
from tests.kit.scripted import NO_QUORUM, PEER_2_DEAD_FOR_9S, ScriptedCluster
from tests.unit.observe.roster.saying import cluster, labels


async def ask(target: Target) -> ClusterAnswer:
    """GET /cluster at a target over its own connection, as the app does."""
    gateway = Gateway(
        door=Door(target.url, address=target.address),
        clock=SystemClock(),
        response_limit_bytes=1 << 20,
        fast_seconds=15.0,
    )
    try:
        answer = await gateway.get("/cluster", endpoint="/cluster", deadline_seconds=10.0)
    finally:
        await gateway.close()
    seen = cluster_source.read(answer.body)
    return ClusterAnswer(
        seen.enabled, seen.peer_id, seen.peers, seen.leader, seen.working, seen.term, seen.commit
    )


async def poll(watched: Roster, label: str) -> None:
    target = next(one for one in watched.targets() if one.label == label)
    watched.hear(label, await ask(target), f"process of {label}")


def roster_of(settings: ClusterSettings, *, remembered=()) -> Roster:
    return Roster(settings=settings, clock=SystemClock(), resolve=SystemResolver(), remembered=remembered)


@pytest.fixture
async def spread() -> AsyncIterator[ScriptedCluster]:
    """Three peers on 127.0.0.1, .2 and .3 under one port."""
    async with ScriptedCluster(spread_hosts=True) as peers:
        yield peers


def authorities(peers: ScriptedCluster) -> list[str]:
    return [urlsplit(url).netloc for url in peers.urls]


async def test_one_url_leads_to_all_three_peers(spread: ScriptedCluster) -> None:
    """On their own hosts, under the given port, with the ids that the list promised."""
    watched = roster_of(cluster(spread.urls[0]))
    first = watched.targets()[0].label
    await poll(watched, first)

    await watched.try_candidates(ask)

    assert labels(watched) == authorities(spread)
    assert [one.peer_id for one in watched.targets()] == [spread.peer_id(peer) for peer in range(3)]
    assert watched.unwatched() == ()


async def test_a_dead_peer_is_remembered_across_a_restart_and_forgotten_on_request(
    spread: ScriptedCluster, tmp_path: Path
) -> None:
    """State directory, roster and verb together: the pod that died while we restarted still pages."""
    with closing(State.open(tmp_path, clock=SystemClock())) as state:
        watched = roster_of(cluster(spread.urls[0]))
        first, second, third = authorities(spread)
        await poll(watched, first)
        await watched.try_candidates(ask)
        state.save(watched.changes())
        dead_id = spread.peer_id(2)
        await spread.play(PEER_2_DEAD_FOR_9S)

        again = roster_of(cluster(spread.urls[0]), remembered=state.known_peers("default"))
        assert labels(again) == [first, second, third]
        await poll(again, first)
        await again.try_candidates(ask)
        assert labels(again) == [first, second, third]  # dead, and the cluster still lists it

        with closing(State.open(tmp_path, clock=SystemClock())) as verb:
            verb.request_forget("default", third)
        requests = state.forget_requests()
        forgotten = [again.forget(request.label) for request in requests]
        state.answer(requests)

        assert forgotten == [True]
        await again.try_candidates(ask)
        assert labels(again) == [first, second]
        assert [one.peer_id for one in again.unwatched()] == [dead_id]
        assert "did not answer" in again.unwatched()[0].reason
        state.save(again.changes())
        assert [peer.label for peer in state.known_peers()] == [first, second]


async def test_loss_of_quorum_drops_nobody(spread: ScriptedCluster) -> None:
    """The peer that is left says leader 0 and speaks for no cluster."""
    watched = roster_of(cluster(spread.urls[0]))
    first = watched.targets()[0].label
    await poll(watched, first)
    await watched.try_candidates(ask)

    await spread.play(NO_QUORUM)
    await poll(watched, first)
    await watched.try_candidates(ask)

    assert labels(watched) == authorities(spread)


async def test_three_ports_of_one_host_give_the_advice_to_name_each_peer(
    scripted_cluster: ScriptedCluster,
) -> None:
    """Discovery cannot tell them apart; all three URLs given, nobody is missing."""
    one = roster_of(cluster(scripted_cluster.urls[0]))
    await poll(one, one.targets()[0].label)
    await one.try_candidates(ask)
    all_three = roster_of(cluster(*scripted_cluster.urls))
    for target in all_three.targets():
        await poll(all_three, target.label)
    await all_three.try_candidates(ask)

    assert len(one.targets()) == 1
    assert {missing.peer_id for missing in one.unwatched()} == {scripted_cluster.peer_id(p) for p in (1, 2)}
    assert all("one more --qdrant.url" in missing.reason for missing in one.unwatched())
    assert all_three.unwatched() == ()
    assert all_three.troubles() == ()


async def test_a_template_alone_decides_where_peers_are_looked_for(spread: ScriptedCluster) -> None:
    """With a port that nobody listens on, no peer is found at the given one and the reason names it."""
    settings = cluster(spread.urls[0], discovery={"url_template": "http://{host}:1"})
    watched = roster_of(settings)
    await poll(watched, watched.targets()[0].label)

    await watched.try_candidates(ask)

    assert labels(watched) == authorities(spread)[:1]
    reasons = sorted(one.reason.partition(" did not answer")[0] for one in watched.unwatched())
    assert reasons == ["http://127.0.0.2:1", "http://127.0.0.3:1"]


async def test_the_loop_finds_everybody_by_itself(spread: ScriptedCluster) -> None:
    """As the app runs it: one poll told, the rest follows."""
    watched = roster_of(cluster(spread.urls[0]))
    running = asyncio.create_task(watched.run(ask))
    await poll(watched, watched.targets()[0].label)

    async with asyncio.timeout(20.0):
        while len(watched.targets()) < 3:
            await watched.wait_for_change()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
