"""The routes of a SnapshotCluster that answer JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.kit.snapshot_cluster import views
from tests.kit.snapshot_cluster.archives import PointId, Points
from tests.kit.snapshot_cluster.knobs import Seen
from tests.kit.snapshot_cluster.world import ACTIVE, RefusedError, Shard

if TYPE_CHECKING:
    from tests.kit.snapshot_cluster.cluster import SnapshotCluster
    from tests.kit.snapshot_cluster.peer import Peer

NO_ROUTE = object()
# Of PATCH these are merged; a null or an absent one stays.
PATCHABLE = ("hnsw_config", "optimizers_config", "params", "strict_mode_config", "metadata")
METADATA_SINCE = (1, 16)
DONE = {"operation_id": 0, "status": "completed"}


class Routes:
    """Answers by method and path."""

    def __init__(self, cluster: SnapshotCluster) -> None:
        self._cluster = cluster
        self._world = cluster.world

    async def answer(
        self, peer: Peer, seen: Seen, parts: tuple[str, ...], query: Mapping[str, str]
    ) -> web.Response:
        """Answer one request; an unknown route is a 404 without a body. Raises RefusedError."""
        began = time.monotonic()
        accepted = False
        result: Any
        match parts:
            case ("collections", name, "snapshots") if seen.method == "POST":
                result = await self._cluster.take_snapshot(peer, name, wait=query.get("wait") != "false")
                accepted = result is None
            case ("collections", "aliases") if seen.method == "POST":
                self._world.change_aliases(seen.body["actions"])
                result = True
            case ("collections", name, *rest):
                result = self._collection(peer, seen, name, tuple(rest))
            case _:
                result = self._whole(peer, seen, parts, query)
        if result is NO_ROUTE:
            return web.Response(status=404)
        body = {"status": "accepted" if accepted else "ok", "time": time.monotonic() - began}
        return web.json_response(
            body if accepted else {"result": result, **body}, status=202 if accepted else 200
        )

    def _whole(self, peer: Peer, seen: Seen, parts: tuple[str, ...], query: Mapping[str, str]) -> Any:
        match (seen.method, *parts):
            case ("GET", "cluster"):
                return views.cluster_status(self._world, peer.id)
            case ("GET", "telemetry"):
                return views.telemetry(
                    self._world,
                    peer.id,
                    int(query.get("details_level", 0)),
                    versions={other.id: other.version for other in self._cluster.peers},
                    started=peer.started,
                    running=peer.running,
                    taken=peer.taken,
                )
            case ("GET", "collections"):
                return {"collections": [{"name": name} for name in self._world.collections]}
            case ("GET", "aliases"):
                return {"aliases": self._aliases(None)}
            case ("GET", "snapshots"):
                return [stored.described() for stored in peer.snapshots.get("", {}).values()]
            case ("DELETE", "snapshots", name):
                peer.remove("", name)
                return True
        return NO_ROUTE

    def _collection(self, peer: Peer, seen: Seen, name: str, rest: tuple[str, ...]) -> Any:
        match (seen.method, *rest):
            case ("PUT",):
                with_metadata = views.version_of(peer.version) >= METADATA_SINCE
                self._world.create(name, seen.body, with_metadata=with_metadata)
                return True
            case ("DELETE",):
                return self._world.delete(name)
            case ("PATCH",):
                return self._patch(peer, name, seen.body)
            case ("GET",):
                found = self._world.named(name)
                return views.description(found, self._world, peer.id, views.version_of(peer.version))
            case ("GET", "cluster"):
                found = self._world.named(name)
                if outdated := peer.outdated.get(name):
                    return outdated.pop()
                return views.placement(found, self._cluster.own_id(peer))
            case ("POST", "cluster"):
                return self._operate(name, seen.body)
            case ("GET", "aliases"):
                return {"aliases": self._aliases(name)}
            case ("GET", "snapshots"):
                return [
                    one.described() for one in peer.snapshots.get(self._world.named(name).name, {}).values()
                ]
            case ("DELETE", "snapshots", snapshot):
                folder = self._world.named(name).name
                peer.remove(folder, snapshot)
                return True
            case ("PUT", "index"):
                return self._index(name, seen.body)
            case (_, "shards", *_):
                return self._keys(seen, name, rest)
            case (_, "points", *_):
                return self._points(peer, seen, name, rest)
        return NO_ROUTE

    def _keys(self, seen: Seen, name: str, rest: tuple[str, ...]) -> Any:
        match (seen.method, *rest):
            case ("GET", "shards"):
                keys = self._world.named(name).keys
                return {"shard_keys": [{"key": key} for key in keys]} if keys else {}
            case ("PUT", "shards"):
                self._outdate(name)
                self._world.create_key(name, seen.body)
                return True
            case ("POST", "shards", "delete"):
                self._outdate(name)
                self._world.delete_key(name, seen.body["shard_key"])
                return True
        return NO_ROUTE

    def _outdate(self, name: str) -> None:
        """Let the peers that hear late go on showing what is there before a change."""
        for number, looks in self._cluster.knobs.late_looks.items():
            peer = self._cluster.peers[number]
            shown = views.placement(self._world.named(name), self._cluster.own_id(peer))
            peer.outdated[name] = [shown] * looks

    def _points(self, peer: Peer, seen: Seen, name: str, rest: tuple[str, ...]) -> Any:
        body = seen.body or {}
        key = body.get("shard_key")
        match (seen.method, *rest):
            case ("PUT", "points"):
                points = body["points"]
                new = {one["id"]: [_floats(one["vector"]), one.get("payload") or {}] for one in points}
                self._world.upsert(name, new, key)
                return DONE
            case ("POST", "points", "delete"):
                self._world.delete_points(name, body["points"], key)
                return DONE
            case ("POST", "points"):
                held = self._world.read(name, peer.id, key)
                wanted = {"with_payload": False, **body}
                return [_record(id_, held[id_], wanted) for id_ in body["ids"] if id_ in held]
            case ("POST", "points", "count"):
                return {"count": self._world.counted(name, peer.id, key)}
            case ("POST", "points", "scroll"):
                return _page(self._world.read(name, peer.id, key), body)
            case ("POST", "points", "query"):
                return {"points": _best(self._world.read(name, peer.id, key), body)}
        return NO_ROUTE

    def _patch(self, peer: Peer, name: str, body: Mapping[str, Any]) -> bool:
        config = self._world.named(name).config
        for part in PATCHABLE:
            if part == "metadata" and views.version_of(peer.version) < METADATA_SINCE:
                continue
            into = "optimizer_config" if part == "optimizers_config" else part
            given = {field: value for field, value in (body.get(part) or {}).items() if value is not None}
            if given:
                config[into] = {**(config.get(into) or {}), **given}
        for field, value in (body.get("metadata") or {}).items():
            if value is None:  # of metadata a null takes away, seen on 1.18.3
                (config.get("metadata") or {}).pop(field, None)
        return True

    def _index(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._world.named(name).add_index(body["field_name"], body["field_schema"])
        return DONE

    def _operate(self, name: str, body: Mapping[str, Any]) -> bool:
        if not self._world.clustered:
            raise RefusedError(400, "Bad request: Distributed mode disabled")
        for operation, given in body.items():
            shard = self._world.named(name).shards.get(given["shard_id"])
            if shard is None:
                raise RefusedError(400, f"Bad request: Shard {given['shard_id']} of {name} does not exist")
            if operation == "drop_replica":
                self._drop(shard, given["peer_id"])
            else:
                moves = operation == "move_shard"
                self._cluster.transfer(
                    name, shard.id, given["from_peer_id"], given["to_peer_id"], moves=moves
                )
        return True

    def _drop(self, shard: Shard, peer: int) -> None:
        if peer not in self._world.peer_ids:
            raise RefusedError(400, f"Bad request: Peer {peer} does not exist")
        if peer not in shard.replicas:
            raise RefusedError(400, f"Bad request: Peer {peer} has no replica of shard {shard.id}")
        if not any(one.state == ACTIVE for other, one in shard.replicas.items() if other != peer):
            text = f"Shard {shard.id} must have at least one active replica after removing {peer}"
            raise RefusedError(400, f"Bad request: {text}")
        del shard.replicas[peer]

    def _aliases(self, of: str | None) -> list[dict[str, str]]:
        return [
            {"alias_name": alias, "collection_name": target}
            for alias, target in self._world.aliases.items()
            if of in (None, target)
        ]


def _page(held: Points, body: Mapping[str, Any]) -> dict[str, Any]:
    ids = list(held)
    offset = body.get("offset")
    start = 0 if offset is None else sum(not _not_before(id_, offset) for id_ in ids)
    end = start + body.get("limit", 10)
    return {
        "points": [_record(id_, held[id_], body) for id_ in ids[start:end]],
        "next_page_offset": ids[end] if end < len(ids) else None,
    }


def _not_before(id_: PointId, offset: PointId) -> bool:
    return (isinstance(id_, str), id_) >= (isinstance(offset, str), offset)


def _record(id_: PointId, point: list[Any], body: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"id": id_}
    if body.get("with_payload", True):
        said["payload"] = point[1]
    if body.get("with_vector"):
        said["vector"] = point[0]
    return said


def _best(held: Points, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Search by dot product: a vector, or the id of a point; by name with `using`."""
    wanted, using = body["query"], body.get("using")
    if isinstance(wanted, int | str):
        wanted = _vector(held[wanted][0], using)
    scored = [
        (sum(a * b for a, b in zip(wanted, _vector(point[0], using), strict=False)), id_)
        for id_, point in held.items()
    ]
    best = sorted(scored, key=lambda one: one[0], reverse=True)[: body.get("limit", 10)]
    return [
        {"version": 1, "score": score, **_record(id_, held[id_], {"with_payload": False, **body})}
        for score, id_ in best
    ]


def _floats(vector: Any) -> Any:
    """Return a vector, named, sparse or of many rows too, as the server keeps it."""
    if isinstance(vector, dict):
        return {name: value if name == "indices" else _floats(value) for name, value in vector.items()}
    return [_floats(value) if isinstance(value, list) else float(value) for value in vector]


def _vector(vector: Any, using: str | None) -> list[float]:
    found: list[float] = vector[using] if using else vector
    return found
