"""GET /telemetry: everything from the server's own bookkeeping, so that it never waits for a worker.

What the engine does not tell and nobody counted is left out; the shape test names each with its reason.
"""

from __future__ import annotations

from typing import Any

from exporter.embedded.answers import SPOKEN_VERSION, to_milliseconds
from exporter.embedded.catalog import Catalog, Collection
from exporter.embedded.collection_config import dense_vectors
from exporter.embedded.machine import Machine
from exporter.embedded.shard import Shard
from exporter.embedded.shard_view import (
    SegmentView,
    excluded_by_indexed_only,
    has_plain_sizes,
    vector_names,
    vectors_by_name,
)
from exporter.embedded.snapshots import Snapshots
from exporter.embedded.traffic import Traffic

# What each level adds, as 1.18.3 does it.
LEVEL_SUMMARY, LEVEL_CONFIG, LEVEL_SHARDS, LEVEL_SEGMENTS = 1, 2, 3, 4


class TelemetryPage:
    """Builds the page. `started_seconds` is the Unix time of the server's start."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        snapshots: Snapshots,
        traffic: Traffic,
        machine: Machine,
        started_seconds: float,
    ) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._traffic = traffic
        self._machine = machine
        self._started_seconds = started_seconds

    def build(self, level: int) -> dict[str, Any]:
        """Return the page at one level of detail."""
        page: dict[str, Any] = {
            "id": self._catalog.process_id,
            "app": self._app(level),
            "collections": self._collections(level),
            "cluster": {"enabled": False, "resharding_enabled": False},
            "requests": self._traffic.answer(full=level >= LEVEL_SUMMARY),
        }
        if level >= LEVEL_SUMMARY:
            resident_bytes = self._machine.resident_bytes(self._process_ids())
            page["memory"] = {} if resident_bytes is None else {"resident_bytes": resident_bytes}
        return page

    def _process_ids(self) -> list[int]:
        shards = [collection.shard for collection in self._catalog.collections.values()]
        return [shard.process_id for shard in shards if shard.process_id is not None]

    def _app(self, level: int) -> dict[str, Any]:
        app: dict[str, Any] = {
            "name": "qdrant",
            "version": SPOKEN_VERSION,
            "startup": to_milliseconds(self._started_seconds),
        }
        if level >= LEVEL_SUMMARY:
            app["features"] = {"recovery_mode": False}
            app["system"] = self._machine.system(self._process_ids())
        return app

    def _collections(self, level: int) -> dict[str, Any]:
        held = self._catalog.collections.values()
        answer: dict[str, Any] = {"number_of_collections": len(held)}
        if level == LEVEL_SUMMARY:
            answer["collections"] = [_summary(collection) for collection in held]
            answer["snapshots"] = []
        elif level >= LEVEL_CONFIG:
            answer["collections"] = [self._collection(collection, level) for collection in held]
            answer["snapshots"] = [
                {
                    "id": name,
                    "running_snapshots": self._snapshots.creating[name],
                    "running_snapshot_recovery": self._snapshots.recovering[name],
                    "total_snapshot_creations": self._snapshots.created[name],
                }
                for name in self._snapshots.names
            ]
        return answer

    def _collection(self, collection: Collection, level: int) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "id": collection.name,
            "init_time_ms": round(collection.opening_seconds * 1000),
            "config": {**collection.config, "uuid": None},
        }
        if level >= LEVEL_SHARDS:
            answer["shards"] = [
                {
                    "id": 0,
                    "key": None,
                    "local": local_shard(collection, level),
                    "remote": [],
                    "replicate_states": {str(self._catalog.peer_id): "Active"},
                    "partial_snapshot": {  # there is no route that would start one
                        "ongoing_create_snapshot_requests": 0,
                        "is_recovering": False,
                        "recovery_timestamp": 0,
                    },
                }
            ]
            answer["transfers"] = []
            answer["resharding"] = []
        return answer


def _summary(collection: Collection) -> dict[str, Any]:
    shard = collection.shard
    return {
        "vectors": sum(vectors_by_name(shard.segments, shard.config).values()),
        "optimizers_status": optimizer_status(shard),
        "params": collection.config["params"],
    }


def optimizer_status(shard: Shard) -> Any:
    """Return "ok", or the error that the last optimizing ended with."""
    return "ok" if shard.error is None else {"error": shard.error}


def local_shard(collection: Collection, level: int) -> dict[str, Any]:
    """Return one shard as telemetry shows it from level 3 on."""
    shard, segments = collection.shard, collection.shard.segments
    by_name = vectors_by_name(segments, shard.config)
    answer: dict[str, Any] = {
        "variant_name": "local shard",
        "status": shard.status,
        "total_optimized_points": shard.optimized_points,
        "payloads_size_bytes": sum(segment.files.payload_bytes for segment in segments),
        "num_points": shard.counts.points,
        "num_vectors": sum(by_name.values()),
        "num_vectors_by_name": by_name,
        "optimizations": {"status": optimizer_status(shard), "optimizations": shard.log.statistics()},
        "update_queue": {"length": shard.queue_length, "op_num": shard.operations},
    }
    if has_plain_sizes(shard.config):
        answer["vectors_size_bytes"] = sum(vector_bytes(segment, shard) for segment in segments)
    if level >= LEVEL_SEGMENTS:
        answer["segments"] = [_segment(segment, collection) for segment in segments]
        answer["optimizations"]["log"] = shard.log.entries(shard.segment_numbers)
        answer["indexed_only_excluded_vectors"] = excluded_by_indexed_only(segments, shard.config)
    return answer


def vector_bytes(segment: SegmentView, shard: Shard) -> int:
    """Return the bytes of the live points' dense vectors in one segment."""
    return sum(segment.live_bytes(vector) for vector in dense_vectors(shard.config))


def _segment(segment: SegmentView, collection: Collection) -> dict[str, Any]:
    names = vector_names(collection.config)
    info: dict[str, Any] = {
        "uuid": segment.uuid,
        "segment_type": "indexed" if segment.is_indexed else "plain",
        "num_vectors": sum(segment.vectors(name) for name in names),
        "num_points": segment.live_points,
        "num_indexed_vectors": sum(segment.files.indexed_vectors.values()),
        "num_deleted_vectors": segment.slots - segment.live_points,
        "payloads_size_bytes": segment.files.payload_bytes,
        "is_appendable": segment.files.appendable,
        "index_schema": collection.index_schema,
        "vector_data": {
            name: {
                "num_vectors": segment.vectors(name),
                "num_indexed_vectors": segment.files.indexed_vectors.get(name, 0),
                "num_deleted_vectors": segment.files.missing_vectors.get(name, 0),
            }
            for name in names
        },
    }
    if has_plain_sizes(collection.config):
        info["vectors_size_bytes"] = vector_bytes(segment, collection.shard)
    if not collection.config["optimizer_config"]["prevent_unoptimized"]:
        info["num_deferred_points"] = info["num_deleted_deferred_points"] = 0  # nothing is ever deferred
    return {"info": info, "config": segment.files.config}
