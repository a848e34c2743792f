"""Whether somebody wrote while points were read, by what the peers said before and after. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.backup.survey import Replica, Survey
from exporter.backup.words import Consistency, ExportRecord
from exporter.printable import printable
from exporter.qdrant.versions import parse_version

# Before it a scroll could leave points out that were moved from segment to segment by a write.
SURE_SCROLL = (1, 14, 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the points that were read are worth."""

    consistency: Consistency
    reasons: tuple[str, ...]  # why they are fuzzy
    missing: str = ""  # that some are missing, though nobody is known to have deleted any


def numbers_of(survey: Survey) -> dict[str, int]:
    """Return the last operation by "shard/peer id" of every whole replica that has nothing waiting."""
    return {
        name: one.op_num for name, one in _whole(survey) if one.op_num is not None and not one.queue_length
    }


def starts_of(survey: Survey) -> dict[str, str]:
    """Return when its server began, by "shard/peer id", of every whole replica."""
    return {name: one.started for name, one in _whole(survey)}


def judged(record: ExportRecord, after: Survey, *, points: int, points_after: int | None) -> Verdict:
    """Say what came of an export. `record`: what was seen before the first point was read."""
    written = tuple(_written(record, after, points_after))
    unknown = tuple(_unknown(record, after, points_after))
    counts = [count for count in (record.points_before, points_after) if count is not None]
    missing = ""
    if counts and points < min(counts) and not written:
        missing = f"{points} points were read, and the server counts {min(counts)}"
    reasons = [*written, *unknown]
    if counts and points != counts[-1]:
        reasons.append(f"{points} points were read, and the server counts {counts[-1]}")
    versions = [parse_version(text) for text in record.versions.values()]
    if reasons and any(version is not None and version < SURE_SCROLL for version in versions):
        reasons.append("this server, before 1.14, may leave out points while others are written")
    kind = Consistency.FUZZY if reasons else Consistency.QUIESCED
    return Verdict(kind, tuple(reasons), missing)


def _written(record: ExportRecord, after: Survey, points_after: int | None) -> Iterator[str]:
    """Yield what shows that somebody wrote."""
    now = numbers_of(after)
    if any(name in now and now[name] != number for name, number in record.op_numbers.items()):
        yield "points were written while it was taken"
    before = record.points_before
    if before is not None and points_after is not None and before != points_after:
        yield f"the server counted {before} points before and {points_after} after"


def _unknown(record: ExportRecord, after: Survey, points_after: int | None) -> Iterator[str]:
    """Yield why nobody can say that nobody wrote."""
    starts, now = starts_of(after), numbers_of(after)
    if starts.keys() != record.started.keys():
        yield "shards moved, or replicas came or went, while it was taken"
    if any(starts.get(name, began) != began for name, began in record.started.items()):
        yield "a peer was started again while it was taken"
    if after.transfers or after.resharding:
        yield "shards are being moved or split"
    for name in sorted(record.started.keys() & starts.keys()):
        if name not in record.op_numbers or name not in now:
            shard = printable(name.partition("/")[0])
            yield (
                f"a replica of shard {shard} does not say which operation was its last: before Qdrant"
                " 1.17 none does, and later none to which writes still wait"
            )
            break
    if record.points_before is None or points_after is None:
        yield "the points could not be counted"


def _whole(survey: Survey) -> Iterator[tuple[str, Replica]]:
    for layout in survey.shards:
        yield from ((f"{layout.shard}/{one.node}", one) for one in layout.replicas if one.is_whole)
