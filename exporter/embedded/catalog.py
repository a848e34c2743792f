"""The collections and aliases of one server, and their folders on disk.

A collection's folder is named by an id of its own, since a name may hold what a path may not.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from exporter.clock import Clock
from exporter.embedded.collection_config import check_name, created, index_schema, patched
from exporter.embedded.refusals import RefusalError, bad_body, no_collection, wrong_input
from exporter.embedded.shard import Pacing, Shard

# Any of these in a PATCH, even empty, restarts the optimizer; nothing else does.
WAKING_PATCHES = frozenset(
    {"optimizers_config", "params", "hnsw_config", "vectors", "quantization_config", "sparse_vectors"}
)
LARGEST_PEER_ID = 2**53 - 1  # what JSON readers hold exactly; Qdrant keeps to it too


class StoredCollection(msgspec.Struct):
    """A collection's own file."""

    name: str
    config: dict[str, Any]
    fields: dict[str, Any]
    operations: int


class StoredServer(msgspec.Struct):
    """The server's own file."""

    peer_id: int
    aliases: dict[str, str]


@dataclass(slots=True)
class Collection:
    """One collection: its shard, and the payload indexes that were asked for."""

    name: str
    folder: Path
    shard: Shard
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    opening_seconds: float = 0.0

    @property
    def config(self) -> dict[str, Any]:
        """The configuration in force, in the shape of the answer."""
        return self.shard.config

    @property
    def index_schema(self) -> dict[str, dict[str, Any]]:
        """The payload indexes that the engine has, without counts."""
        return {name: self.fields[name] for name in self.shard.counts.indexed_fields if name in self.fields}

    @property
    def payload_schema(self) -> dict[str, dict[str, Any]]:
        """The payload indexes that the engine has, with the points each holds a value of."""
        points = self.shard.counts.indexed_fields
        return {name: {**schema, "points": points[name]} for name, schema in self.index_schema.items()}


class Catalog:
    """What one server holds. `folder` is created where it is missing."""

    def __init__(self, *, folder: Path, pacing: Pacing, clock: Clock) -> None:
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}  # alias to collection
        self.process_id = str(uuid.uuid4())  # new at every start: how a restart is told
        # no secret: it only tells one server from another
        self.peer_id = random.randrange(1, LARGEST_PEER_ID)  # noqa: S311
        self._folder = folder
        self._pacing = pacing
        self._clock = clock
        self._changing = asyncio.Lock()  # one creation or deletion at a time, as consensus has it

    async def load(self) -> None:
        """Open every collection found on disk. Raises RefusalError with the engine's reason."""
        own_file = self._folder / "server.json"
        if own_file.exists():
            stored = msgspec.json.decode(own_file.read_bytes(), type=StoredServer)
            self.peer_id, self.aliases = stored.peer_id, stored.aliases
        for path in sorted((self._folder / "collections").glob("*/collection.json")):
            held = msgspec.json.decode(path.read_bytes(), type=StoredCollection)
            shard = await self._open(held.name, path.parent, held.config, held.fields)
            shard.operations = held.operations

    async def close(self, *, keep: bool) -> None:
        """Close every collection; with `keep`, so that `load` finds all of it again."""
        collections = list(self.collections.values())
        await asyncio.gather(*(one.shard.close(keep=keep) for one in collections))
        if keep:
            for collection in collections:
                self._store(collection)
            self._store_own()
        self.collections.clear()

    def resolve(self, name: str) -> Collection:
        """Return the collection of a name or an alias. Raises RefusalError (404)."""
        collection = self.collections.get(self.aliases.get(name, name))
        if collection is None:
            raise no_collection(name)
        return collection

    async def create(self, name: str, body: Mapping[str, Any]) -> None:
        """Create a collection. Raises RefusalError (400, 409, 422)."""
        check_name(name)
        config = created(body)
        async with self._changing:
            if name in self.collections or name in self.aliases:
                raise RefusalError(409, f"Wrong input: Collection `{name}` already exists!")
            folder = self._folder / "collections" / str(uuid.uuid4())
            folder.mkdir(parents=True)
            try:
                await self._open(name, folder, config, {})
            except RefusalError:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                raise
            self._store(self.collections[name])

    async def delete(self, name: str) -> bool:
        """Delete a collection with its aliases; False when there is none."""
        async with self._changing:
            collection = self.collections.pop(name, None)
            if collection is None:
                return False
            self.aliases = {alias: target for alias, target in self.aliases.items() if target != name}
            self._store_own()
            await collection.shard.close(keep=False)
            await asyncio.to_thread(shutil.rmtree, collection.folder)
            return True

    def patch(self, name: str, body: Mapping[str, Any]) -> None:
        """Change a configuration; what Qdrant re-plans for, loads the shard anew and optimizes."""
        collection = self.resolve(name)
        config = patched(collection.config, body)
        if WAKING_PATCHES & body.keys():
            collection.shard.reconfigure(config)
            self._store(collection)

    async def index(self, name: str, body: Mapping[str, Any], *, wait: bool) -> dict[str, Any]:
        """Create a payload index. Raises RefusalError (400, 404)."""
        collection = self.resolve(name)
        field_name, schema = body.get("field_name"), body.get("field_schema", body.get("field_type"))
        if not isinstance(field_name, str):
            raise bad_body("missing field `field_name`")
        if not isinstance(schema, str | dict):
            raise bad_body("missing field `field_schema`")
        collection.fields[field_name] = index_schema(schema)
        argument = {"field_name": field_name, "field_schema": schema}
        result = await collection.shard.write("create_index", argument, wait=wait)
        self._store(collection)
        return result

    def change_aliases(self, actions: list[Mapping[str, Any]]) -> None:
        """Do all alias actions, or none. Raises RefusalError (400, 404, 409)."""
        aliases = dict(self.aliases)
        for action in actions:
            self._change_alias(aliases, action)
        self.aliases = aliases
        self._store_own()

    def _change_alias(self, aliases: dict[str, str], action: Mapping[str, Any]) -> None:
        match action:
            case {"create_alias": {"collection_name": str(target), "alias_name": str(alias)}}:
                if target not in self.collections:
                    raise no_collection(target)
                if alias in self.collections:
                    raise RefusalError(409, f"Wrong input: Collection `{alias}` already exists!")
                aliases[alias] = target
            case {"delete_alias": {"alias_name": str(alias)}}:
                aliases.pop(alias, None)
            case {"rename_alias": {"old_alias_name": str(old), "new_alias_name": str(new)}}:
                if old not in aliases:
                    raise wrong_input(f"Alias {old} does not exists!")
                aliases[new] = aliases.pop(old)
            case _:
                raise bad_body("data did not match any variant of untagged enum AliasOperations")

    async def _open(
        self, name: str, folder: Path, config: dict[str, Any], fields: dict[str, dict[str, Any]]
    ) -> Shard:
        shard = Shard(folder=folder / "shard", config=config, pacing=self._pacing, clock=self._clock)
        started_seconds = self._clock.monotonic()
        try:
            await shard.open()
        except BaseException:
            await shard.close(keep=False)
            raise
        took_seconds = self._clock.monotonic() - started_seconds
        self.collections[name] = Collection(name, folder, shard, fields, took_seconds)
        return shard

    def _store(self, collection: Collection) -> None:
        shard = collection.shard
        held = StoredCollection(collection.name, shard.config, collection.fields, shard.operations)
        (collection.folder / "collection.json").write_bytes(msgspec.json.encode(held))

    def _store_own(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        held = StoredServer(self.peer_id, self.aliases)
        (self._folder / "server.json").write_bytes(msgspec.json.encode(held))
