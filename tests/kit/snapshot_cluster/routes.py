"""The routes of a SnapshotCluster that answer JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.kit.snapshot_cluster import points, segments, views
from tests.kit.snapshot_cluster.knobs import Seen
from tests.kit.snapshot_cluster.world import ACTIVE, RefusedError, Shard

if TYPE_CHECKING:
    from tests.kit.snapshot_cluster.cluster import SnapshotCluster
    from tests.kit.snapshot_cluster.peer import Peer

NO_ROUTE = object()
# Of PATCH these are merged; a null or an absent one stays.
PATCHABLE = ("hnsw_config", "optimizers_config", "params", "strict_mode_config", "metadata")
METADATA_SINCE = (1, 16)
ONGOING_SINCE = (1, 16)  # its shape of today: segments.UUIDS_SINCE
MEMORY_SINCE = (1, 18)
LEAST_VACUUM_VECTORS = 100
# A change of these begins the optimizers anew; strict mode and metadata do not.
OPTIMIZING = ("optimizers_config", "hnsw_config", "params", "vectors", "quantization_config")
DONE = {"operation_id": 0, "status": "completed"}
ACCEPTED = {"operation_id": 0, "status": "acknowledged"}


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
                result = self._collection(peer, seen, name, tuple(rest), query)
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

    def _collection(
        self, peer: Peer, seen: Seen, name: str, rest: tuple[str, ...], query: Mapping[str, str]
    ) -> Any:
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
            case ("GET", "optimizations" | "memory" as what):
                return self._work(peer, name, what, query)
            case (_, "shards", *_):
                return self._keys(seen, name, rest)
            case (_, "points", *_):
                return self._points(peer, seen, name, rest, query)
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

    def _points(
        self, peer: Peer, seen: Seen, name: str, rest: tuple[str, ...], query: Mapping[str, str]
    ) -> Any:
        body = seen.body or {}
        key = body.get("shard_key")
        match (seen.method, *rest):
            case ("PUT", "points"):
                self._world.upsert(name, points.taken(body, self._world.named(name)), key)
                return DONE if query.get("wait") == "true" else ACCEPTED
            case ("POST", "points", "delete"):
                self._world.delete_points(name, body["points"], key)
                return DONE
            case ("POST", "points"):
                return points.retrieved(self._world.read(name, peer.id, key), body)
            case ("POST", "points", "count"):
                return {"count": self._world.counted(name, peer.id, key)}
            case ("POST", "points", "scroll"):
                return points.page(self._world.read(name, peer.id, key), body)
            case ("POST", "points", "query"):
                return {"points": points.best(self._world.read(name, peer.id, key), body)}
        return NO_ROUTE

    def _patch(self, peer: Peer, name: str, body: Mapping[str, Any]) -> bool:
        found, config = self._world.named(name), self._world.named(name).config
        _check_optimizers(body.get("optimizers_config") or {})
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
        if any(body.get(part) is not None for part in OPTIMIZING):
            self._cluster.optimizers.patched(found)
        return True

    def _work(self, peer: Peer, name: str, what: str, query: Mapping[str, str]) -> Any:
        """Tell what optimizers do, and what memory takes: of all peers, and so only while all live."""
        found, version = self._world.named(name), views.version_of(peer.version)
        first = ONGOING_SINCE if what == "optimizations" else MEMORY_SINCE
        if version < first:
            return NO_ROUTE
        by_peer = [(at, own) for shard in found.shards.values() for at, own in shard.replicas.items()]
        if version < segments.UUIDS_SINCE:
            return segments.ongoing(own for at, own in by_peer if at == peer.id)
        if any(at not in self._world.alive for at, _ in by_peer):
            raise RefusedError(500, "Service internal error: Failed to connect to a peer: tcp connect error")
        replicas = [own for _, own in by_peer if own.loaded]
        if what == "memory":
            return segments.memory(found, replicas)
        shown = frozenset(query.get("with", "").split(","))
        return segments.optimizations(
            found, replicas, shown=shown, queued_elsewhere=self._cluster.knobs.queued_optimizations
        )

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


def _check_optimizers(given: Mapping[str, Any]) -> None:
    """Refuse what the server's validation refuses."""
    prefix = "Validation error in JSON body: [optimizers_config."
    least, ratio = given.get("vacuum_min_vector_number"), given.get("deleted_threshold")
    if least is not None and least < LEAST_VACUUM_VECTORS:
        text = f"value {least} invalid, must be {LEAST_VACUUM_VECTORS} or larger"
        raise RefusedError(422, f"{prefix}vacuum_min_vector_number: {text}]")
    if ratio is not None and not 0.0 <= ratio <= 1.0:
        text = f"value {ratio:.1f} invalid, must be from 0.0 to 1.0"
        raise RefusedError(422, f"{prefix}deleted_threshold: {text}]")
