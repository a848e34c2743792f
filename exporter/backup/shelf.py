"""All sets of a store: found, read, marked, removed; the records of what is under way beside them.

What a set is worth is said in words.py, where it lies in layout.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from exporter.backup import layout
from exporter.backup.layout import Place
from exporter.backup.manifest import Accepted, decode, decode_document, encode, encode_document
from exporter.backup.storage.contract import Store, Stored
from exporter.backup.words import (
    BackupIntent,
    ExportRecord,
    Level,
    Manifest,
    Proof,
    RestoreRecord,
    StoredSet,
    ThresholdIntent,
)
from exporter.clock import Clock
from exporter.errors import JobError, StoreMissing, StoreTaken
from exporter.logs import get_logger

log = get_logger()

T = TypeVar("T")
R = TypeVar("R", BackupIntent, ExportRecord, RestoreRecord, ThresholdIntent)

# Small files read at once: a store far away answers in 50 ms, and a year of nightly sets of twenty
# collections is 7,000 manifests.
READS_AT_ONCE = 16
# A proof is put in place of the last one. One that had lain there so long when it was read shows by its time
# that it is another now, also where a store's times are whole seconds.
RESTING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Fragment:
    """A folder of a set without a manifest: one under way, one that was given up, or half removed."""

    place: Place
    files: tuple[Stored, ...]
    changed_at: float  # Unix seconds, by the store's clock: its newest file

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files)

    def age_seconds(self, now: float) -> float:
        """Seconds since it last grew, or since it began by its name where that is later."""
        return now - max(self.changed_at, layout.id_time(self.place.id))


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A set whose manifest cannot be read. It counts for nothing, and nothing of it is deleted unasked."""

    place: Place
    size_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """One look at the whole shelf, or at a part of it."""

    sets: tuple[StoredSet, ...]  # newest first
    fragments: tuple[Fragment, ...]  # oldest first
    unreadable: tuple[Unreadable, ...]


class Shelf:
    """Reads and writes the documents of one store. Every method raises StoreError; JobError where said."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self._clock = clock
        # Manifests never change, so each is read once, and a proof while its file is the same; both are
        # forgotten when a look does not find them any more.
        self._manifests: dict[str, Manifest] = {}
        self._proofs: dict[Stored, Proof] = {}

    # --- sets --------------------------------------------------------------------------------------

    async def contents(self, cluster: str | None = None, collection: str | None = None) -> Contents:
        """Look at everything, at a cluster's or at a collection's folders, given by name."""
        prefix = _prefix(cluster, collection)
        folders = await self._folders(prefix)
        places = [place for place, files in folders.items() if place.manifest in _paths(files)]
        read = await _at_once([self._reading(place, folders[place]) for place in places])
        self._forget_all_but(prefix, folders)
        sets = [found for found in read if isinstance(found, StoredSet)]
        wanted = [found for found in sets if collection in (None, found.manifest.collection)]
        return Contents(
            sets=tuple(sorted(wanted, key=_newest, reverse=True)),
            fragments=tuple(_fragments(folders, frozenset(places))),
            unreadable=tuple(found for found in read if isinstance(found, Unreadable)),
        )

    async def sets(self, cluster: str | None = None, collection: str | None = None) -> list[StoredSet]:
        """Return all sets that can be read, newest first, by the ends of their runs."""
        found = await self.contents(cluster, collection)
        for bad in found.unreadable:
            log.warning("backup.unreadable", set_id=bad.place.id, reason=bad.reason)
        return list(found.sets)

    async def fragments(self) -> list[Fragment]:
        """Return all folders without a manifest, oldest first."""
        return list((await self.contents()).fragments)

    async def find(self, set_id: str) -> StoredSet:
        """Return a set by its id. Raises StoreMissing where there is none; JobError: it cannot be read."""
        layout.checked_id(set_id)
        folders = {place: files for place, files in (await self._folders("")).items() if place.id == set_id}
        failure: JobError = StoreMissing(
            f"there is no backup {set_id} in {self.store.name}; `backup list` names all"
        )
        for place, files in folders.items():
            if place.manifest not in _paths(files):
                failure = JobError(f"backup {set_id} has no manifest: it was not finished, or half removed")
                continue
            found = await self._reading(place, files)()
            if isinstance(found, StoredSet):
                return found
            if found is not None:
                failure = JobError(found.reason)
        raise failure  # not at once: a copy in another folder must not hide the set itself

    async def save_manifest(self, manifest: Manifest) -> None:
        """Make a set be there: its last step. Raises JobError where its id is taken."""
        place, data = place_of(manifest), encode(manifest)
        # a put whose answer was lost and that was sent again finds itself there
        if not await self.store.put_if_absent(place.manifest, data) and data != await self.store.get(
            place.manifest
        ):
            raise StoreTaken(f"backup {manifest.id} is there already; nothing was changed")

    async def save_proof(self, manifest: Manifest, proof: Proof) -> None:
        """Keep a proof of a set, in place of the one of the same level."""
        await self.store.put(place_of(manifest).proof(proof.level), encode_document(proof))

    async def accept(self, manifest: Manifest, by: str = "") -> None:
        """Keep that a person accepted a set."""
        note = Accepted(at=self._clock.now(), by=by)
        await self.store.put(place_of(manifest).accepted, encode_document(note))

    async def remove(self, manifest: Manifest) -> None:
        """Remove a set: its manifest first, so that no half of it is ever taken for a set."""
        place = place_of(manifest)
        await self.store.delete(place.manifest)
        self._manifests.pop(place.manifest, None)
        await self._empty(place)

    async def remove_fragment(self, fragment: Fragment) -> None:
        """Remove what is left of a set. Raises JobError where it has a manifest by now."""
        await self.discard(fragment.place)

    async def discard(self, place: Place) -> None:
        """Remove the files of a set that is none. Raises JobError where it has a manifest."""
        files = [stored.path async for stored in self.store.list(place.folder)]
        if place.manifest in files:
            raise JobError(f"backup {place.id} has been finished meanwhile; it stays")
        await self._empty(place)

    # --- what is under way -------------------------------------------------------------------------

    async def save_intent(self, intent: BackupIntent) -> None:
        """Write down what a backup is about to do on the servers."""
        await self.store.put(layout.intent_path(intent.id), encode_document(intent))

    async def intents(self) -> list[BackupIntent]:
        """Return all open intents, oldest first; what cannot be read is only logged."""
        return await self._documents(layout.INTENTS, BackupIntent)

    async def close_intent(self, intent_id: str) -> None:
        """Forget an intent: nothing of it is left on the servers."""
        await self.store.delete(layout.intent_path(intent_id))

    async def save_restore(self, record: RestoreRecord) -> None:
        """Keep how far a restore came, in place of what was kept of it."""
        changed = replace(record, changed_at=self._clock.now())
        await self.store.put(layout.restore_path(record.id), encode_document(changed))

    async def restores(self) -> list[RestoreRecord]:
        """Return the records of all restores, oldest first; what cannot be read is only logged."""
        return await self._documents(layout.RESTORES, RestoreRecord)

    async def remove_restore(self, restore_id: str) -> None:
        """Forget a restore."""
        await self.store.delete(layout.restore_path(restore_id))

    async def save_export(self, record: ExportRecord) -> None:
        """Keep how far an export came, in place of what was kept of it."""
        changed = replace(record, changed_at=self._clock.now())
        await self.store.put(layout.export_path(record.id), encode_document(changed))

    async def exports(self) -> list[ExportRecord]:
        """Return the records of all exports under way, oldest first; what cannot be read is only logged."""
        return await self._documents(layout.EXPORTS, ExportRecord)

    async def remove_export(self, export_id: str) -> None:
        """Forget an export: it is a set now, or given up."""
        await self.store.delete(layout.export_path(export_id))

    async def save_thresholds(self, intent: ThresholdIntent) -> None:
        """Write down which thresholds of a collection are about to be changed, and what they were."""
        await self.store.put(layout.thresholds_path(intent.id), encode_document(intent))

    async def thresholds(self) -> list[ThresholdIntent]:
        """Return all open intents of thresholds, oldest first; what cannot be read is only logged."""
        return await self._documents(layout.THRESHOLDS, ThresholdIntent)

    async def close_thresholds(self, intent_id: str) -> None:
        """Forget an intent of thresholds: they are what they were."""
        await self.store.delete(layout.thresholds_path(intent_id))

    # --- inside ------------------------------------------------------------------------------------

    async def _folders(self, prefix: str) -> dict[Place, list[Stored]]:
        folders: dict[Place, list[Stored]] = {}
        async for stored in self.store.list(prefix):
            found = layout.place_of(stored.path)
            if found is not None:
                folders.setdefault(found[0], []).append(stored)
        return folders

    def _reading(
        self, place: Place, files: Iterable[Stored]
    ) -> Callable[[], Awaitable[StoredSet | Unreadable | None]]:
        async def read() -> StoredSet | Unreadable | None:
            try:
                manifest = await self._manifest(place)
                found = [by_path[path] for level in Level if (path := place.proof(level)) in by_path]
                proofs = [await self._proof(place, stored) for stored in found]
            except StoreMissing:
                return None  # removed since it was listed
            except JobError as error:
                if type(error) is not JobError:
                    raise
                return Unreadable(place, sum(file.size_bytes for file in files), str(error))
            kept = tuple(proof for proof in proofs if proof is not None)
            return StoredSet(manifest, kept, accepted=place.accepted in by_path)

        by_path = {stored.path: stored for stored in files}
        return read

    def _forget_all_but(self, prefix: str, folders: Mapping[Place, Iterable[Stored]]) -> None:
        """Forget what lay below a directory and does not any more."""
        there = {stored for files in folders.values() for stored in files}
        paths = _paths(there)
        below = f"{prefix}/" if prefix else ""
        self._manifests = {
            path: kept
            for path, kept in self._manifests.items()
            if path in paths or not path.startswith(below)
        }
        self._proofs = {
            stored: kept
            for stored, kept in self._proofs.items()
            if stored in there or not stored.path.startswith(below)
        }

    async def _manifest(self, place: Place) -> Manifest:
        known = self._manifests.get(place.manifest)
        if known is not None:
            return known
        manifest = decode(await self.store.get(place.manifest), place.manifest)
        if place_of(manifest) != place:
            raise JobError(f"{place.manifest}: the manifest of another set, {manifest.id}, lies here")
        self._manifests[place.manifest] = manifest
        return manifest

    async def _proof(self, place: Place, stored: Stored) -> Proof | None:
        """Read a proof; one that cannot be read proves nothing."""
        known = self._proofs.get(stored)
        if known is not None:
            return known
        rested = self._clock.now() - stored.modified_at > RESTING_SECONDS
        try:
            proof = decode_document(await self.store.get(stored.path), Proof, stored.path)
        except StoreMissing:
            return None
        except JobError as error:
            if type(error) is not JobError:
                raise
            log.warning("proof.unreadable", set_id=place.id, reason=str(error))
            return None
        if rested:
            self._proofs[stored] = proof
        return proof

    async def _documents(self, folder: str, kind: type[R]) -> list[R]:
        async def read(path: str) -> R | None:
            try:
                return decode_document(await self.store.get(path), kind, path)
            except StoreMissing:
                return None
            except JobError as error:
                if type(error) is not JobError:
                    raise
                log.warning("record.unreadable", reason=str(error))
                return None

        paths = [stored.path async for stored in self.store.list(folder) if stored.path.endswith(".json")]
        read_all = await _at_once([_bound(read, path) for path in paths])
        return sorted((found for found in read_all if found is not None), key=lambda found: found.id)

    async def _empty(self, place: Place) -> None:
        files = [stored.path async for stored in self.store.list(place.folder)]
        # archives and chunks first: a removal that is interrupted then left little behind
        for path in sorted(files, key=lambda path: not path.endswith(layout.DATA_SUFFIXES)):
            await self.store.delete(path)


def place_of(manifest: Manifest) -> Place:
    """Return where a set lies."""
    return layout.place(manifest.cluster, manifest.collection, manifest.id)


def _prefix(cluster: str | None, collection: str | None) -> str:
    if cluster is None:
        return ""  # a collection of any cluster: told apart by its manifests
    if collection is None:
        return layout.cluster_folder(cluster)
    return layout.folder_of_collection(cluster, collection)


def _paths(files: Iterable[Stored]) -> frozenset[str]:
    return frozenset(file.path for file in files)


def _newest(found: StoredSet) -> tuple[float, str]:
    return found.manifest.ended_at, found.manifest.id


def _fragments(folders: Mapping[Place, list[Stored]], whole: frozenset[Place]) -> list[Fragment]:
    found = [
        Fragment(place, tuple(files), max(file.modified_at for file in files))
        for place, files in folders.items()
        if place not in whole
    ]
    return sorted(found, key=lambda fragment: fragment.place.id)


def _bound(read: Callable[[str], Awaitable[T]], path: str) -> Callable[[], Awaitable[T]]:
    return lambda: read(path)


async def _at_once(readings: list[Callable[[], Awaitable[T]]]) -> list[T]:
    """Do them, some at a time, and return what they gave in their order; the first failure ends all."""
    gate = asyncio.Semaphore(READS_AT_ONCE)

    async def one(reading: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await reading()

    tasks = [asyncio.ensure_future(one(reading)) for reading in readings]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
