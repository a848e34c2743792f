"""What the peers of a SnapshotCluster share: collections, shards, replicas, points. No HTTP."""

from __future__ import annotations

import copy
import uuid
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.embedded.collection_config import DEFAULT_HNSW, DEFAULT_OPTIMIZERS, ENGINE_WAL
from tests.kit.snapshot_cluster.archives import PointId, Points, ShardFolder
from tests.kit.snapshot_cluster.optimizers import Optimizers

ACTIVE, DEAD = "Active", "Dead"
Key = str | int | None

# What a server fills in where a create body says nothing.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "hnsw_config": DEFAULT_HNSW,
    "optimizer_config": DEFAULT_OPTIMIZERS,
    "wal_config": ENGINE_WAL,
}
PARAMS = ("vectors", "sparse_vectors", "read_fan_out_factor", "read_fan_out_delay_ms")


class RefusedError(Exception):
    """An answer that says no, with the server's words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True)
class Replica:
    """One replica. Not `loaded`: a dummy, green and without points. `status`: shown where it is not green."""

    points: Points = field(default_factory=dict)
    state: str = ACTIVE
    loaded: bool = True
    op_num: int | None = 0
    queue_length: int = 0
    status: str = "green"
    optimizer_error: str | None = None
    optimizers: Optimizers = field(default_factory=Optimizers)

    @property
    def error(self) -> str | None:
        """What an optimizer failed with, sticky until a PATCH or a restart."""
        return self.optimizer_error or self.optimizers.error

    def take(self, id_: PointId, point: list[Any]) -> None:
        """Write a point; one that was there before is deleted where it lay."""
        if id_ in self.points:
            self.optimizers.segments[0].deleted += 1
        self.points[id_] = copy.deepcopy(point)
        self._changed()

    def drop(self, id_: PointId) -> None:
        """Delete a point where it is."""
        if self.points.pop(id_, None) is not None:
            self.optimizers.segments[0].deleted += 1
            self._changed()

    def _changed(self) -> None:
        self.op_num = (self.op_num or 0) + 1
        self.optimizers.triggered = True


@dataclass(slots=True)
class Shard:
    """A shard with its replicas by peer id."""

    id: int
    key: Key
    replicas: dict[int, Replica]


@dataclass(slots=True)
class Collection:
    """A collection. `body`: what it was created with."""

    name: str
    body: dict[str, Any]
    config: dict[str, Any]
    uuid: str
    shards: dict[int, Shard] = field(default_factory=dict)
    payload_schema: dict[str, Any] = field(default_factory=dict)
    transfers: list[dict[str, Any]] = field(default_factory=list)
    resharding: list[dict[str, Any]] = field(default_factory=list)

    @property
    def custom(self) -> bool:
        """Whether its shards have keys."""
        return bool(self.config["params"].get("sharding_method") == "custom")

    @property
    def vector_names(self) -> list[str]:
        """The names of its dense vectors, "" where it has one without a name."""
        vectors = self.config["params"].get("vectors") or {}
        return [""] if "size" in vectors else list(vectors)

    @property
    def keys(self) -> dict[str | int, list[int]]:
        """Shard ids by key, in order of creation."""
        found: dict[str | int, list[int]] = {}
        for shard in self.shards.values():
            if shard.key is not None:
                found.setdefault(shard.key, []).append(shard.id)
        return found

    def add_index(self, field: str, schema: str | Mapping[str, Any]) -> None:
        """Index a payload field: by its type, or by an object with options."""
        made: dict[str, Any] = {"data_type": schema if isinstance(schema, str) else schema["type"]}
        if not isinstance(schema, str):
            made["params"] = dict(schema)
        self.payload_schema[field] = made

    def indexes(self) -> dict[str, Any]:
        """Return payload_schema of GET: every index with the points that have its field, in one replica."""
        held: Points = {}
        for shard in self.shards.values():
            for replica in shard.replicas.values():
                held |= replica.points
        return {
            field: {**index, "points": sum(field in point[1] for point in held.values())}
            for field, index in self.payload_schema.items()
        }

    def of_key(self, key: Key) -> list[Shard]:
        """Return the shards that a request means; without a key all. Refuses an unknown key."""
        if key is None:
            return list(self.shards.values())
        if key not in self.keys:
            raise RefusedError(400, f'Bad request: Shard key "{key}" not found')
        return [self.shards[shard] for shard in self.keys[key]]

    def folders(self, peer: int) -> list[ShardFolder]:
        """Return what this peer's archive holds: the shards it holds, and traces of the others."""
        made = []
        for shard in sorted(self.shards.values(), key=lambda one: one.id):
            own = shard.replicas.get(peer)
            states = {str(holder): replica.state for holder, replica in shard.replicas.items()}
            state = {"is_local": own is not None, "this_peer_id": peer, "peers": states}
            points = own.points if own is not None and own.loaded else None
            made.append(ShardFolder(shard.id, points, state))
        return made

    def key_mapping(self) -> list[dict[str, Any]]:
        """Return shard_key_mapping.json. The server gives a key's ids in any order."""
        return [{"key": key, "shard_ids": ids[::-1]} for key, ids in self.keys.items()]


class World:
    """The state that consensus and writes keep. `alive` peers take writes; the others' replicas go Dead."""

    def __init__(self, peer_ids: tuple[int, ...], *, clustered: bool) -> None:
        self.peer_ids = peer_ids
        self.clustered = clustered
        self.alive = set(peer_ids)
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}

    def named(self, name: str) -> Collection:
        """Return a collection by name or alias; refuses with 404."""
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def create(self, name: str, body: Mapping[str, Any], *, with_metadata: bool) -> Collection:
        """Create a collection as PUT does, its replicas spread in turn."""
        if name in self.collections:
            raise RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
        if name in self.aliases:
            text = f"Can't create collection with name {name}. Alias with the same name already exists"
            raise RefusedError(400, f"Wrong input: {text}")
        config = config_of(body, peers=len(self.peer_ids))
        if with_metadata and body.get("metadata"):
            config["metadata"] = dict(body["metadata"])
        made = Collection(name, copy.deepcopy(dict(body)), config, str(uuid.uuid4()))
        if not made.custom:
            for shard in range(config["params"]["shard_number"]):
                made.shards[shard] = self._new_shard(
                    shard, None, config["params"]["replication_factor"], None
                )
        self.collections[name] = made
        return made

    def delete(self, name: str) -> bool:
        """Delete a collection with its aliases; True where there was one."""
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}
        return self.collections.pop(name, None) is not None

    def create_key(self, name: str, body: Mapping[str, Any]) -> None:
        """Create a shard key: ids go on after the highest there is, and the first is 1."""
        if not self.clustered:
            raise RefusedError(400, "Bad request: Distributed mode disabled")
        found, key = self.named(name), body["shard_key"]
        if not found.custom:
            raise RefusedError(400, "Bad request: Shard Key cannot be created with Auto sharding method")
        if key in found.keys:
            raise RefusedError(400, f'Bad request: Sharding key "{key}" already exists for collection {name}')
        placement = body.get("placement")
        for peer in placement or ():
            if peer not in self.peer_ids:
                raise RefusedError(400, f"Bad request: Peer {peer} does not exist")
        params = found.config["params"]
        copies = body.get("replication_factor") or params["replication_factor"]
        for _ in range(body.get("shards_number") or params["shard_number"]):
            shard = max(found.shards, default=0) + 1
            found.shards[shard] = self._new_shard(shard, key, copies, placement)

    def delete_key(self, name: str, key: str | int) -> None:
        """Delete a shard key with its shards."""
        if not self.clustered:
            raise RefusedError(400, "Bad request: Distributed mode disabled")
        found = self.named(name)
        if key not in found.keys:
            raise RefusedError(400, f'Bad request: Sharding key "{key}" does not exist for collection {name}')
        for shard in found.keys[key]:
            del found.shards[shard]

    def upsert(self, name: str, points: Points, key: Key = None) -> None:
        """Write points, each to its shard, on every replica that can take it."""
        found = self.named(name)
        if found.custom and key is None:
            raise RefusedError(400, "Wrong input: Shard key not specified")
        shards = sorted(found.of_key(key), key=lambda shard: shard.id)
        for id_, point in points.items():
            for peer, replica in shards[_number(id_) % len(shards)].replicas.items():
                if peer not in self.alive:
                    replica.state = DEAD
                elif replica.state != DEAD:
                    replica.take(id_, point)

    def delete_points(self, name: str, ids: Iterable[PointId], key: Key = None) -> None:
        """Delete points by id."""
        for shard in self.named(name).of_key(key):
            for replica in shard.replicas.values():
                for id_ in ids:
                    replica.drop(id_)

    def read(self, name: str, peer: int, key: Key = None) -> Points:
        """Return the points that this peer shows: of its own replica, else of an Active one elsewhere."""
        found = self.named(name)
        shown: Points = {}
        for shard in found.of_key(key):
            shown |= self._readable(shard, peer).points
        return dict(sorted(shown.items(), key=lambda item: (isinstance(item[0], str), item[0])))

    def counted(self, name: str, peer: int, key: Key = None) -> int:
        """Return what an exact count at this peer says."""
        return sum(len(self._readable(shard, peer).points) for shard in self.named(name).of_key(key))

    def change_aliases(self, actions: Iterable[Mapping[str, Any]]) -> None:
        """Carry out alias actions one by one; those before one that fails stay."""
        for action in actions:
            if created := action.get("create_alias"):
                target, alias = created["collection_name"], created["alias_name"]
                if target not in self.collections:
                    raise RefusedError(404, f"Not found: Collection `{target}` doesn't exist!")
                if alias in self.collections:
                    raise RefusedError(409, f"Wrong input: Collection `{alias}` already exists!")
                self.aliases[alias] = target
            elif deleted := action.get("delete_alias"):
                self.aliases.pop(deleted["alias_name"], None)
            elif renamed := action.get("rename_alias"):
                if renamed["old_alias_name"] not in self.aliases:
                    text = f"Not found: Alias {renamed['old_alias_name']} does not exists!"
                    raise RefusedError(404, text)
                self.aliases[renamed["new_alias_name"]] = self.aliases.pop(renamed["old_alias_name"])

    def _readable(self, shard: Shard, peer: int) -> Replica:
        own = shard.replicas.get(peer)
        if own is not None and not own.loaded:
            raise RefusedError(500, "Service internal error: Shard is not loaded")
        if own is not None and own.state == ACTIVE:
            return own
        for holder, replica in shard.replicas.items():
            if holder in self.alive and replica.state == ACTIVE and replica.loaded:
                return replica
        text = f"The replica set for shard {shard.id} on peer {peer} has no active replica"
        raise RefusedError(500, f"Service internal error: {text}")

    def _new_shard(self, shard: int, key: Key, copies: int, placement: list[int] | None) -> Shard:
        peers = placement or list(self.peer_ids)
        chosen = [peers[(shard + step) % len(peers)] for step in range(min(copies, len(peers)))]
        return Shard(shard, key, {peer: Replica() for peer in chosen})


def config_of(body: Mapping[str, Any], *, peers: int) -> dict[str, Any]:
    """Return `config` of GET for a create body: other names, and every default filled in."""
    params: dict[str, Any] = {name: body[name] for name in PARAMS if body.get(name) is not None}
    custom = body.get("sharding_method") == "custom"
    params["shard_number"] = body.get("shard_number") or (1 if custom else peers)
    if custom:
        params["sharding_method"] = "custom"
    params["replication_factor"] = body.get("replication_factor") or 1
    params["write_consistency_factor"] = body.get("write_consistency_factor") or 1
    params["on_disk_payload"] = body.get("on_disk_payload", True)
    config: dict[str, Any] = {"params": params}
    for name, defaults in DEFAULTS.items():
        given = body.get("optimizers_config" if name == "optimizer_config" else name) or {}
        config[name] = {**defaults, **{key: value for key, value in given.items() if value is not None}}
    config["quantization_config"] = body.get("quantization_config")
    if body.get("strict_mode_config"):
        config["strict_mode_config"] = dict(body["strict_mode_config"])
    return copy.deepcopy(config)


def _number(id_: PointId) -> int:
    return id_ if isinstance(id_, int) else zlib.crc32(id_.encode())
