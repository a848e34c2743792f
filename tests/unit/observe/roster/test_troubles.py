"""What is wrong with the addresses a person gave is said clearly, and only when it is so."""

from __future__ import annotations

from exporter.observe.roster import TroubleKind
from exporter.observe.roster.knowledge import SILENT_AFTER_SECONDS
from exporter.observe.roster.troubles import readings
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
    roster,
    says,
    target,
)


def kinds(watched) -> list[str]:
    return [trouble.kind.value for trouble in watched.troubles()]


async def test_a_load_balancer_is_named_and_stands_for_no_peer() -> None:
    """The peers behind it are still found, because its claims to be one of them are not believed."""
    watched = roster(cluster("http://lb:6333"))
    for peer_id, process in ((A, "p"), (B, "q"), (A, "p")):
        watched.hear("lb:6333", says(peer_id), process)

    await watched.try_candidates(
        Network({"http://q-0:6333": says(A), "http://q-1:6333": says(B), "http://q-2:6333": says(C)})
    )

    assert labels(watched) == ["lb:6333", "q-0:6333", "q-1:6333", "q-2:6333"]
    (trouble,) = watched.troubles()
    assert (trouble.kind, trouble.labels) == (TroubleKind.LOAD_BALANCER, ("lb:6333",))
    assert "http://lb:6333 answers as several servers in turn" in trouble.text
    assert "give each peer's own URL" in trouble.text


async def test_a_restart_with_an_empty_storage_is_no_trouble() -> None:
    """New peer id and new process id: the same door, another life."""
    watched = roster(cluster("http://q-0:6333"))
    watched.hear("q-0:6333", says(A), "p")

    watched.hear("q-0:6333", says(77, peers={77: URIS[A]}, leader=77), "q")

    assert watched.troubles() == ()
    assert target(watched, "q-0:6333").peer_id == 77


async def test_two_urls_of_one_peer_are_watched_once_under_the_name_and_said() -> None:
    """The one with a name is kept, although it was written last."""
    watched = roster(cluster("http://one:6333", {"url": "http://two:6333", "name": "good"}))
    watched.hear("one:6333", says(A), "p")
    watched.hear("good", says(A), "p")

    assert labels(watched) == ["good"]
    (trouble,) = watched.troubles()
    assert (trouble.kind, trouble.labels) == (TroubleKind.ONE_PEER_TWICE, ("good", "one:6333"))
    assert "http://two:6333 and http://one:6333 lead to one peer, which is watched as good" in trouble.text


async def test_the_second_url_of_a_peer_is_watched_while_the_first_does_not_answer() -> None:
    """A broken road to the kept one must not hide a peer that answers on the other."""
    clock = ManualClock()
    watched = roster(cluster("http://one:6333", "http://two:6333"), clock=clock)
    watched.hear("one:6333", says(A), "p")
    watched.hear("two:6333", says(A), "p")
    assert labels(watched) == ["one:6333"]

    clock.advance(SILENT_AFTER_SECONDS + 1)
    await watched.try_candidates(NOBODY)
    assert labels(watched) == ["one:6333", "two:6333"]

    watched.hear("two:6333", says(A), "p")
    watched.hear("one:6333", says(A), "p")
    assert labels(watched) == ["one:6333"]


async def test_a_second_url_that_leads_elsewhere_now_is_watched_again() -> None:
    """The one that was dropped is still asked who it is."""
    watched = roster(cluster("http://one:6333", "http://two:6333"))
    watched.hear("one:6333", says(A), "p")
    watched.hear("two:6333", says(A), "p")

    await watched.try_candidates(Network({"http://two:6333": says(B)}))

    assert labels(watched) == ["one:6333", "two:6333"]
    assert watched.troubles() == ()


async def test_two_urls_of_one_standalone_server_are_one_peer_and_not_two_clusters() -> None:
    """It has no peer id; its process tells, also across a restart."""
    watched = roster(cluster("http://one:6333", "http://two:6333"))
    watched.hear("one:6333", STANDALONE, "p")
    watched.hear("two:6333", STANDALONE, None)  # /telemetry not answered yet
    assert watched.troubles() == ()
    watched.hear("two:6333", STANDALONE, "p")
    assert (labels(watched), kinds(watched)) == (["one:6333"], ["one_peer_twice"])

    await watched.try_candidates(Network({"http://two:6333": STANDALONE}))
    assert labels(watched) == ["one:6333"]

    watched.hear("one:6333", STANDALONE, "after restart")
    assert "standalone_servers" not in kinds(watched)


async def test_two_standalone_servers_in_one_cluster_are_an_error() -> None:
    """Their numbers have nothing to do with each other."""
    watched = roster(cluster("http://one:6333", "http://two:6333"))
    watched.hear("one:6333", STANDALONE, "p")
    watched.hear("two:6333", STANDALONE, "q")

    (trouble,) = watched.troubles()
    assert (trouble.kind, trouble.labels) == (TroubleKind.STANDALONE_SERVERS, ("one:6333", "two:6333"))
    assert "give each a cluster of its own under clusters:" in trouble.text
    assert labels(watched) == ["one:6333", "two:6333"]


async def test_a_standalone_server_beside_a_cluster_is_an_error() -> None:
    """One answer of each kind is enough to know."""
    watched = roster(cluster("http://q-0:6333", "http://alone:6333"))
    watched.hear("q-0:6333", says(A), None)
    watched.hear("alone:6333", STANDALONE, None)

    (trouble,) = watched.troubles()
    assert (trouble.kind, trouble.labels) == (TroubleKind.STANDALONE_SERVERS, ("alone:6333",))
    assert "beside the cluster of q-0:6333" in trouble.text


async def test_two_clusters_are_said_once_a_joining_peer_had_its_time() -> None:
    """A pod that just started lists itself alone for some seconds."""
    clock = ManualClock()
    watched = roster(cluster("http://q-0:6333", "http://other:6333"), clock=clock, patience_seconds=60.0)
    watched.hear("q-0:6333", says(A), "p")
    watched.hear("other:6333", says(9, peers={9: "http://other:6335/"}, leader=9), "q")
    assert watched.troubles() == ()

    clock.advance(60.0)
    assert kinds(watched) == ["two_clusters"]
    assert "know nothing of each other: other:6333 | q-0:6333" in watched.troubles()[0].text

    watched.hear("other:6333", says(9, peers={**URIS, 9: "http://other:6335/"}), "q")
    assert watched.troubles() == ()


async def test_one_look_has_no_patience() -> None:
    """`once` says it at once, since there is no later."""
    watched = roster(cluster("http://q-0:6333", "http://other:6333"), patience_seconds=0.0)
    watched.hear("q-0:6333", says(A), "p")
    watched.hear("other:6333", says(9, peers={9: "http://other:6335/"}, leader=9), "q")

    assert kinds(watched) == ["two_clusters"]


async def test_every_kind_of_trouble_has_a_reading_before_it_happens() -> None:
    """An alert on a series that does not exist yet would never fire."""
    watched = roster(cluster("http://one:6333", "http://two:6333"))
    quiet = {reading.labels: reading.value for reading in readings("default", watched.troubles())}
    watched.hear("one:6333", STANDALONE, "p")
    watched.hear("two:6333", STANDALONE, "q")
    troubled = {reading.labels: reading.value for reading in readings("default", watched.troubles())}

    assert quiet == {("default", kind.value): 0.0 for kind in TroubleKind}
    assert troubled == quiet | {("default", "standalone_servers"): 1.0}
