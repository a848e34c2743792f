"""The JSON that tells of segments: in telemetry of level 4, of the optimizations, of memory."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tests.kit.snapshot_cluster.optimizers import Run, Segment
from tests.kit.snapshot_cluster.world import Collection, Replica

UUIDS_SINCE = (1, 17)
# What an empty appendable segment takes on a real disk, in files that are allotted ahead.
EMPTY_BYTES = 44_000_000


def segment(one: Segment, own: Replica, found: Collection, version: tuple[int, ...]) -> dict[str, Any]:
    """Return a segment of telemetry's `local.segments`."""
    points = len(own.points)
    live = own.optimizers.live(one, points)
    vectors = own.optimizers.vectors(one, points, found.vector_names)
    info = {
        "segment_type": one.kind,
        "num_vectors": sum(held for held, _ in vectors.values()),
        "num_points": live,
        "num_indexed_vectors": sum(indexed for _, indexed in vectors.values()),
        "num_deleted_vectors": one.deleted,
        "vectors_size_bytes": live * one.vector_bytes,
        "payloads_size_bytes": live * one.payload_bytes,
        "ram_usage_bytes": 0,
        "disk_usage_bytes": 0,
        "is_appendable": one.kind == "plain",
        "index_schema": {},
        "vector_data": {
            name: {"num_vectors": held, "num_indexed_vectors": indexed, "num_deleted_vectors": 0}
            for name, (held, indexed) in vectors.items()
        },
    }
    if version >= UUIDS_SINCE:
        info = {"uuid": one.uuid, **info}
    kind = "hnsw" if one.kind == "indexed" else "plain"
    config = {
        name: {"size": 4, "distance": "Dot", "storage_type": "Mmap", "index": {"type": kind, "options": {}}}
        for name in vectors
    }
    return {
        "info": info,
        "config": {"vector_data": config, "payload_storage_type": {"type": "mmap"}},
        "vector_index_searches": [{"index_name": name} for name in vectors],
        "payload_field_indices": [],
    }


def logged(run: Run, version: tuple[int, ...]) -> dict[str, Any]:
    """Return a run of telemetry's `optimizations.log`."""
    uuids = {"uuid": run.uuid, "segment_uuids": [run.segment]} if version >= UUIDS_SINCE else {}
    return {
        "name": run.name,
        **uuids,
        "segment_ids": [3],
        "status": run.status,
        "start_at": _stamp(run.started),
        "end_at": None if run.ended is None else _stamp(run.ended),
    }


def optimizations(
    found: Collection, replicas: Iterable[Replica], *, shown: frozenset[str], queued_elsewhere: int
) -> dict[str, Any]:
    """GET /collections/{c}/optimizations as of 1.17. `queued_elsewhere`: optimizations that only it knows."""
    running: list[dict[str, Any]] = []
    queued = [{"optimizer": "merge", "segments": []} for _ in range(queued_elsewhere)]
    points = segments = idle = 0
    for own in replicas:
        lives = {one.uuid: own.optimizers.live(one, len(own.points)) for one in own.optimizers.segments}
        running += [_running(run, lives) for run in own.optimizers.running]
        thresholds = found.config["optimizer_config"]
        wanted = own.optimizers.wanted(len(own.points), thresholds, found.vector_names)
        queued += [{"optimizer": "vacuum", "segments": [_counted(one.uuid, lives)]} for one in wanted]
        points += sum(lives[one.uuid] for one in wanted)
        segments += len(wanted)
        idle += len(lives) - len(wanted) - len(own.optimizers.running)
    said: dict[str, Any] = {
        "summary": {
            "queued_optimizations": len(queued),
            "queued_segments": segments,
            "queued_points": points,
            "idle_segments": idle,
        },
        "running": running,
    }
    return said | ({"queued": queued} if "queued" in shown else {})


def ongoing(replicas: Iterable[Replica]) -> dict[str, Any]:
    """GET /collections/{c}/optimizations as of 1.16.3, of this peer alone."""
    runs = [run for own in replicas for run in own.optimizers.running]
    return {"ongoing": [_progress(run) for run in runs]}


def memory(found: Collection, replicas: Iterable[Replica]) -> dict[str, Any]:
    """GET /collections/{c}/memory, since 1.18: deleted points still take room on the disk."""
    vectors = payload = 0
    for own in replicas:
        for one in own.optimizers.segments:
            total = own.optimizers.live(one, len(own.points)) + one.deleted
            vectors += total * one.vector_bytes
            payload += total * one.payload_bytes
            payload += EMPTY_BYTES if one.kind == "plain" else 0
    return {
        "total": _used(vectors + payload),
        "vectors": [
            {"name": name, "storage": _used(vectors), "index": _used(0)} for name in found.vector_names[:1]
        ],
        "sparse_vectors": [],
        "payload": _used(payload),
        "payload_index": [],
        "other": {"id_tracker": _used(0)},
    }


def _used(disk: int) -> dict[str, int]:
    return {"disk_bytes": disk, "ram_bytes": 0, "cached_bytes": 0, "expected_cache_bytes": 0}


def _running(run: Run, lives: dict[str, int]) -> dict[str, Any]:
    return {
        "uuid": run.uuid,
        "optimizer": run.name,
        "status": "optimizing",
        "segments": [_counted(run.segment, lives)],
        "progress": _progress(run),
    }


def _counted(uuid: str, lives: dict[str, int]) -> dict[str, Any]:
    return {"uuid": uuid, "points_count": lives.get(uuid, 0)}


def _progress(run: Run) -> dict[str, Any]:
    started = _stamp(run.started)
    return {"name": "Segment Optimizing", "started_at": started, "children": [{"name": "copy_data"}]}


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
