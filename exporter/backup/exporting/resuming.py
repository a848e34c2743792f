"""Where an export goes on that was cut off: its record, and what of it lies in the store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from exporter.backup import layout
from exporter.backup.exporting.consistency import numbers_of, starts_of
from exporter.backup.finishing import tried
from exporter.backup.layout import Place
from exporter.backup.shelf import Shelf
from exporter.backup.storage.contract import Stored
from exporter.backup.survey import Survey
from exporter.backup.words import Encoding, ExportRecord, ShardKey
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()

# An export goes on that far behind its last chunk; pruning clears up what is older.
RESUMED_SECONDS = 24 * 3_600.0


@dataclass(frozen=True, slots=True)
class Begun:
    """An export under way."""

    record: ExportRecord
    names: frozenset[str]  # of files that lie in its folder, or lay there: none is used again


async def begun(
    survey: Survey, *, shelf: Shelf, cluster: str, encoding: Encoding, now: float, points: int | None
) -> Begun:
    """Return the export of this collection that was cut off, or a new one.

    Of the one that goes on, chunks that are not in its record are deleted; one that cannot go on is deleted
    whole. `points`: as counted now. Raises StoreError, JobError.
    """
    for record in reversed(await shelf.exports()):
        if (record.cluster, record.collection, record.encoding) != (cluster, survey.collection, encoding):
            continue
        place = layout.place(cluster, survey.collection, record.id)
        files = [stored async for stored in shelf.store.list(place.folder)]
        reason = _why_not(record, survey, files, place, now)
        if reason is None:
            return await _cleared(record, files, place, shelf)
        log.info(
            "export.begun_anew", collection=printable(survey.collection), set_id=record.id, reason=reason
        )
        if place.manifest not in {stored.path for stored in files}:
            await shelf.discard(place)
        await shelf.remove_export(record.id)
    return Begun(_new(survey, cluster, encoding, now, points), frozenset())


def is_another(record: ExportRecord, survey: Survey) -> bool:
    """Whether the collection was deleted and made anew since the export began.

    Where no uuid is told a peer that was started again says nothing of that: it may count anew.
    """
    starts = starts_of(survey)
    stayed = all(starts.get(name) == began for name, began in record.started.items())
    return record.uuid != survey.uuid or (stayed and _fallen(record, survey))


def _fallen(record: ExportRecord, survey: Survey) -> bool:
    """Whether fewer operations are counted than before, on a server that tells no uuid: without a cluster."""
    behind = (number < record.op_numbers.get(name, 0) for name, number in numbers_of(survey).items())
    return record.uuid is None and any(behind)


def _new(survey: Survey, cluster: str, encoding: Encoding, now: float, points: int | None) -> ExportRecord:
    return ExportRecord(
        id=layout.new_id(now),
        cluster=cluster,
        collection=survey.collection,
        encoding=encoding,
        opened_at=now,
        changed_at=now,
        uuid=survey.uuid,
        versions=survey.versions,
        op_numbers=numbers_of(survey),
        started=starts_of(survey),
        points_before=points,
        params=_params(survey),
    )


def _params(survey: Survey) -> str:
    """Return what stands for the collection's vectors; "" where no peer could say."""
    if survey.described is None:
        return ""
    params = survey.described.config.get("params")
    return hashlib.sha256(msgspec.json.encode(params, order="sorted")).hexdigest()


def _why_not(
    record: ExportRecord, survey: Survey, files: list[Stored], place: Place, now: float
) -> str | None:
    """Return why an export cannot go on; None where it can."""
    if place.manifest in {stored.path for stored in files}:
        return "it was finished"
    if now - record.changed_at > RESUMED_SECONDS:
        return "it is too old"
    if record.uuid != survey.uuid:
        return "the collection was deleted and made anew since"
    if record.params != _params(survey):
        return "its vectors or its sharding were changed since"
    if _fallen(record, survey):
        return "operations were counted anew since: the collection was perhaps made anew"
    keys: set[ShardKey] = {key.key for key in survey.keys} or {None}
    if not {chunk.key for chunk in record.chunks} | set(record.done) <= keys:
        return "a shard key was deleted since"
    sizes = {stored.path: stored.size_bytes for stored in files}
    if any(sizes.get(place.file(chunk.file)) != chunk.size_bytes for chunk in record.chunks):
        return "a chunk of it is not in the store any more"
    return None


async def _cleared(record: ExportRecord, files: list[Stored], place: Place, shelf: Shelf) -> Begun:
    """Delete what a kill left between a chunk and the record of it."""
    kept = {place.file(chunk.file) for chunk in record.chunks}
    for stored in files:
        if stored.path not in kept:
            await tried(shelf.store.delete(stored.path))
    names = {stored.path.rpartition("/")[2] for stored in files}
    log.info(
        "export.resumed",
        collection=printable(record.collection),
        set_id=record.id,
        chunks=len(record.chunks),
        points=sum(chunk.points for chunk in record.chunks),
    )
    return Begun(record, frozenset(names))
