"""The requests of the write canary: to a collection of its own, and to no other."""

from __future__ import annotations

from typing import Any

import msgspec

from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Request
from exporter.qdrant.payloads import Count, Payload, result
from exporter.qdrant.search import FoundPoint, FoundPoints

CANARY_COLLECTION = "_qdrantx_canary"
PATH = f"/collections/{CANARY_COLLECTION}"
ENDPOINT = "/collections/{collection}"

# As small as a vector may be and still not be one number. Its name is the mark of our own collection: a
# collection without it, under this name or behind an alias of it, is somebody else's and never touched.
VECTOR = (1.0, 0.0, 0.0, 0.0)
VECTOR_NAME = "qdrantx_canary"
VECTORS = {VECTOR_NAME: {"size": len(VECTOR), "distance": "Dot"}}
# A megabyte of log in place of the usual 32, and one segment: it holds a point or two at a time. No strict
# mode, whatever the server's default: left-overs are found by payload without an index.
SETTINGS = {
    "wal_config": {"wal_capacity_mb": 1},
    "optimizers_config": {"default_segment_number": 1},
    "strict_mode_config": {"enabled": False},
}


class CollectionParams(Payload, frozen=True):
    vectors: dict[str, Any] | None = None
    sharding_method: str | None = None


class CollectionConfig(Payload, frozen=True):
    params: CollectionParams


class CollectionInfo(Payload, frozen=True):
    """GET /collections/{collection}: what tells our own from somebody else's."""

    config: CollectionConfig


class ShardKey(Payload, frozen=True):
    key: str | int


class ShardKeys(Payload, frozen=True):
    shard_keys: list[ShardKey]


class Counted(Payload, frozen=True):
    count: Count


def drop() -> Asked:
    """Delete the whole collection."""
    return Asked(Request(PATH, "DELETE"), f"DELETE {ENDPOINT}")


def describe() -> Asked:
    """Ask for the collection's settings."""
    return Asked(Request(PATH), ENDPOINT)


def create(*, custom_sharding: bool) -> Asked:
    """Create the collection, one replica a shard; with custom sharding it has no shard at first."""
    sharding = {"sharding_method": "custom", "replication_factor": 1} if custom_sharding else {}
    return _writing("PUT", "", {"vectors": VECTORS, "shard_number": 1, **sharding, **SETTINGS})


def shard_keys() -> Asked:
    """List the keys."""
    return Asked(Request(f"{PATH}/shards"), f"{ENDPOINT}/shards")


def create_key(peer_id: int) -> Asked:
    """Make the key of a peer, with its one shard there."""
    placed = {"shard_key": str(peer_id), "placement": [peer_id], "shards_number": 1, "replication_factor": 1}
    return _writing("PUT", "/shards", placed)


def delete_key(key: str | int) -> Asked:
    """Delete a key with its shard."""
    return _writing("POST", "/shards/delete", {"shard_key": key})


def upsert(point_id: str, payload: dict[str, Any], key: str | None) -> Asked:
    """Write a point; the answer comes once it is accepted, which is not yet applied."""
    body = {"points": [{"id": point_id, "vector": {VECTOR_NAME: VECTOR}, "payload": payload}]}
    return _writing("PUT", "/points?wait=false", _in(key, body))


def delete_point(point_id: str, key: str | None) -> Asked:
    """Delete a point, as it was written: accepted and applied later."""
    return _writing("POST", "/points/delete?wait=false", _in(key, {"points": [point_id]}))


def delete_left_overs(instance: str, before_seconds: float, key: str | None) -> Asked:
    """Delete all points of this instance, and anybody's that were written before (Unix time)."""
    own = {"key": "instance", "match": {"value": instance}}
    old = {"key": "written_at", "range": {"lt": before_seconds}}
    return _writing("POST", "/points/delete?wait=false", _in(key, {"filter": {"should": [own, old]}}))


def retrieve(point_id: str, key: str | None) -> Asked:
    """Ask for a point by its id."""
    return _reading("/points", _in(key, {"ids": [point_id], "with_payload": False, "with_vector": False}))


def search(point_id: str, key: str | None) -> Asked:
    """Search for a point by its vector, among itself only."""
    body = {"query": VECTOR, "using": VECTOR_NAME, "limit": 1, "filter": {"must": [{"has_id": [point_id]}]}}
    return _reading("/points/query", _in(key, body))


def count(point_id: str, key: str | None) -> Asked:
    """Count a point."""
    return _reading("/points/count", _in(key, {"exact": True, "filter": {"must": [{"has_id": [point_id]}]}}))


def saw_retrieved(body: bytes) -> bool:
    """Whether the answer to `retrieve` has the point. Raises BadPayload."""
    return bool(result(body, list[FoundPoint], f"{ENDPOINT}/points"))


def saw_found(body: bytes) -> bool:
    """Whether the answer to `search` has the point. Raises BadPayload."""
    return bool(result(body, FoundPoints, f"{ENDPOINT}/points/query").points)


def saw_counted(body: bytes) -> bool:
    """Whether the answer to `count` has the point. Raises BadPayload."""
    return result(body, Counted, f"{ENDPOINT}/points/count").count > 0


def is_ours(body: bytes) -> bool:
    """Whether the answer to `describe` shows a collection as `create` makes it. Raises BadPayload."""
    return set(result(body, CollectionInfo, ENDPOINT).config.params.vectors or ()) == {VECTOR_NAME}


def has_custom_sharding(body: bytes) -> bool:
    """Whether the answer to `describe` shows custom sharding. Raises BadPayload."""
    return result(body, CollectionInfo, ENDPOINT).config.params.sharding_method == "custom"


def read_keys(body: bytes) -> frozenset[str | int]:
    """Understand the answer to `shard_keys`. Raises BadPayload."""
    return frozenset(one.key for one in result(body, ShardKeys, f"{ENDPOINT}/shards").shard_keys)


def _in(key: str | None, body: dict[str, Any]) -> dict[str, Any]:
    return body if key is None else body | {"shard_key": key}


def _reading(route: str, body: dict[str, Any]) -> Asked:
    return Asked(Request(f"{PATH}{route}", "POST", msgspec.json.encode(body)), f"{ENDPOINT}{route}")


def _writing(method: str, route: str, body: dict[str, Any]) -> Asked:
    path = route.partition("?")[0]
    return Asked(Request(f"{PATH}{route}", method, msgspec.json.encode(body)), f"{method} {ENDPOINT}{path}")
