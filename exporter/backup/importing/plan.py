"""What an import will do, and why it is not done. Pure: what there is comes in, requests come out.

Points go where the server puts them: neither its version, nor its peers, nor the ids of its shards need be
those of the export.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.backup.importing.words import ImportOptions, ImportPlan
from exporter.backup.restoring import schema
from exporter.backup.restoring.plan import aliases_wanted
from exporter.backup.restoring.refusals import other_way, target_refusals
from exporter.backup.restoring.words import Step, TargetSeen
from exporter.backup.thresholds.changing import INDEXING_THRESHOLD
from exporter.backup.words import (
    Consistency,
    KeyLayout,
    Manifest,
    RestoreRecord,
    SetKind,
    SetState,
    ShardKey,
    StoredSet,
)
from exporter.errors import JobRefused
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked

ANYWAY = "--force imports it all the same"
# Nothing is indexed: what is loaded would be built into an index again and again.
NO_INDEXING = 0
# What a server needs for a point is seldom less than twice what it takes in a chunk.
LEAST_GROWTH = 2


def plan(
    stored: StoredSet, seen: TargetSeen, options: ImportOptions, record: RestoreRecord | None
) -> ImportPlan:
    """Say what will be done. Raises JobRefused with everything that stands against it."""
    manifest = stored.manifest
    if manifest.kind is not SetKind.EXPORT:
        raise JobRefused(other_way(manifest, options.as_restore))
    problems = [*_of_the_set(stored, options), *seen.troubles]
    if seen.peers:
        problems += _of_keys(manifest, seen)
        problems += target_refusals(manifest, seen, options.as_restore, record)
        problems += _of_room(manifest, seen, options)
    if problems:
        raise JobRefused(f"backup {manifest.id} is not imported: " + "; ".join(problems))
    loaded = frozenset(() if record is None else record.uploaded)
    return ImportPlan(
        manifest=manifest,
        target=seen.name,
        resumes=record,
        due=tuple(number for number in range(len(manifest.chunks)) if number not in loaded),
        steps=tuple(_steps(manifest, seen, options)),
        warnings=tuple(_warnings(stored, seen)),
    )


def creation(manifest: Manifest, seen: TargetSeen, mark: schema.Mark) -> Asked:
    """Return the request that creates the target: without indexing, and without strict mode's limits.

    A server may have limits of its own for new collections; the export's come last.
    """
    kept = mark if schema.keeps_metadata(seen.oldest) else None
    body = schema.creation(manifest.config, shards=shards_of(manifest), mark=kept)
    optimizers = body.get("optimizers_config") or {}
    body["optimizers_config"] = optimizers | {INDEXING_THRESHOLD: NO_INDEXING}
    body["strict_mode_config"] = {"enabled": False}
    return keeping.create_collection(seen.name, body)


def key_creation(manifest: Manifest, seen: TargetSeen, layout: KeyLayout) -> Asked:
    """Return the request that creates a shard key with as many shards as it had."""
    body = {
        "shard_key": layout.key,
        "shards_number": len(layout.shards),
        "replication_factor": replicas(manifest, seen),
    }
    return keeping.create_key(seen.name, body)


def replicas(manifest: Manifest, seen: TargetSeen) -> int:
    """Return how many replicas a shard will have: no more than there are peers."""
    return min(_factor(manifest), max(len(seen.members), 1))


def keys_of(manifest: Manifest) -> tuple[KeyLayout, ...]:
    """Return the shard keys to make, in the order of their shards; none with automatic sharding."""
    return manifest.keys if schema.is_custom(manifest.config) else ()


def shards_of(manifest: Manifest) -> int:
    """Return how many shards the collection has with automatic sharding."""
    return int((manifest.config.get("params") or {}).get("shard_number") or 1)


def threshold_of(config: Mapping[str, Any]) -> float | None:
    """Return the indexing threshold of a collection in KB, by its settings; None: unset."""
    found = (config.get("optimizer_config") or {}).get(INDEXING_THRESHOLD)
    return None if found is None else float(found)


def _of_the_set(stored: StoredSet, options: ImportOptions) -> Iterator[str]:
    manifest = stored.manifest
    if manifest.state is SetState.INCOMPLETE and not options.force:
        yield f"it is incomplete ({'; '.join(manifest.problems)}); {ANYWAY}"
    if stored.is_bad and not options.force:
        failed = next(proof for proof in stored.proofs if not proof.good)
        yield f"it failed its proof ({'; '.join(failed.problems)}); {ANYWAY}"


def _of_keys(manifest: Manifest, seen: TargetSeen) -> Iterator[str]:
    if not schema.is_custom(manifest.config):
        return
    if not seen.clustered:
        yield "the collection has custom shard keys, and a server without cluster mode has none"
    known: set[ShardKey] = {layout.key for layout in manifest.keys}
    for key in sorted({str(chunk.key) for chunk in manifest.chunks if chunk.key not in known}):
        yield f"its manifest has points of the shard key {printable(key)}, and no such key"


def _of_room(manifest: Manifest, seen: TargetSeen, options: ImportOptions) -> Iterator[str]:
    needed = LEAST_GROWTH * manifest.size_bytes * replicas(manifest, seen) // len(seen.peers)
    for peer in seen.peers:
        free = options.free_bytes.get(peer.label)
        if free is not None and free < needed:
            yield f"{peer.label} has {free:,} bytes free, and {needed:,} are needed at the least"


def _steps(manifest: Manifest, seen: TargetSeen, options: ImportOptions) -> Iterator[Step]:
    path = f"/collections/{printable(seen.name)}"
    yield Step(f"PUT {path}", "create the collection with the settings it had, not indexing yet")
    for layout in keys_of(manifest):
        yield Step(f"PUT {path}/shards", f"the shard key {printable(str(layout.key))}")
    for field, _ in schema.indexes(manifest.payload_schema):
        yield Step(f"PUT {path}/index", f"the payload index of {printable(field)}")
    for chunk in manifest.chunks:
        of_key = "" if chunk.key is None else f" of key {printable(str(chunk.key))}"
        what = f"{chunk.points:,} points{of_key} from {chunk.file}"
        yield Step(f"PUT {path}/points?wait=true", what, chunk.size_bytes)
    yield Step(f"POST {path}/points/count", "count exactly, on every peer")
    yield Step(f"POST {path}/points/scroll", "read all points back, and compare their content")
    if options.scratch:
        return
    yield Step(f"PATCH {path}", "index again, once no optimizer runs; wait until it is green")
    if schema.afterwards(manifest.config):
        yield Step(f"PATCH {path}", "what creation does not take: fan-out, strict mode")
    for alias in aliases_wanted(manifest, options.as_restore):
        yield Step("POST /collections/aliases", f"the alias {printable(alias)} shows it")


def _warnings(stored: StoredSet, seen: TargetSeen) -> Iterator[str]:
    manifest = stored.manifest
    if seen.name == manifest.collection:
        yield f"{printable(seen.name)} is the real name: whoever uses it sees the import while it runs"
    if manifest.state is not SetState.COMPLETE:
        yield f"the export is {manifest.state}: {'; '.join(manifest.problems)}"
    if stored.is_bad:
        yield "the export failed a proof"
    if manifest.export is not None:
        if manifest.export.consistency is Consistency.FUZZY:
            yield f"the export is of moments that differ: {'; '.join(manifest.export.reasons)}"
        yield from manifest.export.losses
    wanted, given = _factor(manifest), replicas(manifest, seen)
    if wanted > given:
        yield f"the replication factor is {wanted}; a shard will have {given}, for there are no more peers"
    if not schema.keeps_metadata(seen.oldest) and schema.has_metadata(manifest.config):
        yield "its metadata is left out: the server keeps none before 1.16"


def _factor(manifest: Manifest) -> int:
    return int((manifest.config.get("params") or {}).get("replication_factor") or 1)
