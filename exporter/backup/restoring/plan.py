"""What a restore will do. Pure: what there is comes in, requests come out, for people and for run.py.

Shards are restored one by one, each from the archived replica that counts, so neither the number of peers nor
their ids need be those of the backup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.backup.restoring import lineup, schema
from exporter.backup.restoring.lineup import MakeKey
from exporter.backup.restoring.refusals import refusals, room_refusals, version_problems
from exporter.backup.restoring.words import (
    LONGEST_OWN_NAME_BYTES,
    RestoreOptions,
    RestorePlan,
    ShardUpload,
    Step,
    TargetSeen,
)
from exporter.backup.words import Archive, KeyLayout, Manifest, RestoreRecord, SetState, ShardCopy, StoredSet
from exporter.errors import JobRefused
from exporter.printable import printable
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked


def default_target(collection: str, set_id: str, *, scratch: bool = False) -> str:
    """Name the collection that a set is restored into where nobody says another name.

    A `scratch` one, made to prove and removed then, has another name than what a person wants to keep.
    """
    suffix = f"__{'verify' if scratch else 'restore'}_{set_id}"
    room = LONGEST_OWN_NAME_BYTES - len(suffix)
    return collection.encode()[:room].decode(errors="ignore") + suffix


def plan(
    stored: StoredSet, seen: TargetSeen, options: RestoreOptions, record: RestoreRecord | None
) -> RestorePlan:
    """Say what will be done. Raises JobRefused with everything that stands against it."""
    manifest = stored.manifest
    problems = list(refusals(stored, seen, options, record))
    uploads = () if problems else tuple(_uploads(manifest, seen))
    problems += room_refusals(seen, options, uploads)
    if problems:
        raise JobRefused(f"backup {manifest.id} is not restored: " + "; ".join(problems))
    return RestorePlan(
        manifest=manifest,
        target=seen.name,
        resumes=record,
        uploads=uploads,
        hashed_bytes=sum(one.size_bytes for one in archives_of(uploads)) if options.check_hashes else 0,
        steps=tuple(_steps(manifest, seen, options, uploads)),
        warnings=tuple(_warnings(stored, seen, options)),
    )


def creation(manifest: Manifest, seen: TargetSeen, mark: schema.Mark) -> Asked:
    """Return the request that creates the target."""
    kept = mark if schema.keeps_metadata(seen.oldest) else None
    body = schema.creation(manifest.config, shards=len(manifest.shards), mark=kept)
    return keeping.create_collection(seen.name, body)


def key_creation(manifest: Manifest, seen: TargetSeen, step: MakeKey) -> Asked:
    """Return the request that creates a shard key, on the peers that had it where the target has them all."""
    body: dict[str, object] = {"shard_key": step.key, "shards_number": len(step.shards)}
    if step.filler:
        return keeping.create_key(seen.name, body | {"replication_factor": 1})
    copies = [copy for copy in manifest.shards if copy.key == step.key]
    body["replication_factor"] = max(_replicas(manifest, copy, seen) for copy in copies)
    peers = {peer for copy in copies for peer in copy.peer_ids}
    if peers and peers <= seen.members:
        body["placement"] = sorted(peers)
    return keeping.create_key(seen.name, body)


def archives_of(uploads: Iterable[ShardUpload]) -> tuple[Archive, ...]:
    """Return the archives that hold these shards, each once."""
    return tuple({upload.archive.file: upload.archive for upload in uploads}.values())


def aliases_wanted(manifest: Manifest, options: RestoreOptions) -> tuple[str, ...]:
    """Return the aliases that are to show the target, once it is proven."""
    wanted = set(manifest.aliases) if options.aliases else set()
    return tuple(sorted(wanted | ({options.switch_alias} if options.switch_alias else set())))


def _uploads(manifest: Manifest, seen: TargetSeen) -> Iterator[ShardUpload]:
    archives = {archive.file: archive for archive in manifest.archives}
    for copy in sorted(manifest.shards, key=lambda copy: copy.shard):
        assert copy.archive is not None  # else it was refused
        archive = archives[copy.archive]
        part = next(part for part in archive.shards if part.shard == copy.shard)
        low, high = _points(copy)
        yield ShardUpload(
            shard=copy.shard,
            key=copy.key,
            archive=archive,
            offset=part.offset,
            length=part.length,
            low=low,
            high=high,
            replicas=_replicas(manifest, copy, seen),
        )


def _points(copy: ShardCopy) -> tuple[int | None, int | None]:
    """Return the fewest and the most points that its archive may hold."""
    if copy.points is not None and (copy.settled or copy.counted):
        return copy.points, copy.points
    if copy.points_before is None or copy.points_after is None:
        return None, None
    return min(copy.points_before, copy.points_after), max(copy.points_before, copy.points_after)


def _replicas(manifest: Manifest, copy: ShardCopy, seen: TargetSeen) -> int:
    """Return how many replicas a shard will have: as the server makes them, no more than there are peers.

    A shard key may have a number of its own, which shows in its layout only.
    """
    if not seen.clustered:
        return 1
    wanted = _factor(manifest)
    if copy.key is not None:
        same_key = [len(other.peer_ids) for other in manifest.shards if other.key == copy.key]
        wanted = max(same_key) or wanted
    return min(wanted, len(seen.members))


def _factor(manifest: Manifest) -> int:
    return int((manifest.config.get("params") or {}).get("replication_factor") or 1)


def _steps(
    manifest: Manifest, seen: TargetSeen, options: RestoreOptions, uploads: tuple[ShardUpload, ...]
) -> Iterator[Step]:
    path = f"/collections/{printable(seen.name)}"
    yield Step(f"PUT {path}", "create the collection with the settings it had")
    for step in lineup.steps(manifest.keys, {}) if schema.is_custom(manifest.config) else ():
        yield _key_step(path, step)
    for upload in uploads:
        of_key = "" if upload.key is None else f" of key {printable(str(upload.key))}"
        yield Step(
            f"POST {path}/shards/{upload.shard}/snapshots/upload?priority=snapshot&wait=true",
            f"shard {upload.shard}{of_key} from {upload.archive.file}, {upload.wanted} points",
            upload.size_bytes,
        )
    yield Step(f"GET {path}/cluster", "on every peer, until every replica is Active and holds its points")
    for field, _ in schema.indexes(manifest.payload_schema):
        yield Step(f"PUT {path}/index", f"the payload index of {printable(field)}")
    yield Step(f"POST {path}/points/count", "count exactly, on every peer")
    if schema.afterwards(manifest.config):
        yield Step(f"PATCH {path}", "what creation does not take: fan-out, strict mode")
    if not options.scratch:
        yield Step(f"PATCH {path}", "wake the optimizers, unless it is green")
    for alias in aliases_wanted(manifest, options):
        yield Step("POST /collections/aliases", f"the alias {printable(alias)} shows it")


def _key_step(path: str, step: lineup.MakeKey | lineup.DropKey) -> Step:
    if isinstance(step, lineup.DropKey):
        return Step(f"POST {path}/shards/delete", f"the filler {step.key} goes")
    ids = ", ".join(str(shard) for shard in step.shards)
    kind = "a filler" if step.filler else f"the shard key {printable(str(step.key))}"
    return Step(f"PUT {path}/shards", f"{kind} for the shards {ids}")


def _warnings(stored: StoredSet, seen: TargetSeen, options: RestoreOptions) -> Iterator[str]:
    manifest = stored.manifest
    if seen.name == manifest.collection:
        yield f"{printable(seen.name)} is the real name: whoever uses it sees the restore while it runs"
    yield from version_problems(manifest, seen)
    if manifest.state is not SetState.COMPLETE:
        yield f"the backup is {manifest.state}: {'; '.join(manifest.problems)}"
    if stored.is_bad:
        yield "the backup failed a proof"
    if not manifest.settled:
        yield "a writer was running during the backup: shards are from moments that differ a little"
    if any(_points(copy)[0] is None for copy in manifest.shards):
        yield "the backup does not know the points of some shards: only their replicas are compared"
    wanted, peers = _factor(manifest), max(len(seen.members), 1)
    if wanted > peers:
        yield f"the replication factor is {wanted}; a shard will have {peers}, for there are no more peers"
    if not schema.keeps_metadata(seen.oldest) and schema.has_metadata(manifest.config):
        yield "its metadata is left out: the server keeps none before 1.16"
    if not options.check_hashes:
        yield "the archives' hashes are not compared before"


def keys_of(manifest: Manifest) -> tuple[KeyLayout, ...]:
    """Return the shard keys to make; none with automatic sharding."""
    return manifest.keys if schema.is_custom(manifest.config) else ()
