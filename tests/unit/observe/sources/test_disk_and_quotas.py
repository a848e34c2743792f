"""Free disk from a real file system, and quotas as the code of 1.19 has them (never seen on a server)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import SourceUnreachable
from exporter.observe.sources import disk, telemetry
from exporter.observe.sources.remembered import Remembered
from exporter.qdrant.payloads import Telemetry, result
from tests.kit.derivation import Deployment, body_of, series
from tests.kit.recordings import recording

GREEN = "v1.18.3/single/green/telemetry_3"


def test_free_disk_is_what_an_ordinary_user_may_still_write(tmp_path: Path) -> None:
    """Blocks reserved for root are neither free nor used up."""
    figures = os.statvfs(tmp_path)

    seen = disk.read(tmp_path)

    assert seen.free_bytes == pytest.approx(figures.f_bavail * figures.f_frsize, rel=0.05)
    assert 0 < seen.used_ratio < 1
    assert [series(one) for one in disk.readings(seen, "default", "qdrant-0")] == [
        "peer_disk_free_bytes{peer=qdrant-0}",
        "peer_disk_used_ratio{peer=qdrant-0}",
    ]


def test_a_storage_path_that_is_gone_is_a_fault_that_names_it(tmp_path: Path) -> None:
    """The volume is not mounted here any more: no reading is better than that of another disk."""
    with pytest.raises(SourceUnreachable, match="storage: No such file"):
        disk.read(tmp_path / "storage")


def test_without_a_storage_path_only_the_used_share_is_told() -> None:
    """The server tells a whole percent and no bytes."""
    readings = list(disk.readings(disk.DiskSeen(None, 0.65), "default", "qdrant-0"))

    assert [(series(one), one.value) for one in readings] == [("peer_disk_used_ratio{peer=qdrant-0}", 0.65)]


def test_quotas_are_told_where_they_are_enforced_and_nowhere_else() -> None:
    """null means that the limit is not enforced, which is not the same as kept."""
    told = recording(GREEN).json
    told["result"]["quota"] = {"config": {}, "exceeded": {"resident_memory": True, "disk_usage": None}}

    assert peer_readings(told)["quota_exceeded{peer=qdrant-0,resource=memory}"] == 1
    assert not [name for name in peer_readings(told) if "resource=disk" in name]


@pytest.mark.parametrize("part", ["quota", "requests", "memory"])
def test_an_odd_part_of_telemetry_costs_itself(part: str) -> None:
    """A newer server may write it differently; the peer is up and its collections are told."""
    told = recording(GREEN).json
    told["result"][part] = {"exceeded": 7, "rest": 7, "resident_bytes": "much"}
    parts = telemetry.Parts()
    answer = result(body_of(told), Telemetry, "/telemetry")

    seen = telemetry.read(answer, Remembered(endpoint="/telemetry"), parts)
    readings = list(telemetry.readings(answer, seen, parts, ("default", "qdrant-0")))

    assert parts.odd == [part]
    assert len(seen.collections) == 7
    assert readings


def test_indexed_fields_beyond_the_fiftieth_are_counted_and_not_told() -> None:
    """One schema must not flood Prometheus."""
    deployment = Deployment({"qdrant-0": None})
    told = recording("v1.18.3/single/green/telemetry_4").json
    docs = next(one for one in told["result"]["collections"]["collections"] if one["id"] == "docs")
    for segment in docs["shards"][0]["local"]["segments"]:
        segment["info"]["index_schema"] = {
            f"field-{number:02}": {"data_type": "keyword", "points": 10} for number in range(60)
        }
    deployment.telemetry("qdrant-0", told)
    deployment.segments("qdrant-0", told)

    readings = deployment.readings()

    fields = [name for name in readings if name.startswith("collection_payload_index_points{collection=docs")]
    assert len(fields) == 50
    assert readings["payload_index_fields_dropped"] == 10


def test_running_snapshots_and_transfers_are_told() -> None:
    """A snapshot turns a collection yellow, so it has to be seen beside the status."""
    deployment = Deployment({"qdrant-0": None})
    told = recording(GREEN).json
    collections = told["result"]["collections"]
    next(one for one in collections["snapshots"] if one["id"] == "docs")["running_snapshots"] = 1
    next(one for one in collections["collections"] if one["id"] == "docs")["transfers"] = [{"shard_id": 0}]
    deployment.telemetry("qdrant-0", told)

    readings = deployment.readings()

    assert readings["collection_snapshots_running{collection=docs}"] == 1
    assert readings["collection_snapshots_running{collection=noindex}"] == 0
    assert readings["shard_transfers{collection=docs}"] == 1


def peer_readings(told: Any) -> dict[str, float]:
    answer = result(body_of(told), Telemetry, "/telemetry")
    parts = telemetry.Parts()
    seen = telemetry.read(answer, Remembered(endpoint="/telemetry"), parts)
    found = telemetry.readings(answer, seen, parts, ("default", "qdrant-0"))
    return {series(one): one.value for one in found}
