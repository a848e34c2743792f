"""Peers found from /cluster: accepted by id, kept while the cluster lists them."""

from __future__ import annotations

import asyncio

import pytest

from exporter.observe.roster import Origin
from exporter.observe.roster.knowledge import SILENT_AFTER_SECONDS
from tests.kit.clock import ManualClock
from tests.unit.observe.roster.saying import (
    NOBODY,
    STANDALONE,
    URIS,
    A,
    B,
    C,
    Network,
    cluster,
    labels,
    remembered_peer,
    roster,
    says,
    target,
)


async def test_one_url_finds_the_other_peers_on_their_hosts() -> None:
    """Each answered with the id that the list promised, so each is a target with the key."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A), "p")

    await watched.try_candidates(Network({"http://q-1:6333": says(B), "http://q-2:6333": says(C)}))

    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]
    found = target(watched, "q-1:6333")
    assert (found.origin, found.peer_id, found.key_allowed) == (Origin.DISCOVERED, B, True)
    assert watched.unwatched() == ()
    assert watched.peers_known() == 3


async def test_a_candidate_with_another_id_is_refused_and_the_advice_says_how_to_watch_the_peer() -> None:
    """Somebody else's server on that host must never be taken for the peer."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A), "p")

    await watched.try_candidates(Network({"http://q-1:6333": says(999), "http://q-2:6333": STANDALONE}))

    assert labels(watched) == ["q-0:6333"]
    reasons = {one.peer_id: one.reason for one in watched.unwatched()}
    assert reasons.keys() == {B, C}
    assert reasons[B].startswith(
        "http://q-1:6333 is peer 999: give the peer's own URL, one more --qdrant.url"
    )
    assert reasons[C].startswith("http://q-2:6333 is a server without a cluster: ")
    assert watched.peers_known() == 3


async def test_peers_behind_one_host_cannot_be_discovered_and_are_not_even_asked() -> None:
    """Three peers on 127.0.0.1 differ by port only, which the cluster's list does not tell."""
    uris = {A: "http://127.0.0.1:6413/", B: "http://127.0.0.1:6423/", C: "http://127.0.0.1:6433/"}
    watched = roster(cluster("http://127.0.0.1:6333", "http://127.0.0.1:6343"))
    watched.hear("127.0.0.1:6333", says(A, peers=uris), "p")
    network = Network({"http://127.0.0.1:6333": says(A, peers=uris)})

    await watched.try_candidates(network)

    assert network.asked == []
    assert (
        "http://127.0.0.1:6333 is watched as 127.0.0.1:6333 and is peer 101" in watched.unwatched()[0].reason
    )
    assert "is watched as 127.0.0.1:6343 and has not answered yet" in watched.unwatched()[0].reason
    assert "discovery.url_template" in watched.unwatched()[0].reason


async def test_discovery_that_is_off_asks_nobody_and_says_who_is_missing() -> None:
    """The person decided, and still learns what the cluster has."""
    watched = roster(cluster("http://q-0:6333", discovery={"enabled": False}))
    watched.hear("q-0:6333", says(A), "p")
    network = Network({"http://q-1:6333": says(B)})

    await watched.try_candidates(network)

    assert network.asked == []
    assert [(one.peer_id, one.uri) for one in watched.unwatched()] == [(B, URIS[B]), (C, URIS[C])]
    assert watched.unwatched()[0].reason.startswith("discovery is off: give the peer's own URL")


async def test_peers_given_by_hand_are_neither_discovered_nor_unwatched() -> None:
    """Their URLs differ from the uris, their ids tell who they are."""
    watched = roster(cluster("http://one:6333", "http://two:6333", "http://three:6333"))
    for label, peer_id in (("one:6333", A), ("two:6333", B), ("three:6333", C)):
        watched.hear(label, says(peer_id), f"process-{peer_id}")
    network = Network({})

    await watched.try_candidates(network)

    assert network.asked == []
    assert watched.unwatched() == ()
    assert watched.troubles() == ()


async def test_a_found_peer_that_turns_out_to_be_a_configured_one_is_watched_once() -> None:
    """The configured peer was down when its double was found; when it answers the double goes."""
    watched = roster(cluster("http://q-0:6333", "http://alias:6333"))
    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(Network({"http://q-1:6333": says(B)}))

    watched.hear("alias:6333", says(B), "q")

    assert labels(watched) == ["q-0:6333", "alias:6333"]


async def test_a_dead_peer_stays_while_the_cluster_lists_it_and_goes_when_a_leader_drops_it() -> None:
    """Silence changes nothing; only a cluster with a leader decides who is a member."""
    clock = ManualClock()
    watched = roster(cluster("http://q-0:6333"), clock=clock)
    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(Network({"http://q-1:6333": says(B), "http://q-2:6333": says(C)}))
    without_c = {A: URIS[A], B: URIS[B]}

    clock.advance(10 * SILENT_AFTER_SECONDS)
    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(NOBODY)
    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]

    watched.hear("q-0:6333", says(A, peers=without_c, leader=None), "p")
    assert "q-2:6333" in labels(watched)

    watched.hear("q-0:6333", says(A, peers=without_c, consensus_working=False), "p")
    assert "q-2:6333" in labels(watched)

    watched.hear("q-0:6333", says(A, peers=without_c), "p")
    assert labels(watched) == ["q-0:6333", "q-1:6333"]


async def test_a_peer_that_lags_in_consensus_does_not_drop_one_that_just_joined() -> None:
    """The answer that is furthest in term and commit decides."""
    clock = ManualClock()
    watched = roster(cluster("http://q-0:6333", "http://q-1:6333"), clock=clock)
    watched.hear("q-0:6333", says(A, term=2, commit=50), "p")
    await watched.try_candidates(Network({"http://q-2:6333": says(C, term=2, commit=50)}))

    clock.advance(1.0)
    watched.hear("q-1:6333", says(B, peers={A: URIS[A], B: URIS[B]}, term=2, commit=40), "q")

    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]


async def test_a_peer_that_lost_its_storage_and_leads_a_cluster_of_itself_drops_nobody() -> None:
    """Its answer has a leader, but it speaks of another cluster."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A, commit=5), "p")
    await watched.try_candidates(Network({"http://q-1:6333": says(B), "http://q-2:6333": says(C)}))

    watched.hear("q-0:6333", says(77, peers={77: URIS[A]}, leader=77, commit=900), "q")

    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]


async def test_a_peer_whose_host_changed_is_followed_when_it_answers_there() -> None:
    """The old place stays a target until the new one has proven to be the peer."""
    watched = roster(cluster("http://q-0:6333"))
    moved = {**URIS, B: "http://q-9:6335/"}
    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(Network({"http://q-1:6333": says(B), "http://q-2:6333": says(C)}))
    watched.hear("q-0:6333", says(A, peers=moved), "p")
    await watched.try_candidates(NOBODY)
    assert (target(watched, "q-1:6333").peer_id, target(watched, "q-1:6333").key_allowed) == (B, False)

    await watched.try_candidates(Network({"http://q-9:6333": says(B, peers=moved)}))

    assert labels(watched) == ["q-0:6333", "q-2:6333", "q-9:6333"]


async def test_a_found_place_that_turns_out_to_be_a_balancer_is_no_target_any_more() -> None:
    """A template that leads every peer to one ingress finds whom it meets first, and only once."""
    watched = roster(cluster("http://q-0:6333", discovery={"url_template": "http://lb:6333/{peer_id}"}))
    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(Network({f"http://lb:6333/{B}": says(B)}))
    label = labels(watched)[1]

    for peer_id, process in ((B, "q"), (C, "r"), (B, "q")):
        label = next((one.label for one in watched.targets() if one.url.startswith("http://lb")), label)
        watched.hear(label, says(peer_id), process)
    network = Network({f"http://lb:6333/{B}": says(B)})
    await watched.try_candidates(network)

    assert labels(watched) == ["q-0:6333"]
    assert f"http://lb:6333/{B}" not in network.places
    assert f"http://lb:6333/{B} is a load balancer" in watched.unwatched()[0].reason
    assert [trouble.labels for trouble in watched.troubles()] == [("lb:6333",)]


async def test_a_storage_wiped_on_the_same_host_keeps_the_place_under_its_new_id() -> None:
    """One host and port is one target; the old id shows among the unwatched while it is listed."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(Network({"http://q-1:6333": says(B), "http://q-2:6333": says(C)}))
    wiped = {**URIS, 55: URIS[C]}
    watched.hear("q-0:6333", says(A, peers=wiped), "p")

    watched.hear("q-2:6333", says(55, peers=wiped), "new")

    assert target(watched, "q-2:6333").peer_id == 55
    assert [one.peer_id for one in watched.unwatched()] == [C]
    assert watched.troubles() == ()


async def test_forgetting_a_found_peer_ends_it_and_a_configured_one_stays() -> None:
    """`peers forget` is for peers that are gone; what is configured is asked for."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(Network({"http://q-1:6333": says(B)}))

    assert watched.forget("q-1:6333")
    assert not watched.forget("q-0:6333")
    assert not watched.forget("nobody")

    assert labels(watched) == ["q-0:6333"]
    watched.hear("q-1:6333", says(B), "late")  # a poll that was under way
    assert labels(watched) == ["q-0:6333"]


async def test_remembered_peers_are_targets_before_any_answer_and_get_no_key_until_confirmed() -> None:
    """A restart beside a dead peer pages; its old host may be another machine by now."""
    watched = roster(
        cluster("http://q-0:6333"),
        remembered=[
            remembered_peer("q-0:6333", A, origin="configured"),
            remembered_peer("q-1:6333", B),
            remembered_peer("elsewhere:6333", C, cluster="other"),
        ],
    )
    before = target(watched, "q-1:6333")
    assert labels(watched) == ["q-0:6333", "q-1:6333"]
    assert target(watched, "q-0:6333").peer_id == A
    assert (before.origin, before.key_allowed) == (Origin.REMEMBERED, False)

    watched.hear("q-0:6333", says(A), "p")
    assert target(watched, "q-1:6333").key_allowed

    watched.hear("q-1:6333", says(B), "q")
    assert target(watched, "q-1:6333").origin is Origin.DISCOVERED


@pytest.mark.parametrize(
    ("settings", "peer"),
    [
        (cluster("http://q-0:6333", discovery={"enabled": False}), remembered_peer("q-1:6333", B)),
        (cluster("http://q-0:6333"), remembered_peer("gone:6333", B, origin="configured")),
        (cluster("http://q-0:6333"), remembered_peer("q-1:6333", B, origin="dns", address="10.0.0.1")),
    ],
    ids=["discovery switched off", "URL removed", "DNS name removed"],
)
async def test_what_the_configuration_no_longer_asks_for_does_not_come_back(settings, peer) -> None:
    """It leaves the state directory too."""
    watched = roster(settings, remembered=[peer])

    assert labels(watched) == ["q-0:6333"]
    assert watched.changes().forget == (peer.label,)


async def test_changes_are_told_until_they_are_saved_and_last_seen_only_now_and_then() -> None:
    """A poll each 15 s must not be a disk flush each 15 s."""
    clock = ManualClock()
    watched = roster(cluster("http://q-0:6333"), clock=clock)
    assert not watched.changes()

    watched.hear("q-0:6333", says(A), "p")
    await watched.try_candidates(Network({"http://q-1:6333": says(B)}))
    changes = watched.changes()
    assert [(peer.label, peer.peer_id, peer.origin) for peer in changes.remember] == [
        ("q-0:6333", A, "configured"),
        ("q-1:6333", B, "discovered"),
    ]
    assert watched.changes() == changes
    watched.saved(changes)
    assert not watched.changes()

    clock.advance(15.0)
    watched.hear("q-0:6333", says(A), "p")
    assert not watched.changes()

    clock.advance(600.0)
    watched.hear("q-0:6333", says(A), "p")
    assert [peer.label for peer in watched.changes().remember] == ["q-0:6333"]

    watched.forget("q-1:6333")
    assert watched.changes().forget == ("q-1:6333",)


async def test_whoever_waits_for_a_change_of_targets_is_woken_by_one_and_by_nothing_else() -> None:
    """The app builds doors when targets change, not at every poll."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A), "p")
    await asyncio.wait_for(watched.wait_for_change(), 20.0)  # the peer id was learnt

    watched.hear("q-0:6333", says(A), "p")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watched.wait_for_change(), 0.02)

    await watched.try_candidates(Network({"http://q-1:6333": says(B)}))
    await asyncio.wait_for(watched.wait_for_change(), 20.0)


async def test_a_list_that_changes_is_acted_upon_without_waiting_for_the_next_round() -> None:
    """A peer that joins is a target within about a second."""
    watched = roster(cluster("http://q-0:6333"))
    network = Network({"http://q-1:6333": says(B), "http://q-2:6333": says(C)})
    running = asyncio.create_task(watched.run(network))
    await asyncio.sleep(0.01)
    watched.hear("q-0:6333", says(A), "p")

    async with asyncio.timeout(20.0):
        while len(watched.targets()) < 3:
            await watched.wait_for_change()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_standalone_server_is_one_known_peer() -> None:
    """Nothing to discover, nothing missing."""
    watched = roster(cluster("http://q-0:6333"))
    assert watched.peers_known() is None

    watched.hear("q-0:6333", STANDALONE, "p")

    assert watched.peers_known() == 1
    assert watched.unwatched() == ()
    assert watched.troubles() == ()


async def test_a_hanging_candidate_keeps_nobody_else_out() -> None:
    """The others are targets before it gives up."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A), "p")
    network = Network({"http://q-2:6333": says(C)})

    async def ask(one):
        if one.peer_id == B:
            await asyncio.Event().wait()
        return await network(one)

    trying = asyncio.create_task(watched.try_candidates(ask))
    async with asyncio.timeout(20.0):
        while "q-2:6333" not in labels(watched):
            await watched.wait_for_change()

    assert not trying.done()
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
