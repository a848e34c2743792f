"""Every gate of a vacuum, open and closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.backup.thresholds.optimizing import Optimizing, PeerWork, RunSeen, SegmentSeen
from exporter.operations.vacuum.gates import Moment, gates_of, settings_of
from exporter.operations.vacuum.words import Gate, Settings, VacuumTerms, Window

GIB = 1 << 30
NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
CONFIG = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1_000, "max_optimization_threads": None}
VACUUM = RunSeen("a", 0, "u", "vacuum", "running", "", (), "2027-01-15T12:00:00Z")


def peer(label: str = "a", node: int = 1, **changed: Any) -> PeerWork:
    """Return a peer at rest that holds shard 0, changed as told."""
    fields: dict[str, Any] = {
        "label": label,
        "version": "1.18.3",
        "node": node,
        "has_it": True,
        "uuid": "c",
        "config": CONFIG,
        "statuses": {0: "green"},
        "unloaded": (),
        "replicas": {0: {1: "Active", 2: "Active"}},
        "queue_length": 0,
        "snapshots_running": 0,
        "recoveries_running": 0,
        "transfers": 0,
        "resharding": False,
        "optimizer_error": None,
        "segments": (),
        "runs": (),
    }
    return PeerWork(**fields | changed)


def seen(*, silent: Mapping[str, str] | None = None, queued: int | None = 0, **changed: Any) -> Optimizing:
    """Return two peers at rest, the first changed as told."""
    return Optimizing("docs", (peer(**changed), peer("b", 2)), silent or {}, queued)


GOOD = Moment(seen(), NOON, 0.02, {"deleted_threshold": 0.1}, {"a": GIB, "b": GIB}, {"a": 2 * GIB, "b": GIB})
TERMS = VacuumTerms(window=Window(11 * 60, 13 * 60, ZoneInfo("UTC")))


def closed(moment: Moment, terms: VacuumTerms = TERMS) -> list[Gate]:
    """Return the gates that are closed."""
    return [gate for gate in gates_of(moment, terms) if not gate.ok]


def test_all_gates_are_open_where_all_is_well() -> None:
    """Thirteen of them, each saying what was seen."""
    gates = gates_of(GOOD, TERMS)

    assert [gate.name for gate in gates if not gate.ok] == []
    assert len({gate.name for gate in gates}) == len(gates) == 13
    assert all(gate.detail for gate in gates)


SEEN = {
    "peers": (
        seen(silent={"c": "no answer within 30 s"}),
        "c does not answer: no answer within 30 s",
    ),
    "peers, one of whose URL nobody gave": (
        seen(replicas={0: {1: "Active", 2: "Active", 3: "Active"}}),
        "peers hold replicas whose URL is not given: 3; write all peers of the cluster",
    ),
    "versions": (seen(version="1.17.1"), "peers have 1.17.1 and 1.18.3; end the upgrade first"),
    "replicas": (seen(replicas={0: {1: "Active", 2: "Dead"}}), "shard 0 is Dead on b"),
    "replicas, one not loaded": (seen(unloaded=(3,)), "shard 3 did not load on a"),
    "transfers": (seen(transfers=1), "shards are being transferred"),
    "transfers, resharding": (seen(resharding=True), "the collection is being resharded"),
    "snapshots": (seen(snapshots_running=1), "a snapshot is taken on a"),
    "snapshots, restored": (seen(recoveries_running=1), "a snapshot is restored on a"),
    "errors": (seen(optimizer_error="No space"), "an optimizer stopped on a: No space"),
    "status": (seen(statuses={0: "red"}), "shard 0 is red on a"),
    "status, grey": (
        seen(statuses={0: "grey"}),
        "shard 0 is grey on a: its server restarted with work to do, which the next update or PATCH begins; "
        "wake it when it suits you",
    ),
    "optimizers": (seen(runs=(VACUUM,)), "vacuum runs on a, shard 0"),
    "optimizers, waiting": (seen(queued=2), "2 optimizations wait"),
    "optimizers, unknown": (seen(queued=None), "no peer says what waits to be optimized"),
    "queue": (seen(queue_length=101), "101 operations wait on a, more than 100"),
    "settings": (
        seen(config=CONFIG | {"max_optimization_threads": 0}),
        "max_optimization_threads is 0, so nothing would ever be rewritten",
    ),
    "settings, of which peers disagree": (
        seen(config=CONFIG | {"deleted_threshold": 0.3}),
        "peers disagree on deleted_threshold: 0.2 and 0.3",
    ),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_is_seen_closes_a_gate(name: str) -> None:
    """One gate each, saying where and what."""
    what, detail = SEEN[name]

    assert closed(replace(GOOD, seen=what)) == [Gate(name.partition(",")[0], False, detail)]


def test_patches_of_one_minor_version_may_differ() -> None:
    """As within an upgrade to a new patch, which changes no thresholds' meaning."""
    assert closed(replace(GOOD, seen=seen(version="1.18.2"))) == []


def test_a_queue_of_optimizations_is_unknown_before_1_17() -> None:
    """Nobody can tell it there, so its absence closes nothing."""
    old = Optimizing("docs", (peer(version="1.16.3"), peer("b", 2, version="1.16.3")), {}, None)

    assert closed(replace(GOOD, seen=old)) == []


SEARCHES = {
    "at its limit": (0.1, 0.1, True, "p95 is 100.0 ms, limit 100.0 ms"),
    "over its limit": (0.101, 0.1, False, "p95 is 101.0 ms, limit 100.0 ms"),
    "unknown": (
        None,
        0.1,
        False,
        "too few searches were answered to compare their p95 with the limit; set p95_limit to 0",
    ),
    "unknown, without a limit": (None, None, True, "too few searches were answered; no limit is set"),
    "slow, without a limit": (9.0, None, True, "p95 is 9,000.0 ms; no limit is set"),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_slow_searches_close_a_gate(name: str) -> None:
    """Only where a limit is set."""
    p95, limit, ok, detail = SEARCHES[name]

    gates = gates_of(replace(GOOD, p95_seconds=p95), replace(TERMS, p95_limit_seconds=limit))

    assert Gate("searches", ok, detail) in gates


def test_a_collection_without_a_live_point_needs_no_searches() -> None:
    """It could never be vacuumed else; one that holds a point can be searched."""
    dead = SegmentSeen("a", 0, "u", "indexed", 0, 900, 0, 0, {})
    empty = replace(GOOD, seen=seen(segments=(dead,)), p95_seconds=None)

    assert closed(empty) == []
    assert [gate.name for gate in closed(replace(empty, seen=seen(segments=(replace(dead, live=1),))))] == [
        "searches"
    ]


WINDOWS = {
    "begins with its first minute": (12, 0, 13, 0, True),
    "does not hold its end": (11, 0, 12, 0, False),
    "may go over midnight, before": (23, 0, 13, 0, True),
    "may go over midnight, after": (12, 0, 2, 0, True),
    "over midnight leaves the day out": (22, 0, 4, 0, False),
    "may end with the day": (11, 0, 24, 0, True),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_by_the_clock_of_its_zone(name: str) -> None:
    """Noon in UTC, and the same at one in Berlin."""
    start, start_minute, end, end_minute, ok = WINDOWS[name]
    window = Window(start * 60 + start_minute, end * 60 + end_minute, ZoneInfo("UTC"))

    assert window.holds(NOON) is ok
    berlin = replace(window, zone=ZoneInfo("Europe/Berlin"))
    assert berlin.holds(NOON - 3_600) is ok


def test_outside_of_its_window_nothing_begins() -> None:
    """And it is said when that is."""
    evening = replace(TERMS, window=Window(22 * 60, 4 * 60 + 30, ZoneInfo("UTC")))

    assert closed(GOOD, evening) == [Gate("window", False, "outside of 22:00 to 04:30 (UTC)")]


def test_too_little_free_disk_closes_a_gate_also_for_a_trigger() -> None:
    """By peer: a byte less than needed is too little."""
    short = replace(GOOD, change={}, free_bytes={"a": GIB - 1, "b": GIB})

    assert closed(short) == [Gate("disk", False, "a has 1.00 GiB free, and needs 1.00 GiB")]


def test_unknown_free_disk_refuses_changed_thresholds_and_says_what_to_write() -> None:
    """They may make the server rewrite what it has no room for."""
    (gate,) = closed(replace(GOOD, free_bytes={"a": 2 * GIB}))

    assert gate.name == "disk"
    assert gate.detail.startswith("free disk is unknown on b; set clusters[].peers[].storage_path")


def test_unknown_free_disk_refuses_no_trigger() -> None:
    """What the own thresholds take, the server takes at the next update anyhow."""
    gates = gates_of(replace(GOOD, change={}, free_bytes={}), TERMS)

    assert Gate("disk", True, "free disk is unknown on a, b; no threshold is changed") in gates


def test_thresholds_that_nobody_set_are_the_servers_defaults() -> None:
    """Where peers differ the lowest counts: by it more is rewritten."""
    differing = seen(config=CONFIG | {"deleted_threshold": 0.15})

    assert settings_of(seen(config={})) == Settings(0.2, 1_000, may_optimize=True)
    assert settings_of(differing).deleted_threshold == 0.15
