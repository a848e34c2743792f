"""One shard as its newest survey and counts together show it. Pure: no process, no disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from exporter.embedded.collection_config import KIB, DenseVector, dense_vectors, sparse_names
from exporter.embedded.messages import Counts, SegmentFiles, Survey


@dataclass(frozen=True, slots=True)
class SegmentView:
    """One segment: what its files said, moved on to what the engine counts now."""

    files: SegmentFiles
    live_points: int
    slots: int  # live and deleted

    @property
    def uuid(self) -> str:
        """The segment's own id, the name of its folder."""
        return self.files.uuid

    @property
    def is_indexed(self) -> bool:
        """Some vector of it is in an index: what Qdrant calls segment_type "indexed"."""
        return any(not self.is_plain(name) for name in self.files.config.get("vector_data") or {}) or bool(
            self.files.config.get("sparse_vector_data")
        )

    def is_plain(self, name: str) -> bool:
        """A dense vector of this segment has no index."""
        return bool(self.files.config["vector_data"][name]["index"]["type"] == "plain")

    def vectors(self, name: str) -> int:
        """Vectors of one name in it; those of deleted points stay until a vacuum."""
        return self.slots - self.files.missing_vectors.get(name, 0)

    def raw_bytes(self, vector: DenseVector) -> int:
        """Bytes of all vectors of one name, which those of deleted points are until a vacuum."""
        return self.vectors(vector.name) * vector.bytes_each

    def live_bytes(self, vector: DenseVector) -> int:
        """The live points' part of `raw_bytes`."""
        return self.raw_bytes(vector) * self.live_points // self.slots if self.slots else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Work that the optimizer would do now."""

    optimizer: str  # "indexing", "vacuum"
    segments: tuple[SegmentView, ...]

    @property
    def points(self) -> int:
        """Live points of all its segments."""
        return sum(segment.live_points for segment in self.segments)


def segment_views(survey: Survey, counts: Counts) -> tuple[SegmentView, ...]:
    """Return the segments as of `counts`, which may be newer than the survey.

    What came since is in the smallest appendable segment: it holds whatever the others do not.
    """
    appendable = [files for files in survey.segments if files.appendable]
    growing = min(appendable, key=lambda files: files.slots, default=None)
    settled = sum(one.slots - one.deleted_points for one in survey.segments if one is not growing)
    views = []
    for files in survey.segments:
        if files is not growing:
            views.append(SegmentView(files, files.slots - files.deleted_points, files.slots))
            continue
        live = max(0, counts.points - settled)
        grown = max(0, counts.points - survey.counts.points)
        views.append(SegmentView(files, live, max(live, files.slots + grown)))
    return tuple(views)


def plans(segments: Iterable[SegmentView], config: Mapping[str, Any]) -> tuple[Plan, ...]:
    """Return what the optimizer would do, by the engine's own thresholds.

    Indexing: raw bytes of a vector reach indexing_threshold KB and its index is plain. Vacuum: of at
    least vacuum_min_vector_number points more than the share deleted_threshold is deleted.
    """
    optimizers, vectors = config["optimizer_config"], dense_vectors(config)
    threshold_bytes = optimizers["indexing_threshold"] * KIB
    segments = tuple(segments)
    unindexed = tuple(
        segment
        for segment in segments
        if threshold_bytes
        and any(
            segment.is_plain(vector.name) and segment.raw_bytes(vector) >= threshold_bytes
            for vector in vectors
        )
    )
    littered = tuple(
        segment
        for segment in segments
        if segment not in unindexed
        and segment.slots >= optimizers["vacuum_min_vector_number"]
        and segment.slots - segment.live_points > optimizers["deleted_threshold"] * segment.slots
    )
    found = (Plan("indexing", unindexed), Plan("vacuum", littered))
    return tuple(plan for plan in found if plan.segments)


def vector_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all vectors, dense and sparse."""
    return (*(vector.name for vector in dense_vectors(config)), *sparse_names(config))


def vectors_by_name(segments: Iterable[SegmentView], config: Mapping[str, Any]) -> dict[str, int]:
    """Return how many vectors of each name the shard holds."""
    segments = tuple(segments)
    return {name: sum(segment.vectors(name) for segment in segments) for name in vector_names(config)}


def has_plain_sizes(config: Mapping[str, Any]) -> bool:
    """Every vector has one row of fixed size, so that bytes can be computed from counts."""
    return not sparse_names(config) and not any(vector.multiple for vector in dense_vectors(config))


def excluded_by_indexed_only(segments: Iterable[SegmentView], config: Mapping[str, Any]) -> dict[str, int]:
    """Return the points of each dense vector that a search with indexed_only skips.

    Qdrant skips plain segments larger than both indexing_threshold and full_scan_threshold KB.
    """
    largest = max(
        config["optimizer_config"]["indexing_threshold"], config["hnsw_config"]["full_scan_threshold"]
    )
    segments = tuple(segments)
    return {
        vector.name: sum(
            segment.live_points
            for segment in segments
            if segment.is_plain(vector.name) and segment.live_bytes(vector) > largest * KIB
        )
        for vector in dense_vectors(config)
    }
