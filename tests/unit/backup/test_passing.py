"""What is learnt of an archive while it passes."""

from __future__ import annotations

import hashlib
import json

import pytest

from exporter.backup.archive.walk import BadArchive
from exporter.backup.passing import Passing
from tests.kit.snapshot_cluster import SnapshotCluster, points


def archive(state: str = "Active") -> bytes:
    """Return the archive of a peer that holds some of six shards, one of them in a state."""
    cluster = SnapshotCluster()
    cluster.create("docs", points(600), shard_number=6, replication_factor=2)
    shard = next(shard for shard, on in cluster.counts("docs").items() if 0 in on)
    cluster.replica("docs", shard, 0).state = state
    return cluster.archive("docs", 0)


def passed(data: bytes, chunk_bytes: int = 10_000) -> Passing:
    """Let an archive pass in chunks."""
    passing = Passing()
    for start in range(0, len(data), chunk_bytes):
        passing.feed(data[start : start + chunk_bytes])
    passing.finish()
    return passing


@pytest.mark.parametrize("chunk_bytes", [1, 7, 511, 512, 513, 1_000_000])
def test_it_is_the_same_however_it_comes(chunk_bytes: int) -> None:
    """A chunk may end anywhere, within a header or within a small file."""
    data = archive("Dead")

    passing = passed(data, chunk_bytes)

    assert passing.sha256 == hashlib.sha256(data).hexdigest()
    assert passing.size_bytes == len(data)
    assert passing.not_active == frozenset({passed(data).shards[0].shard})
    assert passing.config["params"]["shard_number"] == 6
    assert passing.payload_index == {"schema": {}}


def test_shards_whose_replica_was_active_are_not_told_otherwise() -> None:
    """Also those that are remote on that peer."""
    assert passed(archive()).not_active == frozenset()


def test_a_state_that_cannot_be_read_is_no_harm() -> None:
    """Another version may write it otherwise; the looks before and after still count."""
    data = archive("Dead")
    name = json.dumps({"is_local": True}, separators=(",", ":"))[:10].encode()
    assert name in data

    assert passed(data.replace(name, b"?" * len(name))).not_active == frozenset()


def test_what_is_cut_off_or_is_no_collection_is_refused() -> None:
    """A tar of something else ends as well as one of a collection."""
    data = archive()
    with pytest.raises(BadArchive):
        passed(data[: len(data) // 2])
    with pytest.raises(BadArchive, match=r"no config\.json"):
        passed(bytes(1_024))
