"""Every source on every answer of a real server that was recorded for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from exporter.observe.sources import (
    aliases,
    cluster,
    issues,
    memory,
    optimizations,
    segments,
    snapshots,
    telemetry,
)
from exporter.observe.sources.remembered import Remembered
from exporter.qdrant.payloads import Telemetry, result
from exporter.qdrant.versions import parse_version
from tests.kit.recordings import RECORDINGS, recording


def names(*patterns: str) -> list[str]:
    """Every recording with status 200 whose file matches, without the suffix."""
    found = [
        path.relative_to(RECORDINGS).with_suffix("").as_posix()
        for pattern in patterns
        for path in sorted(RECORDINGS.rglob(pattern))
    ]
    assert found
    return [name for name in found if recording(name).status == 200]


@pytest.mark.parametrize("name", names("telemetry_2.json", "telemetry_3.json", "*telemetry_4.json"))
def test_telemetry_reads_whole(name: str) -> None:
    """No collection and no part is odd; the peer's own numbers are there on every version."""
    told = result(recording(name).body, Telemetry, "/telemetry")
    parts = telemetry.Parts()

    with_shards = "v1.12" in name or not name.endswith("telemetry_2")  # since 1.14 they come with level 3
    seen = telemetry.read(told, Remembered(endpoint="/telemetry"), parts)
    readings = {
        reading.spec.name: reading.value
        for reading in telemetry.readings(told, seen, parts, ("default", "qdrant:6333"))
    }

    assert parts.odd == []
    assert (seen.unreadable == ()) == (with_shards or not told.collections.collections)
    assert str(seen.version) in name
    assert seen.clustered == ("/cluster/" in name)
    assert readings["qdrantx_peer_start_time_seconds"] == pytest.approx(1_795_400_000, abs=20_000)
    assert readings["qdrantx_peer_memory_total_bytes"] == 24_684_084 * 1024
    assert readings["qdrantx_peer_disk_size_bytes"] == 270_553_174 * 1024
    assert readings["qdrantx_peer_recovery_mode"] == float("recovery_mode" in name)
    assert ("qdrantx_peer_memory_resident_bytes" in readings) == (seen.version is not None)


@pytest.mark.parametrize("name", names("*telemetry_4.json", "v1.12.6/**/telemetry_2.json"))
def test_segments_read_whole_and_agree_with_the_shards(name: str) -> None:
    """The points of a shard's segments are those it tells itself, deleted ones apart."""
    seen = segments.read(recording(name).body, Remembered(endpoint="/telemetry"))
    told = result(recording(name).body, Telemetry, "/telemetry")
    shards = telemetry.read(told, Remembered(endpoint="/telemetry"), telemetry.Parts()).collections

    assert seen.unreadable == ()
    loaded = {
        (collection.name, shard.shard)
        for collection in shards.values()
        for shard in collection.shards
        if shard.local is not None and shard.local.loaded
    }
    assert {(collection, shard) for collection, by_id in seen.shards.items() for shard in by_id} == loaded
    for by_id in seen.shards.values():
        for one in by_id.values():
            assert one.segments >= 1
            assert one.reclaimable_bytes >= 0
            assert all(points >= 0 for points in one.lag_points.values())


@pytest.mark.parametrize("name", names("cluster.json"))
def test_consensus_reads(name: str) -> None:
    """Standalone servers say disabled; a cluster's peer names itself among its peers."""
    seen = cluster.read(recording(name).body)

    assert seen.enabled == ("/cluster/" in name)
    assert not seen.enabled or seen.peer_id in seen.peers
    assert (seen.leader is None) == ("no_quorum" in name or "restarted_alone" in name or not seen.enabled)
    assert seen.working == ("consensus_stopped" not in name)


@pytest.mark.parametrize("name", names("memory.*.json", "*.memory.json"))
def test_memory_reads(name: str) -> None:
    """Bytes of RAM, cache and disk; a dummy shard says 0 on disk, which is not believed further on."""
    total = memory.read(recording(name).body)

    assert (total.disk_bytes > 0) == (
        "recovery_mode" not in name and "broken_shard/memory.binary" not in name
    )


@pytest.mark.parametrize("name", names("v1.18.3/**/optimizations.*.json", "v1.18.3/**/*.optimizations.json"))
def test_optimizations_read(name: str) -> None:
    """The queue is in the summary since 1.17."""
    seen = optimizations.read(recording(name).body)

    assert seen.queued_points >= 0
    assert bool(seen.running) == bool(recording(name).json["result"]["running"])


def test_an_optimization_tells_how_far_it_is_only_while_it_builds_a_graph() -> None:
    """Of two that run one waits for a CPU; a vacuum that moves a graph over tells nothing either."""
    indexing = optimizations.read(recording("v1.18.3/single/yellow/optimizations.docs").body)
    vacuum = optimizations.read(recording("v1.18.3/single/vacuum/running.3.optimizations").body)

    assert [one.done for one in indexing.running] == [(("2026-11-23T01:37:20.286425697Z", 7_990),), ()]
    assert [one.done for one in vacuum.running] == [()]


def test_what_a_finished_step_counted_is_no_progress_any_more() -> None:
    """It stays in the answer with its last count while steps that tell nothing follow."""
    told = recording("v1.18.3/single/yellow/optimizations.docs").json
    graph = told["result"]["running"][1]["progress"]["children"][5]["children"][0]["children"][1]
    assert graph["done"] == 7_990
    graph["finished_at"] = "2026-11-23T01:37:21.5Z"

    assert [one.done for one in optimizations.read(msgspec.json.encode(told)).running] == [(), ()]


def test_a_leader_that_reaches_no_majority_leads_nobody() -> None:
    """Two of three were killed and the third was the leader: it goes on naming itself."""
    told = recording("v1.18.3/cluster/04_peer2_killed_9s/peer0/cluster").json
    one_lost = cluster.read(msgspec.json.encode(told))
    failures = told["result"]["message_send_failures"]
    failures["http://127.0.0.1:6423/"] = failures["http://127.0.0.1:6433/"]

    both_lost = cluster.read(msgspec.json.encode(told))

    assert one_lost.led
    assert both_lost.leader == both_lost.peer_id
    assert not both_lost.led
    readings = {one.spec.name: one.value for one in cluster.readings(both_lost, "default", "peer0")}
    assert readings["qdrantx_consensus_has_leader"] == 0


def test_aliases_read() -> None:
    """The alias that was made in the recordings."""
    seen = aliases.read(recording("v1.18.3/single/green/aliases").body)

    assert seen.collections == {"docs_live": "docs"}


@pytest.mark.parametrize("name", names("issues.json"))
def test_issues_read(name: str) -> None:
    """None was raised while these were recorded."""
    assert frozenset() == issues.read(recording(name).body).ids


def test_lists_of_snapshots_read() -> None:
    """A list with snapshots in it, and the empty one of the whole storage."""
    listed = snapshots.read(recording("v1.18.3/single/snapshots/list").body, "/snapshots")
    full = snapshots.read(recording("v1.18.3/single/green/snapshots_full").body, "/snapshots")

    assert listed
    assert all(snapshot.size > 0 for snapshot in listed)
    assert full == []


def test_versions_are_read_from_what_servers_say() -> None:
    """A development build counts as its release; what is no version is none."""
    assert str(parse_version("1.18.3")) == "1.18.3"
    assert parse_version("1.19.0-dev") == (1, 19, 0)
    assert parse_version("latest") is None
    assert parse_version("") is None


def test_the_recordings_are_all_here() -> None:
    """A pattern that matches nothing would make the tests above pass over nothing."""
    assert len(names("cluster.json")) > 20
    assert Path(RECORDINGS / "v1.12.6").is_dir()
