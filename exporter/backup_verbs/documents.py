"""Sets, proofs and plans as JSON documents: what programs read of the verbs."""

from __future__ import annotations

from typing import Any

from exporter.backup.pruning import Line, Plan
from exporter.backup.words import Chunk, Export, Level, Manifest, Proof, StoredSet


def set_document(one: StoredSet) -> dict[str, Any]:
    """A set in short, as a list shows it. Times are Unix seconds, sizes bytes."""
    manifest = one.manifest
    return {
        "id": manifest.id,
        "cluster": manifest.cluster,
        "collection": manifest.collection,
        "kind": manifest.kind.value,
        "state": manifest.state.value,
        "startedAt": manifest.started_at,
        "endedAt": manifest.ended_at,
        "points": manifest.points,
        "settled": manifest.settled,
        "sizeBytes": manifest.size_bytes,
        "archives": len(manifest.archives),
        "chunks": len(manifest.chunks),
        "consistency": None if manifest.export is None else manifest.export.consistency.value,
        "losses": [] if manifest.export is None else list(manifest.export.losses),
        "job": manifest.job,
        "good": one.counts,
        "accepted": one.accepted,
        "verified": {proof.level.value: proof_document(proof) for proof in one.proofs},
        "problems": list(manifest.problems),
    }


def whole_document(one: StoredSet) -> dict[str, Any]:
    """A set with all that its manifest says."""
    manifest = one.manifest
    return set_document(one) | {
        "export": None if manifest.export is None else _export_document(manifest.export),
        "uuid": manifest.uuid,
        "exporterVersion": manifest.exporter_version,
        "serverVersions": dict(manifest.versions),
        "aliases": list(manifest.aliases),
        "payloadSchema": manifest.payload_schema,
        "config": manifest.config,
        "keys": [{"key": key.key, "shards": list(key.shards)} for key in manifest.keys],
        "files": [
            {
                "file": archive.file,
                "peer": archive.peer,
                "peerId": archive.peer_id,
                "serverVersion": archive.version,
                "snapshot": archive.snapshot,
                "sizeBytes": archive.size_bytes,
                "sha256": archive.sha256,
                "checksumFromServer": archive.checksum_from_server,
                "shards": [held.shard for held in archive.shards],
            }
            for archive in manifest.archives
        ]
        + [_chunk_document(chunk) for chunk in manifest.chunks],
        "shards": [
            {
                "shard": shard.shard,
                "key": shard.key,
                "file": shard.archive,
                "points": shard.points,
                "settled": shard.settled,
                "counted": shard.counted,
                "pointsBefore": shard.points_before,
                "pointsAfter": shard.points_after,
                "peerIds": list(shard.peer_ids),
            }
            for shard in manifest.shards
        ],
    }


def _export_document(export: Export) -> dict[str, Any]:
    return {
        "encoding": export.encoding.value,
        "consistency": export.consistency.value,
        "reasons": list(export.reasons),
        "losses": list(export.losses),
        "pointsBefore": export.points_before,
        "pointsAfter": export.points_after,
    }


def _chunk_document(chunk: Chunk) -> dict[str, Any]:
    return {
        "file": chunk.file,
        "key": chunk.key,
        "points": chunk.points,
        "sizeBytes": chunk.size_bytes,
        "sha256": chunk.sha256,
        "first": chunk.first,
        "last": chunk.last,
        "contentHash": chunk.content,
    }


def proof_document(proof: Proof) -> dict[str, Any]:
    """One verification."""
    return {
        "level": int(proof.level.value),
        "at": proof.at,
        "good": proof.good,
        "by": proof.by,
        "tookSeconds": round(proof.took_seconds, 3),
        "points": dict(proof.points),
        "contentHash": proof.content,
        "problems": list(proof.problems),
    }


def plan_document(plan: Plan) -> dict[str, Any]:
    """What pruning does with one collection's sets, and why."""
    return {
        "cluster": plan.cluster,
        "collection": plan.collection,
        "stopped": plan.stopped,
        "lines": [_line_document(line) for line in plan.lines],
    }


def _line_document(line: Line) -> dict[str, Any]:
    return {
        "id": line.id,
        "kind": line.matter.value,
        "setKind": line.thing.manifest.kind.value if isinstance(line.thing, StoredSet) else None,
        "keep": line.keep,
        "reasons": list(line.reasons),
        "sizeBytes": line.size_bytes,
        "endedAt": line.ended_at,
    }


def proven_text(one: StoredSet) -> str:
    """How far a set is proven, in a few words."""
    bad = [proof for proof in one.proofs if not proof.good]
    if one.is_bad and bad:
        return f"BAD at level {max(proof.level for proof in bad).value}"
    levels = [level for level in Level if one.proven(level) is not None]
    return f"level {max(levels).value}" if levels else "not yet"


def state_text(manifest: Manifest) -> str:
    """The state of a set, and whether a writer was running."""
    return manifest.state.value if manifest.settled else f"{manifest.state.value}, written to meanwhile"
