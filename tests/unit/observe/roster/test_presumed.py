"""A configured peer that never answered, and which of the listed peers it must be."""

from __future__ import annotations

from tests.unit.observe.roster.saying import NOBODY, A, B, C, Network, cluster, roster, says, target

THREE = ("http://q-0:6333", "http://q-1:6333", "http://q-2:6333")


async def test_a_configured_peer_that_is_dead_from_the_start_is_the_one_listed_on_its_host() -> None:
    """Whoever starts to watch during an outage has to learn whose shards and vote are lost."""
    watched = roster(cluster(*THREE))
    watched.hear("q-0:6333", says(A), "p0")
    watched.hear("q-1:6333", says(B), "p1")

    await watched.try_candidates(NOBODY)

    assert target(watched, "q-2:6333").peer_id == C
    assert watched.unwatched() == ()


async def test_of_two_peers_on_one_host_that_never_answered_neither_is_guessed() -> None:
    """A wrong name on a dead peer is worse than none."""
    uris = {A: "http://q-0:6335/", B: "http://q-1:6335/", C: "http://q-1:7335/"}
    watched = roster(cluster("http://q-0:6333", "http://q-1:6333", "http://q-1:7333"))
    watched.hear("q-0:6333", says(A, peers=uris), "p0")

    await watched.try_candidates(NOBODY)

    assert target(watched, "q-1:6333").peer_id is None
    assert {one.peer_id for one in watched.unwatched()} == {B, C}


async def test_what_answers_at_another_door_of_the_host_is_not_presumed_behind_the_silent_one() -> None:
    """A mistyped port: the peer itself is found and watched, and what was typed stays down."""
    watched = roster(cluster("http://q-0:6333", "http://q-1:6334"))
    watched.hear("q-0:6333", says(A, peers={A: "http://q-0:6335/", B: "http://q-1:6335/"}), "p0")

    await watched.try_candidates(Network({"http://q-1:6333": says(B)}))

    assert target(watched, "q-1:6334").peer_id is None
    assert target(watched, "q-1:6333").peer_id == B


async def test_a_presumption_ends_when_the_peer_answers_as_another() -> None:
    """What a server says of itself outranks where it is listed."""
    watched = roster(cluster(*THREE))
    watched.hear("q-0:6333", says(A), "p0")
    watched.hear("q-1:6333", says(B), "p1")
    await watched.try_candidates(NOBODY)

    watched.hear("q-2:6333", says(999, peers={999: "http://q-2:6335/"}), "p2")

    assert target(watched, "q-2:6333").peer_id == 999
    assert [one.peer_id for one in watched.unwatched()] == [C]
