"""DNS names that resolve to many peers: named by the cluster, never by their addresses."""

from __future__ import annotations

import asyncio

import pytest

from exporter.observe.roster import Origin, TroubleKind
from exporter.observe.roster import roster as shell
from exporter.observe.roster.knowledge import SILENT_AFTER_SECONDS
from tests.kit.clock import ManualClock
from tests.unit.observe.roster.saying import (
    NOBODY,
    STANDALONE,
    URIS,
    A,
    B,
    C,
    Names,
    Network,
    cluster,
    labels,
    remembered_peer,
    roster,
    says,
    target,
)

ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
ALL = {"10.0.0.1": says(A), "10.0.0.2": says(B), "10.0.0.3": says(C)}
BY_NAME = cluster(dns=["http://qdrant:6333"])
BY_NAME_ONLY = cluster(dns=["http://qdrant:6333"], discovery={"enabled": False})


async def resolved(settings=BY_NAME, *, names: Names | None = None, **more):
    """Return a roster after one look-up and one round of candidates."""
    watched = roster(settings, names=names or Names(qdrant=ADDRESSES), **more)
    await watched.refresh_dns()
    await watched.try_candidates(Network(ALL))
    return watched


async def test_every_address_of_a_name_is_a_target_under_the_name_its_cluster_gives_it() -> None:
    """The address is where to connect and never the label."""
    watched = await resolved()

    assert [(one.label, one.address, one.peer_id) for one in watched.targets()] == [
        ("q-0:6333", "10.0.0.1", A),
        ("q-1:6333", "10.0.0.2", B),
        ("q-2:6333", "10.0.0.3", C),
    ]
    assert all(one.origin is Origin.DNS and one.key_allowed for one in watched.targets())
    assert all(one.url == "http://qdrant:6333" for one in watched.targets())


async def test_a_peer_that_the_cluster_gives_no_uri_is_labelled_by_its_id() -> None:
    """Not by its address either."""
    watched = roster(BY_NAME, names=Names(qdrant=["10.0.0.1"]))
    await watched.refresh_dns()

    await watched.try_candidates(Network({"10.0.0.1": says(A, peers={A: ""})}))

    assert labels(watched) == [f"id:{A}"]


async def test_a_name_behind_which_nobody_answered_is_a_target_itself() -> None:
    """An outage at the first start has to show as a peer that is down."""
    watched = roster(BY_NAME, names=Names(qdrant=ADDRESSES))
    await watched.refresh_dns()
    await watched.try_candidates(NOBODY)
    assert [(one.label, one.address) for one in watched.targets()] == [("qdrant:6333", None)]

    await watched.try_candidates(Network(ALL))
    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]


async def test_a_standalone_server_behind_a_name_is_watched_under_the_name() -> None:
    """It has no id and no uri."""
    watched = roster(BY_NAME, names=Names(qdrant=["10.0.0.1"]))
    await watched.refresh_dns()
    await watched.try_candidates(Network({"10.0.0.1": STANDALONE}))
    watched.hear("qdrant:6333", STANDALONE, "p")

    assert labels(watched) == ["qdrant:6333"]
    assert watched.peers_known() == 1
    assert watched.troubles() == ()


async def test_what_a_name_answered_before_its_peers_were_found_counts_no_more() -> None:
    """A server that was set up anew as a cluster is not both."""
    watched = roster(BY_NAME, names=Names(qdrant=ADDRESSES))
    watched.hear("qdrant:6333", STANDALONE, "p")
    await watched.refresh_dns()

    await watched.try_candidates(Network(ALL))
    watched.hear("q-0:6333", says(A), "q")

    assert watched.troubles() == ()


async def test_two_standalone_servers_behind_a_name_are_seen_as_a_balancer() -> None:
    """A connection to the name meets them in turn."""
    watched = roster(BY_NAME, names=Names(qdrant=["10.0.0.1", "10.0.0.2"]))
    await watched.refresh_dns()
    for process in ("p", "q", "p"):
        watched.hear("qdrant:6333", STANDALONE, process)

    assert [trouble.kind for trouble in watched.troubles()] == [TroubleKind.LOAD_BALANCER]


async def test_a_failed_look_up_keeps_the_last_list_and_is_reported() -> None:
    """The trouble goes when the name resolves again."""
    names = Names(qdrant=ADDRESSES)
    watched = await resolved(names=names)

    names.table = {}
    await watched.refresh_dns()
    (trouble,) = watched.troubles()
    assert trouble.kind is TroubleKind.DNS_FAILED
    assert "http://qdrant:6333 could not be looked up (Name or service not known)" in trouble.text
    assert "the last list of 3 stays" in trouble.text
    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]
    assert all(one.key_allowed for one in watched.targets())

    names.table = {"qdrant": ()}
    await watched.refresh_dns()
    assert "it has no address" in watched.troubles()[0].text

    names.table = {"qdrant": ADDRESSES}
    await watched.refresh_dns()
    assert watched.troubles() == ()


async def test_a_resolver_that_hangs_is_given_up_and_hurts_no_other_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The names are looked up side by side."""
    monkeypatch.setattr(shell, "LOOKUP_DEADLINE_SECONDS", 0.1)
    names = Names(good=["10.0.0.1"])

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        if host == "hanging":
            await asyncio.Event().wait()
        return await names(host, port)

    watched = roster(cluster(dns=["http://hanging:6333", "http://good:6333"]), names=resolve)
    async with asyncio.timeout(20.0):
        await watched.refresh_dns()
    await watched.try_candidates(Network(ALL))

    assert labels(watched) == ["q-0:6333", "hanging:6333"]
    assert "no answer within" in watched.troubles()[0].text


async def test_a_dead_pod_that_left_the_dns_stays_a_target_but_its_address_gets_no_key() -> None:
    """The address may belong to another machine soon; the peer must still page."""
    names = Names(qdrant=ADDRESSES)
    watched = await resolved(BY_NAME_ONLY, names=names)

    names.table = {"qdrant": ADDRESSES[:2]}
    await watched.refresh_dns()
    watched.hear("q-0:6333", says(A), "p")

    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]
    assert [one.key_allowed for one in watched.targets()] == [True, True, False]

    watched.hear("q-0:6333", says(A, peers={A: URIS[A], B: URIS[B]}), "p")
    assert labels(watched) == ["q-0:6333", "q-1:6333"]


async def test_a_pod_that_is_back_under_a_new_address_is_the_same_target() -> None:
    """Label and id stay, the address follows."""
    names = Names(qdrant=ADDRESSES)
    watched = await resolved(BY_NAME_ONLY, names=names)

    names.table = {"qdrant": (*ADDRESSES[:2], "10.0.0.9")}
    await watched.refresh_dns()
    await watched.try_candidates(Network({"10.0.0.9": says(C)}))

    moved = target(watched, "q-2:6333")
    assert (moved.address, moved.peer_id, moved.key_allowed) == ("10.0.0.9", C, True)
    assert labels(watched) == ["q-0:6333", "q-1:6333", "q-2:6333"]


async def test_two_addresses_of_one_peer_are_one_target_and_no_trouble() -> None:
    """A and AAAA of one pod; the second is used when the first falls silent."""
    clock = ManualClock()
    watched = roster(BY_NAME_ONLY, names=Names(qdrant=["10.0.0.1", "fd00::1"]), clock=clock)
    network = Network({"10.0.0.1": says(A), "fd00::1": says(A)})
    await watched.refresh_dns()
    await watched.try_candidates(network)
    assert labels(watched) == ["q-0:6333"]
    assert watched.troubles() == ()
    first = target(watched, "q-0:6333").address

    asked = len(network.asked)
    await watched.try_candidates(network)
    assert len(network.asked) == asked  # a spare of a peer that answers is left in peace

    clock.advance(SILENT_AFTER_SECONDS + 1)
    await watched.try_candidates(network)
    assert {first, target(watched, "q-0:6333").address} == {"10.0.0.1", "fd00::1"}


async def test_an_address_that_a_new_peer_took_over_leaves_the_dead_one_a_target_on_its_own_host() -> None:
    """Else the dead peer would look alive in the answers of the new one."""
    watched = await resolved(BY_NAME_ONLY)
    grown = {**URIS, 104: "http://q-3:6335/"}

    watched.hear("q-2:6333", says(104, peers=grown), "new")
    await watched.try_candidates(Network({"10.0.0.3": says(104, peers=grown)}))

    dead, new = target(watched, "q-2:6333"), target(watched, "q-3:6333")
    assert (dead.peer_id, dead.url, dead.address) == (C, "http://q-2:6333", None)
    assert (new.peer_id, new.address) == (104, "10.0.0.3")


async def test_an_address_that_is_a_balancer_is_no_peer_and_is_said() -> None:
    """A name of one virtual address, as a service without its own DNS list has."""
    watched = roster(BY_NAME_ONLY, names=Names(qdrant=["10.0.0.1"]))
    await watched.refresh_dns()
    for answer in (says(A), says(B), says(A), says(C)):
        await watched.try_candidates(Network({"10.0.0.1": answer}))
        for one in watched.targets():
            watched.hear(one.label, answer, None)

    assert [trouble.kind for trouble in watched.troubles()] == [TroubleKind.LOAD_BALANCER]
    assert "http://qdrant:6333 at 10.0.0.1 answers as several servers" in watched.troubles()[0].text
    assert all(one.address is None for one in watched.targets())


async def test_remembered_peers_of_a_name_get_the_key_once_dns_names_their_address_again() -> None:
    """Between start and the first look-up they are polled without it."""
    remembered = [
        remembered_peer("q-0:6333", A, url="http://qdrant:6333", address="10.0.0.1", origin="dns"),
        remembered_peer("q-2:6333", C, url="http://qdrant:6333", address="10.0.0.77", origin="dns"),
    ]
    watched = roster(BY_NAME_ONLY, names=Names(qdrant=["10.0.0.1"]), remembered=remembered)
    assert [(one.label, one.key_allowed) for one in watched.targets()] == [
        ("q-0:6333", False),
        ("q-2:6333", False),
    ]

    await watched.refresh_dns()

    assert [(one.label, one.key_allowed) for one in watched.targets()] == [
        ("q-0:6333", True),
        ("q-2:6333", False),
    ]


async def test_configured_peers_win_over_the_addresses_of_a_name() -> None:
    """Somebody who writes both gets each peer once, without a complaint."""
    watched = roster(
        cluster({"url": "http://one:6333", "name": "first"}, dns=["http://qdrant:6333"]),
        names=Names(qdrant=ADDRESSES),
    )
    watched.hear("first", says(A), "p")
    await watched.refresh_dns()

    await watched.try_candidates(Network(ALL))

    assert labels(watched) == ["first", "q-1:6333", "q-2:6333"]
    assert watched.troubles() == ()


async def test_peers_that_are_not_in_the_dns_are_discovered_on_its_port() -> None:
    """A pod that is not ready is not in the DNS, but the cluster lists it."""
    watched = roster(BY_NAME, names=Names(qdrant=["10.0.0.1"]))
    await watched.refresh_dns()
    await watched.try_candidates(Network(ALL))

    await watched.try_candidates(Network({"http://q-1:6333": says(B)}))

    assert [(one.label, one.origin) for one in watched.targets()] == [
        ("q-0:6333", Origin.DNS),
        ("q-1:6333", Origin.DISCOVERED),
    ]
    assert [one.peer_id for one in watched.unwatched()] == [C]
