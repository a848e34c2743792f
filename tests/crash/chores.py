"""Collections for chores that are killed: one with shard keys to be exported, one with deleted points."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from exporter import exit_codes
from exporter.backup import layout
from exporter.backup.words import FieldChange, Purpose, RestoreState, ThresholdIntent
from tests.crash.ground import CLUSTER, Ground
from tests.kit.snapshot_cluster import points

KEYED, DUSTY = "keyed", "dusty"
KEYS = ("red", "green", "blue")
KEYED_POINTS = 240  # more than a page of each key, and so more than a chunk
DUSTY_POINTS = 12  # that can be searched for; of the others only segments tell
LIVE = 900
# Of 900 live points: less than the collection's own threshold, and more than that.
BELOW, ABOVE = 150, 300
VECTOR_BYTES = 65_536  # so that a vacuum is worth it
OWN = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000}
LOWERED = {"deleted_threshold": 0.1386, "vacuum_min_vector_number": 900}
# 1.18.3's, where a collection has none of its own, and one that has.
INDEXING_DEFAULT, INDEXING_OWN = 10_000, 7_000
INDEXING = "indexing_threshold"
# A vacuum that runs over several looks ends by them, so that often at most a life comes too soon.
TRIES = 8


class Chores:
    """Both collections, on the scripted peers of a ground, and what must be true of them."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.world = ground.cluster.world
        self.points = 0  # in the one with shard keys
        ground.cluster.create(KEYED, shard_number=1, replication_factor=2, sharding_method="custom")
        ground.cluster.create_keys(KEYED, {key: {} for key in KEYS})
        self.world.named(KEYED).add_index("n", "integer")
        self.write(KEYED_POINTS)
        ground.cluster.create(DUSTY, points(DUSTY_POINTS), shard_number=1, replication_factor=3)

    # --- the one with shard keys --------------------------------------------------------------------

    def write(self, number: int) -> None:
        """Write the next points, one to each key in turn."""
        ids = range(self.points, self.points + number)
        for place, key in enumerate(KEYS):
            new = {id_: point for id_, point in points(number, start=ids.start).items() if id_ % 3 == place}
            self.world.upsert(KEYED, new, key)
        self.points = ids.stop

    def set_indexing(self, threshold_kb: int | None) -> None:
        """Let its owner have set when it is indexed; None: he never said."""
        self.world.named(KEYED).config["optimizer_config"][INDEXING] = threshold_kb

    async def check_imported(self, name: str) -> None:
        """See that a collection has the same points under the same keys, and is indexed as the other is."""
        made, source = self.world.named(name), self.world.named(KEYED)
        for peer in self.ground.cluster.ids:
            for place, key in enumerate(KEYS):
                of_key = {id_: one for id_, one in points(self.points).items() if id_ % 3 == place}
                assert self.world.read(name, peer, key) == of_key
        assert self.ground.cluster.states(name) == {"Active"}
        assert "qdrantx_restore" not in str(made.config)
        assert set(made.payload_schema) == set(source.payload_schema)
        own = source.config["optimizer_config"][INDEXING]
        assert made.config["optimizer_config"][INDEXING] == (INDEXING_DEFAULT if own is None else own)
        records = [record for record in await self.ground.shelf.restores() if record.target == name]
        assert [record.state for record in records] == [RestoreState.DONE]

    # --- the one with deleted points ----------------------------------------------------------------

    def soil(self, deleted: int, *, looks: int | None = None, says_green: bool = False) -> None:
        """Let so many points be deleted, where nothing begins by itself. `looks`: that a vacuum will last.

        `says_green`: also where it is more than the collection's own threshold.
        """
        assert self.deleted == 0
        self.ground.cluster.knobs.pace.looks = looks
        self.ground.cluster.optimizers.add_deleted(
            DUSTY, deleted, says_green=says_green, live=LIVE, vector_bytes=VECTOR_BYTES
        )

    @property
    def deleted(self) -> int:
        """Points that are deleted and not cleared up, over all replicas."""
        return sum(
            segment.deleted
            for peer in range(len(self.ground.cluster.ids))
            for segment in self.ground.cluster.optimizers.segments(DUSTY, 0, peer)
        )

    @property
    def thresholds(self) -> Mapping[str, Any]:
        """Those of them that a vacuum changes."""
        held = self.world.named(DUSTY).config["optimizer_config"]
        return {field: held[field] for field in OWN}

    async def leave(self, *, asked: bool, looks: int | None = None) -> None:
        """Let a vacuum have died that wrote its intent, and that `asked` the server by then."""
        self.soil(BELOW, looks=looks)
        found = self.world.named(DUSTY)
        now = self.ground.wall.now()
        changes = tuple(FieldChange(field, OWN[field], LOWERED[field], OWN[field]) for field in OWN)
        intent = ThresholdIntent(
            layout.new_id(now), CLUSTER, DUSTY, found.uuid, Purpose.VACUUM, now, "who died", changes
        )
        await self.ground.shelf.save_thresholds(intent)
        if asked:
            found.config["optimizer_config"] |= LOWERED
            self.ground.cluster.optimizers.patched(found)

    # --- both ---------------------------------------------------------------------------------------

    async def see(self) -> None:
        """See what must be true at any time: no vacuum was cancelled, and what is changed is written down."""
        statuses = self.ground.cluster.optimizers.statuses(DUSTY)
        assert not [status for status in statuses if isinstance(status, dict)], statuses
        opened = {intent.collection for intent in await self.ground.shelf.thresholds()}
        assert self.thresholds == OWN or DUSTY in opened
        for name, found in self.world.collections.items():
            assert found.config["optimizer_config"][INDEXING] != 0 or name in opened

    async def put_back(self) -> None:
        """Put thresholds back by the verb. While a vacuum runs it must say so and send nothing."""
        for _ in range(TRIES):
            before = self._patches()
            ended = await self.ground.live("vacuum", "put-back")
            await self.see()
            if ended.code == exit_codes.DONE:
                break
            assert ended.code == exit_codes.PARTLY, ended.output
            assert self._patches() == before, ended.output
        await self.check_thresholds()

    async def check_thresholds(self) -> None:
        """See that nothing is changed any more."""
        assert await self.ground.shelf.thresholds() == [], "\n".join(self.ground.diary)
        assert self.thresholds == OWN

    async def is_put_back(self) -> bool:
        """Whether nothing is changed any more."""
        await asyncio.sleep(0)
        return self.thresholds == OWN and await self.ground.shelf.thresholds() == []

    def _patches(self) -> int:
        return sum(seen.method == "PATCH" for seen in self.ground.cluster.requests)
