"""What changed shortly before an alert, from what the Board knew then and knows now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from exporter.board import Board
from exporter.duty.recent_changes import MAX_KEPT, MAX_TOLD, RecentChanges
from exporter.model import Observation, ProducerKey, Reading
from exporter.observe.records import RELOAD_AT
from exporter.observe.sources.aliases import AliasesSeen
from exporter.observe.sources.cluster import ClusterSeen
from exporter.observe.sources.telemetry import TelemetrySeen
from tests.kit.clock import ManualClock

PEER, OTHER = "10.0.0.3:6333", "10.0.0.4:6333"
SERVER = TelemetrySeen(
    process_id="a", version=None, version_text="1.17.0", started_at_seconds=None, clustered=True, peer_id=1,
    settled=True, term=1, commit=1, collections={},
)  # fmt: skip
MEMBER = ClusterSeen(enabled=True, peer_id=1, peers={1: "http://one", 2: "http://two"}, term=3, commit=10)


class Watched:
    """A Board that a test moves, and the memory that looks at it after each move."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.board = Board(clock=self.clock)
        self.changes = RecentChanges()

    def see(self, source: str, seen: Any, *, peer: str = PEER, cluster: str = "default") -> None:
        """Let a source of a peer say this, or fail with None, a minute later."""
        self.clock.advance(60)
        key = ProducerKey(cluster, peer, source)
        self.board.put(Observation(key, self.clock.now(), self.clock.monotonic(), 0.1, 600.0, seen=seen))
        self.look()

    def list(self, *collections: str, known: bool = True) -> None:
        """Let the cluster have these collections a minute later; or let nobody tell."""
        self.see("telemetry", None)
        blocks: dict[str, tuple[Reading, ...]] = {f"collection:{name}": () for name in collections}
        self.board.derive("default", {**blocks, "collections": ()} if known else {})
        self.look()

    def reload(self) -> None:
        """Let the configuration be read again now."""
        self.board.post(ProducerKey("", "", "configuration"), (Reading(RELOAD_AT, (), self.clock.now()),))
        self.look()

    def look(self) -> None:
        """Look at the Board."""
        self.changes.note(self.board.view(), self.clock.now())

    def told(self, labels: Mapping[str, str] | None = None, *, after: float = 0.0) -> tuple[str, ...]:
        """Return what is said to an alert that fires so many seconds later."""
        return self.changes.recent("default", labels or {}, self.clock.now() + after)


def test_what_is_seen_for_the_first_time_is_no_change() -> None:
    """When this daemon starts, everything is new to it."""
    watched = Watched()

    watched.see("telemetry", SERVER)
    watched.see("cluster", MEMBER)
    watched.see("aliases", AliasesSeen({"prod": "docs"}))
    watched.list("docs")
    watched.reload()

    assert watched.told() == ()


def test_a_server_that_started_a_short_while_ago_is_told_even_then() -> None:
    """We may have been started because of it; its own clock says when."""
    watched = Watched()

    watched.see("telemetry", replace(SERVER, started_at_seconds=watched.clock.now() - 240))
    watched.see("telemetry", replace(SERVER, started_at_seconds=watched.clock.now() - 86_400), peer=OTHER)

    assert watched.told() == (f"{PEER} started 6 min before",)


def test_a_restart_is_another_process_and_is_told_with_its_time() -> None:
    """The process's id changes with each start; the start is the server's own."""
    watched = Watched()
    watched.see("telemetry", SERVER)

    watched.see("telemetry", replace(SERVER, process_id="b", started_at_seconds=watched.clock.now() + 30))

    assert watched.told() == (f"{PEER} restarted 30 s before",)
    assert watched.told(after=210) == (f"{PEER} restarted 4 min before",)


def test_a_peer_that_was_silent_for_long_and_is_the_same_process_did_not_restart() -> None:
    """What it said before it fell silent is what counts."""
    watched = Watched()
    watched.see("telemetry", SERVER)
    watched.see("telemetry", None)
    watched.clock.advance(3_600)
    watched.look()

    watched.see("telemetry", SERVER)

    assert watched.told() == ()


def test_another_version_is_told_in_place_of_the_restart() -> None:
    """The first thing one asks after an upgrade."""
    watched = Watched()
    watched.see("telemetry", SERVER)

    watched.see("telemetry", replace(SERVER, process_id="b", version_text="1.18.0"))

    assert watched.told() == (f"{PEER} restarted as 1.18.0 (was 1.17.0) 0 s before",)


def test_members_that_join_and_leave_are_told_as_the_furthest_peer_knows_them() -> None:
    """A peer that lags still lists who left."""
    watched = Watched()
    watched.see("cluster", MEMBER)
    joined = replace(MEMBER, peers={2: "http://two", 3: "http://three"}, commit=12)

    watched.see("cluster", joined, peer=OTHER)
    watched.see("cluster", MEMBER)

    assert watched.told() == (
        "peer 3 (http://three) joined the cluster 1 min before", "peer 1 left the cluster 1 min before",
    )  # fmt: skip


def test_an_alias_that_was_made_moved_or_removed_is_told() -> None:
    """Searches go elsewhere from one moment to the next."""
    watched = Watched()
    watched.see("aliases", AliasesSeen({"prod": "docs_1", "old": "docs_0"}))

    watched.see("aliases", AliasesSeen({"prod": "docs_2", "new": "docs_2"}))

    assert set(watched.told()) == {
        "alias prod moved from docs_1 to docs_2 0 s before",
        "alias old of docs_0 was removed 0 s before",
        "alias new was made for docs_2 0 s before",
    }


def test_collections_that_were_made_and_dropped_are_told_to_alerts_about_them() -> None:
    """To those of other collections it is no hint."""
    watched = Watched()
    watched.list("docs", "tmp")

    watched.list("docs", "shop")

    assert watched.told({"collection": "shop"}) == ("collection shop was made 0 s before",)
    assert watched.told({"collection": "docs"}) == ()
    assert len(watched.told()) == 2


def test_collections_that_nobody_tells_of_were_not_dropped() -> None:
    """All peers are down, or the configuration selects others."""
    watched = Watched()
    watched.reload()
    watched.list("docs")
    watched.list(known=False)
    watched.list("docs")

    watched.board.derive("default", {})  # as a reload leaves it
    watched.clock.advance(60)
    watched.reload()
    watched.list("shop")

    assert watched.told() == ("the configuration was read again 1 min before",)


def test_what_happened_to_the_alerts_own_peer_comes_first() -> None:
    """Then what happened to all, then to others."""
    watched = Watched()
    watched.see("telemetry", SERVER)
    watched.see("telemetry", SERVER, peer=OTHER)
    watched.see("telemetry", replace(SERVER, process_id="b"))
    watched.see("telemetry", replace(SERVER, process_id="b"), peer=OTHER)

    assert watched.told({"peer": PEER}) == (
        f"{PEER} restarted 1 min before", f"{OTHER} restarted 0 s before",
    )  # fmt: skip


def test_what_is_older_than_half_an_hour_is_not_told() -> None:
    """And what came after the alert is no cause of it."""
    watched = Watched()
    watched.list("docs")
    watched.list("shop", "docs")

    assert watched.told(after=1_800)
    assert watched.told(after=1_801) == ()
    assert watched.told(after=-1) == ()


def test_a_flood_of_collections_pushes_nothing_else_out() -> None:
    """And a message stays short."""
    watched = Watched()
    watched.see("telemetry", SERVER)
    watched.see("telemetry", replace(SERVER, process_id="b"))
    watched.list()
    watched.list(*(f"tmp_{number}" for number in range(10 * MAX_KEPT)))

    assert len(watched.told()) == MAX_TOLD
    assert f"{PEER} restarted 2 min before" in watched.told({"collection": "docs"})


def test_a_cluster_that_is_watched_no_more_is_forgotten() -> None:
    """One of the same name that comes later begins anew."""
    watched = Watched()
    watched.see("telemetry", SERVER)
    watched.see("telemetry", replace(SERVER, process_id="b"))
    watched.board.forget("default")
    watched.look()

    watched.see("telemetry", replace(SERVER, process_id="c"))

    assert watched.told() == ()
