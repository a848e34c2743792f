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
from exporter.embedded.collection_config import (
    asked_schema,
    check_compatible,
    check_name,
    created,
    index_schema,
    patched,
    restored,
)
from exporter.embedded.refusals import RefusalError, bad_body, no_collection, wrong_input
from exporter.embedded.shard import Pacing, Shard
from exporter.embedded.snapshots_unpacked import UnpackedCollection, UnpackedShard

# Any of these in a PATCH, even empty, restarts the optimizer; nothing else does.
WAKING_PATCHES = frozenset(
    {"optimizers_config", "params", "hnsw_config", "vectors", "quantization_config", "sparse_vectors"}
)
FIRST_SHARD_FOLDER = "shard"  # below the collection's; a restored shard has one of its own beside it
LARGEST_PEER_ID = 2**53 - 1  # what JSON readers hold exactly; Qdrant keeps to it too


class StoredCollection(msgspec.Struct):
    """A collection's own file."""

    name: str
    config: dict[str, Any]
    fields: dict[str, Any]
    operations: int
    shard_folder: str = FIRST_SHARD_FOLDER


class StoredServer(msgspec.Struct):
    """The server's own file."""

    peer_id: int
    aliases: dict[str, str]


@dataclass(slots=True)
class Collection:
    """One collection: its shard, and the payload indexes that were asked for."""

    name: str
    folder: Path
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)  # as they are shown
    opening_seconds: float = 0.0
    shard: Shard = field(init=False)  # set once it is open; another after a restore

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
            collection = Collection(held.name, path.parent, held.fields)
            for stale in path.parent.glob(f"{FIRST_SHARD_FOLDER}*"):  # of a restore that was killed
                if stale.name != held.shard_folder:
                    await asyncio.to_thread(shutil.rmtree, stale)
            await self._add(collection, held.shard_folder, held.config)
            collection.shard.operations = held.operations

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
            await self._create(name, config, None)

    async def recover(self, name: str, unpacked: UnpackedCollection) -> None:
        """Make a collection's data that of its snapshot, whose folder this takes over.

        A collection that is there, by this name or as an alias, keeps what it was asked to be; else one is
        made as the snapshot says. Raises RefusalError (400, 422, 500).
        """
        check_name(name)
        async with self._changing:
            collection = self.collections.get(self.aliases.get(name, name))
            if collection is None:
                await self._create(name, restored(unpacked.config), unpacked.shard)
                collection = self.collections[name]
            else:
                check_compatible(collection.config, unpacked.config)
                await self._replace_shard(collection, unpacked.shard)
            shown = {name: index_schema(asked) for name, asked in unpacked.fields.items()}
            await self._add_indexes(collection, shown)

    async def recover_shard(self, name: str, unpacked: UnpackedShard) -> None:
        """Make the data of a collection's shard that of a shard's snapshot, whose folder this takes over.

        Raises RefusalError (404, 500).
        """
        async with self._changing:
            collection = self.resolve(name)
            await self._replace_shard(collection, unpacked)
            await self._add_indexes(collection, {})

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
        else:
            collection.shard.config = config  # of which only the metadata can be another
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

    async def _create(self, name: str, config: dict[str, Any], content: UnpackedShard | None) -> None:
        folder = self._folder / "collections" / str(uuid.uuid4())
        folder.mkdir(parents=True)
        collection = Collection(name, folder)
        try:
            if content is not None:
                content.folder.rename(folder / FIRST_SHARD_FOLDER)
            await self._add(collection, FIRST_SHARD_FOLDER, config)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        _adopt(collection, content)
        self._store(collection)

    async def _replace_shard(self, collection: Collection, content: UnpackedShard) -> None:
        """Open the new data beside the old, and let go of the old only when that went well."""
        folder = collection.folder / f"{FIRST_SHARD_FOLDER}-{uuid.uuid4()}"
        content.folder.rename(folder)
        old = collection.shard
        try:
            collection.shard = await self._opened(folder, collection.config)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        _adopt(collection, content)
        self._store(collection)
        await old.close(keep=False)
        await asyncio.to_thread(shutil.rmtree, old.folder)

    async def _add_indexes(self, collection: Collection, shown: Mapping[str, dict[str, Any]]) -> None:
        """Build what the collection was asked to index and its new data has no index of."""
        collection.fields = {**shown, **collection.fields}
        for name, schema in collection.fields.items():
            if name not in collection.shard.counts.indexed_fields:
                argument = {"field_name": name, "field_schema": asked_schema(schema)}
                await collection.shard.write("create_index", argument, wait=True)
        self._store(collection)

    async def _add(self, collection: Collection, shard_folder: str, config: dict[str, Any]) -> None:
        started_seconds = self._clock.monotonic()
        collection.shard = await self._opened(collection.folder / shard_folder, config)
        collection.opening_seconds = self._clock.monotonic() - started_seconds
        self.collections[collection.name] = collection

    async def _opened(self, folder: Path, config: dict[str, Any]) -> Shard:
        shard = Shard(folder=folder, config=config, pacing=self._pacing, clock=self._clock)
        try:
            await shard.open()
        except BaseException:
            await shard.close(keep=False)
            raise
        return shard

    def _store(self, collection: Collection) -> None:
        shard = collection.shard
        held = StoredCollection(
            collection.name, shard.config, collection.fields, shard.operations, shard.folder.name
        )
        (collection.folder / "collection.json").write_bytes(msgspec.json.encode(held))

    def _store_own(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        held = StoredServer(self.peer_id, self.aliases)
        (self._folder / "server.json").write_bytes(msgspec.json.encode(held))


def _adopt(collection: Collection, content: UnpackedShard | None) -> None:
    """Take over what came with a shard's data: its indexes and the number of its newest change."""
    if content is not None:
        collection.fields |= {name: index_schema(asked) for name, asked in content.fields.items()}
        collection.shard.operations = content.operations
