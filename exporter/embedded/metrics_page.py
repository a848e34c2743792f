"""GET /metrics of the embedded server: the families of Qdrant 1.18.3 that can be filled truthfully."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from exporter.embedded.answers import SPOKEN_VERSION
from exporter.embedded.catalog import Catalog, Collection
from exporter.embedded.shard_view import excluded_by_indexed_only, vectors_by_name
from exporter.embedded.snapshots import Snapshots
from exporter.embedded.traffic import BUCKET_SECONDS, Tally, Traffic

Sample = tuple[str, Mapping[str, str], float]  # suffix of the name, labels, value
# Of all routes Qdrant shows only those that touch data.
SHOWN_ROUTES = ("/points", "/index", "/facet")


def metrics_page(catalog: Catalog, snapshots: Snapshots, traffic: Traffic, resident_bytes: int | None) -> str:
    """Return the page in Prometheus's text format 0.0.4."""
    lines = [*_server_lines(catalog), *_collection_lines(catalog)]
    lines += [*_snapshot_lines(snapshots), *_traffic_lines(traffic)]
    if resident_bytes is not None:
        lines += _gauge("memory_resident_bytes", "resident memory of the engine", [("", {}, resident_bytes)])
    return "\n".join(lines) + "\n"


def _server_lines(catalog: Catalog) -> Iterator[str]:
    held = catalog.collections.values()
    vectors = sum(sum(_vectors(collection).values()) for collection in held)
    version = {"name": "qdrant", "version": SPOKEN_VERSION}
    yield from _gauge("app_info", "name and version of the server", [("", version, 1)])
    yield from _gauge("app_status_recovery_mode", "recovery mode is on", [("", {}, 0)])
    yield from _gauge("collections_total", "number of collections", [("", {}, len(held))])
    yield from _gauge("collections_vector_total", "vectors of all collections", [("", {}, vectors)])
    yield from _gauge("cluster_enabled", "cluster mode is on", [("", {}, 0)])


def _collection_lines(catalog: Catalog) -> Iterator[str]:
    held = list(catalog.collections.values())
    by_vector = [
        ("", {"collection": collection.name, "vector": name}, count)
        for collection in held
        for name, count in _vectors(collection).items()
    ]
    excluded = [
        ("", {"id": collection.name, "vector": name}, points)
        for collection in held
        for name, points in excluded_by_indexed_only(collection.shard.segments, collection.config).items()
    ]
    yield from _gauge("collection_vectors", "vectors by name", by_vector)
    yield from _gauge("collection_indexed_only_excluded_points", "points that indexed_only skips", excluded)
    if held:
        yield from _gauge("collection_active_replicas_min", "least active replicas of a shard", [("", {}, 1)])
        yield from _gauge("collection_active_replicas_max", "most active replicas of a shard", [("", {}, 1)])
    yield from _gauge("collection_dead_replicas", "replicas that are not active", [("", {}, 0)])
    yield from _per_collection(
        "collection_running_optimizations",
        "optimizations under way",
        {one.name: int(one.shard.log.running is not None) for one in held},
    )
    yield from _per_collection(
        "collection_points", "points", {one.name: one.shard.counts.points for one in held}
    )
    yield from _per_collection(
        "collection_update_queue_length",
        "changes waiting",
        {one.name: one.shard.queue_length for one in held},
    )


def _snapshot_lines(snapshots: Snapshots) -> Iterator[str]:
    names = snapshots.names
    running = {
        "snapshot_creation_running": snapshots.creating,
        "snapshot_recovery_running": snapshots.recovering,
    }
    for family, counts in running.items():
        yield from _per_collection(family, "snapshots under way", {name: counts[name] for name in names})
    created: list[Sample] = [("", {"id": name}, snapshots.created[name]) for name in names]
    yield from _family("snapshot_created_total", "counter", "snapshots created", created)


def _traffic_lines(traffic: Traffic) -> Iterator[str]:
    shown = [
        ({"method": method, "endpoint": endpoint, "status": str(status)}, tally)
        for route, by_status in traffic.tallies.items()
        for method, _, endpoint in [route.partition(" ")]
        if any(part in endpoint for part in SHOWN_ROUTES)
        for status, tally in by_status.items()
    ]
    if not shown:
        return
    counts: list[Sample] = [("", labels, tally.count) for labels, tally in shown]
    yield from _family("rest_responses_total", "counter", "responses", counts)
    of_tally: dict[str, Callable[[Tally], float]] = {
        "avg": lambda tally: tally.total_micros / tally.count,
        "min": lambda tally: tally.least_micros,
        "max": lambda tally: tally.most_micros,
    }
    for name, micros in of_tally.items():
        durations: list[Sample] = [("", labels, micros(tally) / 1e6) for labels, tally in shown]
        yield from _gauge(f"rest_responses_{name}_duration_seconds", f"{name} response duration", durations)
    buckets = [sample for labels, tally in shown for sample in _histogram(labels, tally)]
    yield from _family("rest_responses_duration_seconds", "histogram", "response duration", buckets)


def _histogram(labels: Mapping[str, str], tally: Tally) -> Iterator[Sample]:
    so_far = 0
    for bound, count in zip([*map("{:g}".format, BUCKET_SECONDS), "+Inf"], tally.buckets, strict=True):
        so_far += count
        yield "_bucket", {**labels, "le": bound}, so_far
    yield "_sum", labels, tally.total_micros / 1e6
    yield "_count", labels, tally.count


def _vectors(collection: Collection) -> dict[str, int]:
    return vectors_by_name(collection.shard.segments, collection.config)


def _per_collection(name: str, text: str, values: Mapping[str, int]) -> Iterator[str]:
    return _gauge(name, text, [("", {"id": collection}, value) for collection, value in values.items()])


def _gauge(name: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    return _family(name, "gauge", text, samples)


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for suffix, labels, value in samples:
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{suffix}{'{' + shown + '}' if shown else ''} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
