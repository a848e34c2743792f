"""What an import will do, said before it is done."""

from __future__ import annotations

from dataclasses import replace

from exporter.backup.importing.words import ASSUMED_BYTES_PER_SECOND, ImportOptions
from exporter.backup.words import Consistency, Encoding, Export, SetState
from tests.kit.snapshot_cluster import points
from tests.unit.backup.importing.kit import ground


async def test_a_plan_names_each_request_that_writes_and_sends_none() -> None:
    """Keys, indexes, chunks, settings, aliases: in their order."""
    async with ground() as here:
        strict = {"enabled": True}
        here.cluster.create("docs", sharding_method="custom", strict_mode_config=strict)
        here.cluster.create_keys("docs", {"b": points(50), 7: points(3)})
        here.cluster.world.named("docs").add_index("n", "integer")
        kept = await here.exported("docs", aliases=("live",))

        plan = await here.importer().plan(kept, ImportOptions(target="new", aliases=True))

        writing = [step.request for step in plan.steps if not step.request.startswith(("GET", "POST /coll"))]
        assert writing == [
            "PUT /collections/new",
            "PUT /collections/new/shards",
            "PUT /collections/new/shards",
            "PUT /collections/new/index",
            *["PUT /collections/new/points?wait=true"] * 3,
            "PATCH /collections/new",
            "PATCH /collections/new",
        ]
        assert plan.steps[-1].what == "the alias live shows it"
        assert (plan.points, plan.size_bytes) == (53, kept.manifest.size_bytes)
        assert plan.eta_seconds() == kept.manifest.size_bytes / ASSUMED_BYTES_PER_SECOND
        assert set(here.cluster.world.collections) == {"docs"}
        assert not [line for line in here.cluster.lines() if not line.startswith("GET")]


async def test_a_plan_warns_of_all_that_the_target_will_not_have_or_that_is_in_doubt() -> None:
    """Losses and writers by the export's own word."""
    async with ground(version="1.12.6") as here:
        here.cluster.create("docs", points(3), replication_factor=3, metadata={"owner": "me"})
        kept = await here.exported("docs", state=SetState.DEGRADED, problems=("b was away",))
        said = Export(Encoding.MSGPACK, Consistency.FUZZY, ("somebody wrote",), ("lengths are lost",), 3, 4)
        config = kept.manifest.config
        params = config["params"] | {"replication_factor": 5}
        manifest = replace(kept.manifest, export=said, config=config | {"params": params})

        plan = await here.importer().plan(
            replace(kept, manifest=manifest), ImportOptions(target="docs2", into=True)
        )

        assert plan.warnings == (
            "the export is degraded: b was away",
            "the export is of moments that differ: somebody wrote",
            "lengths are lost",
            "the replication factor is 5; a shard will have 3, for there are no more peers",
            "its metadata is left out: the server keeps none before 1.16",
        )
