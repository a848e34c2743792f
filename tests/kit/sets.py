"""Sets of backups made up for tests, every field with a sane value."""

from __future__ import annotations

from typing import Any

from exporter.backup.words import (
    EXPORT_FORMAT,
    Archive,
    ArchivedShard,
    Chunk,
    Consistency,
    Encoding,
    Export,
    Manifest,
    SetKind,
    SetState,
    ShardCopy,
)


def manifest(**changed: Any) -> Manifest:
    """Return the manifest of a complete set of one peer, one shard and ten points, changed as told."""
    fields: dict[str, Any] = {
        "format": 1,
        "id": "20270115T080000Z-00000a",
        "cluster": "prod",
        "collection": "docs",
        "state": SetState.COMPLETE,
        "problems": (),
        "started_at": 1_800_000_000.0,
        "ended_at": 1_800_000_060.0,
        "exporter_version": "0.1.0",
        "job": "nightly",
        "versions": {"a": "1.18.3"},
        "uuid": "0c996d9e-a56f-4964-9400-247f7afcb443",
        "config": {"params": {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 1}},
        "payload_schema": {},
        "aliases": (),
        "keys": (),
        "archives": (archive(),),
        "shards": (shard(),),
        "op_numbers": {"0/1": 12},
    }
    return Manifest(**fields | changed)


def archive(**changed: Any) -> Archive:
    """Return an archive of peer "a" that holds shard 0, changed as told."""
    fields: dict[str, Any] = {
        "file": "a.snapshot",
        "peer": "a",
        "peer_id": 1,
        "version": "1.18.3",
        "snapshot": "docs-1-2027-01-15-08-00-00.snapshot",
        "size_bytes": 4_096,
        "sha256": "0" * 64,
        "checksum_from_server": True,
        "began_at": 1_800_000_010.0,
        "ended_at": 1_800_000_020.0,
        "shards": (ArchivedShard(shard=0, offset=0, length=2_048),),
    }
    return Archive(**fields | changed)


def shard(**changed: Any) -> ShardCopy:
    """Return shard 0 with ten points in the archive of peer "a", changed as told."""
    fields: dict[str, Any] = {
        "shard": 0,
        "key": None,
        "archive": "a.snapshot",
        "points": 10,
        "settled": True,
        "points_before": 10,
        "points_after": 10,
        "counted": False,
        "peer_ids": (1,),
    }
    return ShardCopy(**fields | changed)


def exported(**changed: Any) -> Manifest:
    """Return the manifest of a complete export of one chunk with ten points, changed as told."""
    fields: dict[str, Any] = {
        "format": EXPORT_FORMAT,
        "kind": SetKind.EXPORT,
        "archives": (),
        "shards": (),
        "chunks": (chunk(),),
        "export": export(),
    }
    return manifest(**fields | changed)


def export(**changed: Any) -> Export:
    """Return what is known of an export of ten points that nobody wrote to meanwhile, changed as told."""
    fields: dict[str, Any] = {
        "encoding": Encoding.MSGPACK,
        "consistency": Consistency.QUIESCED,
        "reasons": (),
        "losses": (),
        "points_before": 10,
        "points_after": 10,
    }
    return Export(**fields | changed)


def chunk(**changed: Any) -> Chunk:
    """Return a chunk with the points 1 to 10, changed as told."""
    fields: dict[str, Any] = {
        "file": "0000-000000.points",
        "key": None,
        "points": 10,
        "size_bytes": 4_096,
        "sha256": "0" * 64,
        "first": 1,
        "last": 10,
        "content": f"c1:{0:032x}:{0:032x}",
    }
    return Chunk(**fields | changed)
