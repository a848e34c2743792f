"""Why a set is not restored into a target. Pure: all that would do harm is found before a request writes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace

from exporter.backup.restoring import lineup, schema
from exporter.backup.restoring.words import (
    LONGEST_NAME_BYTES,
    NO_NAMES,
    NOT_IN_NAMES,
    RestoreOptions,
    ShardUpload,
    TargetSeen,
)
from exporter.backup.words import Manifest, RestoreRecord, RestoreState, SetKind, SetState, StoredSet
from exporter.printable import printable
from exporter.qdrant.versions import Version, parse_version

ANYWAY = "--force restores it all the same"
OTHER_NAME = "delete it, or choose another name"


def resumed(records: Iterable[RestoreRecord], seen: TargetSeen, set_id: str) -> RestoreRecord | None:
    """Return the record of the restore that made the target, of this set; None where nobody of us made it.

    The target's mark names its record. Servers before 1.16 keep no mark: there the record has to name the
    very servers, and the target's name the set, for a collection of any other name may have been deleted and
    made anew by people since. An open record is taken.
    """
    if seen.description is None:
        return None
    ours = [record for record in records if record.set_id == set_id and record.target == seen.name]
    mark = schema.mark_of(seen.description.config)
    if mark is not None:
        found = next((record for record in ours if record.id == mark.restore_id), None)
        if found is not None and set(found.peers) != seen.holders:
            return replace(found, uploaded=())  # what it says of shards is of other servers
        return found
    if schema.keeps_metadata(seen.oldest):
        return None
    made_here = [
        record
        for record in ours
        if record.state is not RestoreState.DONE
        and record.peers
        and set(record.peers) == seen.holders
        and record.target.endswith(set_id)
    ]
    return max(made_here, key=lambda record: record.id, default=None)


def begun(
    records: Iterable[RestoreRecord], seen: TargetSeen, set_id: str, *, scratch: bool
) -> tuple[RestoreRecord, ...]:
    """Return the restores of this set that came to nothing here: the target is not there. Newest first.

    The newest is taken up under its own id: a server may be making what it asked for at this moment.
    """
    if seen.exists:
        return ()
    found = [
        record
        for record in records
        if (record.set_id, record.target, record.scratch) == (set_id, seen.name, scratch)
        and record.state is not RestoreState.DONE
        and set(record.peers) <= seen.members
    ]
    return tuple(sorted(found, key=lambda record: record.id, reverse=True))


def finished(records: Iterable[RestoreRecord], seen: TargetSeen, set_id: str) -> RestoreRecord | None:
    """Return the newest restore of this set that was proven on these servers under the target's name."""
    done = [
        record
        for record in records
        if (record.set_id, record.target, record.state) == (set_id, seen.name, RestoreState.DONE)
        and seen.exists
        and set(record.peers) == seen.holders
    ]
    return max(done, key=lambda record: record.id, default=None)


def refusals(
    stored: StoredSet, seen: TargetSeen, options: RestoreOptions, record: RestoreRecord | None
) -> tuple[str, ...]:
    """Say everything that stands against it, for people; () when nothing does. `record`: see `resumed`."""
    if stored.manifest.kind is SetKind.EXPORT:
        return (other_way(stored.manifest, options),)
    problems = [*_of_the_set(stored, options), *seen.troubles]
    if seen.peers:
        problems += _of_versions(stored.manifest, seen, options)
        problems += _of_shards(stored.manifest, seen)
        problems += target_refusals(stored.manifest, seen, options, record)
    return tuple(problems)


def target_refusals(
    manifest: Manifest, seen: TargetSeen, options: RestoreOptions, record: RestoreRecord | None
) -> tuple[str, ...]:
    """Say what stands against the target and the aliases, whatever the set is made of."""
    return (*_of_the_name(manifest, seen, options, record), *_of_aliases(manifest, seen, options))


def other_way(manifest: Manifest, options: RestoreOptions) -> str:
    """Say what to write in place of a restore or an import, where the set is of the other kind."""
    is_export = manifest.kind is SetKind.EXPORT
    what = "an export, which is imported" if is_export else "a snapshot, which is restored"
    words = ["qdrant-exporter", "backup", "import" if is_export else "restore", manifest.id]
    if options.target is not None:
        words += ["--into" if options.into else "--as", options.target]
    words += ["--aliases"] if options.aliases else []
    words += ["--switch-alias", options.switch_alias] if options.switch_alias else []
    return f"backup {manifest.id} is {what}: {printable(shlex.join(words))}"


def room_refusals(seen: TargetSeen, options: RestoreOptions, uploads: Iterable[ShardUpload]) -> Iterator[str]:
    """Say which peers' disks are too small, as far as somebody knows their room."""
    sent = list(uploads)
    whole = sum(upload.size_bytes * upload.replicas for upload in sent) // max(len(seen.peers), 1)
    # an upload is unpacked beside the shard that it replaces
    needed = whole + max((upload.size_bytes for upload in sent), default=0)
    for peer in seen.peers:
        free = options.free_bytes.get(peer.label)
        if free is not None and free < needed:
            yield f"{peer.label} has {free:,} bytes free, and about {needed:,} are needed"


def _of_the_set(stored: StoredSet, options: RestoreOptions) -> Iterator[str]:
    manifest = stored.manifest
    held = {(archive.file, part.shard) for archive in manifest.archives for part in archive.shards}
    missing = [copy.shard for copy in manifest.shards if (copy.archive, copy.shard) not in held]
    if missing:
        yield f"backup {manifest.id} lacks the shards {', '.join(str(shard) for shard in missing)}"
    elif manifest.state is SetState.INCOMPLETE and not options.force:
        yield f"backup {manifest.id} is incomplete ({'; '.join(manifest.problems)}); {ANYWAY}"
    if stored.is_bad and not options.force:
        failed = next(proof for proof in stored.proofs if not proof.good)
        yield f"backup {manifest.id} failed its proof ({'; '.join(failed.problems)}); {ANYWAY}"


def _of_versions(manifest: Manifest, seen: TargetSeen, options: RestoreOptions) -> Iterator[str]:
    if not options.force:
        for problem in version_problems(manifest, seen):
            yield f"{problem}; --force tries all the same, it often works and is compared afterwards"


def version_problems(manifest: Manifest, seen: TargetSeen) -> Iterator[str]:
    """Say which versions do not go together by Qdrant's documents: the same minor or the next one does."""
    texts = sorted({archive.version for archive in manifest.archives} or set(manifest.versions.values()))
    for there in sorted({peer.version for peer in seen.peers}):
        for was in texts:
            old, new = parse_version(was), parse_version(there)
            if old is None or new is None:
                yield f"a version cannot be read: {printable(was)} (backup), {printable(there)} (server)"
            elif not _documented(old, new):
                yield (
                    f"the backup is of Qdrant {old} and the server is {new}; documented is a restore into"
                    f" {old.major}.{old.minor} and {old.major}.{old.minor + 1}"
                )


def _documented(old: Version, new: Version) -> bool:
    return old.major == new.major and old.minor <= new.minor <= old.minor + 1


def _of_shards(manifest: Manifest, seen: TargetSeen) -> Iterator[str]:
    if schema.is_custom(manifest.config):
        if not seen.clustered:
            yield "the collection has custom shard keys, and a server without cluster mode has none"
        yield from lineup.obstacles(manifest.keys)
        return
    ids = [copy.shard for copy in manifest.shards]
    if sorted(ids) != list(range(len(ids))):
        listed = ", ".join(str(shard) for shard in sorted(ids))
        yield f"the shards have the ids {listed}, and those of a new collection are counted from 0"


def name_refusals(name: str) -> Iterator[str]:
    """Yield why no collection can be made under a name. Pure."""
    shown = printable(name)
    if not name:
        yield "the name of the target is empty"
    if name in NO_NAMES:
        yield f"{shown} names no folder: a cluster that is asked for it stands still for good"
    if any(character in name for character in NOT_IN_NAMES):
        yield (
            f"Qdrant makes no collection {shown}: a name may have any character but"
            ' < > : " / \\ | ? * and the control characters 0 and 31; choose another by --as'
        )
    if (size := len(name.encode())) > LONGEST_NAME_BYTES:
        yield (
            f"the name of the target has {size} bytes, and {LONGEST_NAME_BYTES} are the most: a cluster that"
            " is asked for it stands still for good"
        )


def _of_the_name(
    manifest: Manifest, seen: TargetSeen, options: RestoreOptions, record: RestoreRecord | None
) -> Iterator[str]:
    name = printable(seen.name)
    yield from name_refusals(seen.name)
    if seen.name == manifest.collection and not options.into:
        yield f"{name} is the name of the collection itself; say --into {name} where you mean it"
    if seen.name in seen.aliases:
        behind = printable(seen.aliases[seen.name])
        yield f"{name} is an alias of {behind}: the data of that collection would be replaced"
    elif seen.exists and record is None:
        yield from _of_what_is_there(manifest, seen)
    elif record is not None and record.state is RestoreState.DONE:
        yield f"{name} was restored from this backup already; {OTHER_NAME}"
    elif record is not None and record.scratch is not options.scratch:
        kind = "a verification" if record.scratch else "a restore that was not finished"
        yield f"{name} was made by {kind} of this backup; {OTHER_NAME}"


def _of_what_is_there(manifest: Manifest, seen: TargetSeen) -> Iterator[str]:
    name = printable(seen.name)
    mark = None if seen.description is None else schema.mark_of(seen.description.config)
    if mark is None:
        points = None if seen.description is None else seen.description.points_count
        held = "" if points is None else f", with {points:,} points"
        yield (
            f"the collection {name} exists{held}, and no restore of this backup made it: nothing that exists"
            " is written to"
        )
    elif mark.set_id != manifest.id:
        yield f"{name} was made by a restore of backup {printable(mark.set_id)}; {OTHER_NAME}"
    else:
        yield (
            f"{name} was made by restore {printable(mark.restore_id)}, of which this store has no record;"
            f" {OTHER_NAME}"
        )


def _of_aliases(manifest: Manifest, seen: TargetSeen, options: RestoreOptions) -> Iterator[str]:
    wanted = set(manifest.aliases) if options.aliases else set()
    for alias in sorted(wanted):
        behind = seen.aliases.get(alias, seen.name)
        if behind != seen.name:
            yield (
                f"the alias {printable(alias)} of the backup shows {printable(behind)} now;"
                f" --switch-alias {printable(alias)} in place of --aliases turns it round"
            )
    for alias in sorted(wanted | ({options.switch_alias} if options.switch_alias else set())):
        if alias in seen.collections or alias == seen.name:
            yield f"{printable(alias)} is the name of a collection, so it can be no alias"
