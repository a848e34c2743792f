"""The requests of jobs, and what their answers say: collections, shards, snapshots. No I/O.

Each reader raises BadPayload where the answer is not what the server says there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from exporter.qdrant.answers import decode
from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Request
from exporter.qdrant.door import quote_segment
from exporter.qdrant.kept import (
    ACTIVE,
    CollectionSeen,
    Description,
    Placement,
    ServerSeen,
    ShardKey,
    ShardSeen,
    SnapshotDescription,
    Transfer,
    collection_seen,
    error_of,
)
from exporter.qdrant.payloads import (
    Aliases,
    ClusterStatus,
    CollectionName,
    CollectionTelemetry,
    Count,
    Payload,
    RunningSnapshots,
    Telemetry,
    result,
)

__all__ = [
    "ACTIVE",
    "COLLECTION",
    "SHARD_UPLOAD",
    "SNAPSHOT",
    "CollectionSeen",
    "Description",
    "Placement",
    "ServerSeen",
    "ShardKey",
    "ShardSeen",
    "SnapshotDescription",
    "Transfer",
]

T = TypeVar("T")

COLLECTION = "/collections/{collection}"
TELEMETRY = "/telemetry?details_level={level}"
SNAPSHOTS = f"{COLLECTION}/snapshots"
SNAPSHOT = f"{SNAPSHOTS}/{{snapshot}}"
SHARD_UPLOAD = f"POST {COLLECTION}/shards/{{shard}}/snapshots/upload"


class _Named(Payload, frozen=True):
    name: str


class _Collections(Payload, frozen=True):
    collections: list[_Named]


class _Described(Payload, frozen=True):
    config: dict[str, Any]
    status: str
    payload_schema: dict[str, Any] | None = None
    points_count: Count | None = None
    optimizer_status: Any = None


class _Counted(Payload, frozen=True):
    count: Count


class _Scrolled(Payload, frozen=True):
    points: list[dict[str, Any]]
    next_page_offset: int | str | None = None


class _Page(Payload, Generic[T], frozen=True):
    points: list[T]
    next_page_offset: int | str | None = None


class _Queried(Payload, frozen=True):
    points: list[dict[str, Any]]


def cluster_status() -> Asked:
    """Ask for the peers and consensus."""
    return Asked(Request("/cluster"), "/cluster")


def read_cluster_status(body: bytes) -> ClusterStatus:
    """Understand the answer to `cluster_status`."""
    return result(body, ClusterStatus, "/cluster")


def telemetry(level: int = 3) -> Asked:
    """Ask for what this peer knows by itself. Level 3 has all of CollectionSeen, 2 is for `read_running`."""
    return Asked(Request(f"/telemetry?details_level={level}"), TELEMETRY.format(level=level))


def read_server(body: bytes) -> ServerSeen:
    """Return what `telemetry` says of the server itself."""
    app = result(body, Telemetry, TELEMETRY).app
    return ServerSeen(app.version, app.startup)


def read_telemetry(body: bytes, collection: str) -> CollectionSeen | None:
    """Return one collection of the answer to `telemetry`; None where this peer does not have it."""
    said = result(body, Telemetry, TELEMETRY)
    for raw in said.collections.collections:
        if decode(raw, CollectionName, TELEMETRY).id == collection:
            seen = decode(raw, CollectionTelemetry, TELEMETRY)
            running = running_of(said, collection)
            return collection_seen(seen, running, ServerSeen(said.app.version, said.app.startup))
    return None


def read_running(body: bytes, collection: str) -> RunningSnapshots | None:
    """Return what `telemetry` counts of a collection's snapshots, from level 2 on; None: nothing, as 1.12."""
    return running_of(result(body, Telemetry, TELEMETRY), collection)


def running_of(said: Telemetry, collection: str) -> RunningSnapshots | None:
    """Find what runs for a collection; None where the server does not count, as 1.12."""
    raw = said.collections.snapshots
    if not bytes(raw):
        return None
    listed = decode(raw, list[RunningSnapshots], TELEMETRY)
    return next((one for one in listed if one.id == collection), RunningSnapshots(collection))


def collections() -> Asked:
    """List the collections."""
    return Asked(Request("/collections"), "/collections")


def read_collections(body: bytes) -> tuple[str, ...]:
    """Return the names, in order."""
    return tuple(sorted(one.name for one in result(body, _Collections, "/collections").collections))


def aliases() -> Asked:
    """List the aliases of all collections."""
    return Asked(Request("/aliases"), "/aliases")


def read_aliases(body: bytes) -> dict[str, str]:
    """Return the collection behind each alias."""
    return {one.alias_name: one.collection_name for one in result(body, Aliases, "/aliases").aliases}


def describe(collection: str) -> Asked:
    """Ask for the settings of a collection; the server asks its peers, and fails where one is dead."""
    return Asked(Request(_path(collection)), COLLECTION)


def read_description(body: bytes) -> Description:
    """Understand the answer to `describe`."""
    said = result(body, _Described, COLLECTION)
    return Description(
        config=said.config,
        payload_schema=said.payload_schema or {},
        points_count=said.points_count,
        status=said.status,
        optimizer_status=error_of(said.optimizer_status) or "ok",
    )


def placement(collection: str) -> Asked:
    """Ask where the replicas are, and what moves."""
    return Asked(Request(f"{_path(collection)}/cluster"), f"{COLLECTION}/cluster")


def read_placement(body: bytes) -> Placement:
    """Understand the answer to `placement`."""
    return result(body, Placement, f"{COLLECTION}/cluster")


def list_snapshots(collection: str) -> Asked:
    """List the snapshots of a collection that lie on this peer."""
    return Asked(Request(f"{_path(collection)}/snapshots"), SNAPSHOTS)


def full_snapshots() -> Asked:
    """List the snapshots of the whole storage that lie on this peer."""
    return Asked(Request("/snapshots"), "/snapshots")


def read_snapshots(body: bytes) -> list[SnapshotDescription]:
    """Understand the answer to `list_snapshots` and `full_snapshots`."""
    return result(body, list[SnapshotDescription], SNAPSHOTS)


def create_snapshot(collection: str) -> Asked:
    """Take a snapshot on this peer. It goes on when nobody waits for it any more."""
    return _writing("POST", f"{_path(collection)}/snapshots?wait=true", SNAPSHOTS, {})


def read_snapshot(body: bytes) -> SnapshotDescription:
    """Understand the answer to `create_snapshot`."""
    return result(body, SnapshotDescription, SNAPSHOTS)


def delete_snapshot(collection: str, name: str) -> Asked:
    """Delete a snapshot on this peer."""
    return _writing("DELETE", f"{snapshot_path(collection, name)}?wait=true", SNAPSHOT)


def snapshot_path(collection: str, name: str) -> str:
    """Return the path of a snapshot's bytes, endpoint SNAPSHOT."""
    return f"{_path(collection)}/snapshots/{quote_segment(name)}"


def shard_upload_path(collection: str, shard: int) -> str:
    """Return where one shard's archive is uploaded, endpoint SHARD_UPLOAD: replicas of it are replaced.

    Always priority=snapshot: `replica` has stopped the consensus of a cluster for good, and `no_sync`
    leaves replicas that disagree.
    """
    return f"{_path(collection)}/shards/{shard}/snapshots/upload?priority=snapshot&wait=true"


def create_collection(collection: str, body: Mapping[str, Any]) -> Asked:
    """Create a collection."""
    return _writing("PUT", _path(collection), COLLECTION, body)


def patch_collection(collection: str, body: Mapping[str, Any]) -> Asked:
    """Change settings of a collection; what is null or left out stays."""
    return _writing("PATCH", _path(collection), COLLECTION, body)


def delete_collection(collection: str) -> Asked:
    """Delete a collection; its snapshots stay on the server's disk."""
    return _writing("DELETE", _path(collection), COLLECTION)


def create_key(collection: str, body: Mapping[str, Any]) -> Asked:
    """Create a shard key; its shards get the next ids after the highest."""
    return _writing("PUT", f"{_path(collection)}/shards", f"{COLLECTION}/shards", body)


def delete_key(collection: str, key: str | int) -> Asked:
    """Delete a shard key with its shards."""
    route = "/shards/delete"
    return _writing("POST", f"{_path(collection)}{route}", f"{COLLECTION}{route}", {"shard_key": key})


def create_index(collection: str, field: str, schema: Any) -> Asked:
    """Index a payload field and wait for it. `schema`: a type, or an object with its options."""
    body = {"field_name": field, "field_schema": schema}
    return _writing("PUT", f"{_path(collection)}/index?wait=true", f"{COLLECTION}/index", body)


def change_aliases(actions: Sequence[Mapping[str, Any]]) -> Asked:
    """Change aliases, all for readers in one step; where one action fails, those before it stay."""
    return _writing("POST", "/collections/aliases", "/collections/aliases", {"actions": list(actions)})


def count(collection: str, key: str | int | None = None, *, exact: bool = True) -> Asked:
    """Count the points, of one shard key where one is given."""
    body = {"exact": exact} if key is None else {"exact": exact, "shard_key": key}
    return _reading(collection, "/points/count", body)


def read_count(body: bytes) -> int:
    """Understand the answer to `count`."""
    return result(body, _Counted, f"{COLLECTION}/points/count").count


def scroll(collection: str, body: Mapping[str, Any]) -> Asked:
    """Ask for a page of points. With custom sharding ask by key: ids in two keys are shown once."""
    return _reading(collection, "/points/scroll", body)


def read_scroll(body: bytes) -> tuple[list[dict[str, Any]], int | str | None]:
    """Return the points as the server wrote them, and where the next page begins; None: there is none."""
    page = result(body, _Scrolled, f"{COLLECTION}/points/scroll")
    return page.points, page.next_page_offset


def retrieve(collection: str, ids: Sequence[int | str], key: str | int | None = None) -> Asked:
    """Ask for points by id, with payload and vectors; those that are not there are left out."""
    body: dict[str, Any] = {"ids": ids, "with_payload": True, "with_vector": True}
    return _reading(collection, "/points", body if key is None else {**body, "shard_key": key})


def read_page(body: bytes, kind: type[T]) -> tuple[list[T], int | str | None]:
    """Return the points of `scroll`, each read as `kind`, and where the next page begins; None: nowhere.

    msgspec.Raw leaves a point as its own JSON within `body`.
    """
    page: _Page[T] = result(body, _Page[kind], f"{COLLECTION}/points/scroll")  # type: ignore[valid-type]
    return page.points, page.next_page_offset


def read_retrieved(body: bytes, kind: type[T]) -> list[T]:
    """Return the points of `retrieve`, in any order, each read as `kind`."""
    return result(body, list[kind], f"{COLLECTION}/points")  # type: ignore[valid-type]


def query(collection: str, body: Mapping[str, Any]) -> Asked:
    """Search."""
    return _reading(collection, "/points/query", body)


def read_query(body: bytes) -> list[dict[str, Any]]:
    """Return the points found, best first."""
    return result(body, _Queried, f"{COLLECTION}/points/query").points


def _path(collection: str) -> str:
    return f"/collections/{quote_segment(collection)}"


def _reading(collection: str, route: str, body: Mapping[str, Any]) -> Asked:
    request = Request(f"{_path(collection)}{route}", "POST", msgspec.json.encode(body))
    return Asked(request, f"{COLLECTION}{route}")


def _writing(method: str, path: str, endpoint: str, body: Mapping[str, Any] | None = None) -> Asked:
    sent = b"" if body is None else msgspec.json.encode(body)
    return Asked(Request(path, method, sent, once=True), f"{method} {endpoint}")
