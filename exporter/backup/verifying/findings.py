"""What was found of a set, held against its manifest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.backup import content
from exporter.backup.archive.engine import OpenedShard
from exporter.backup.words import Archive, ArchivedShard, Level, Manifest, SetState, ShardCopy, StoredSet
from exporter.printable import printable


@dataclass(frozen=True, slots=True)
class Findings:
    """What the levels 3 and 4 found."""

    by: str  # "engine", "server HOST:PORT"
    problems: tuple[str, ...]
    points: Mapping[str, int] = field(default_factory=dict)  # by shard id, or by shard key, as text
    content: str | None = None  # over all shards; level 4, and 3 of an export


@dataclass(frozen=True, slots=True)
class Copy:
    """A shard in an archive, the replica that counts or another."""

    archive: Archive
    held: ArchivedShard
    shard: ShardCopy

    @property
    def counts(self) -> bool:
        """It is the one that a restore takes."""
        return self.shard.archive == self.archive.file

    @property
    def words(self) -> str:
        """It, for people."""
        return f"shard {self.held.shard} in {self.archive.file}"


def layout_problems(manifest: Manifest) -> Iterator[str]:
    """Say what a manifest itself lacks for a restore."""
    if manifest.state is SetState.INCOMPLETE:
        yield "the set is incomplete: " + ("; ".join(manifest.problems) or "nobody said why")
    held = {(archive.file, part.shard) for archive in manifest.archives for part in archive.shards}
    for shard in manifest.shards:
        if shard.archive is None:
            yield f"shard {shard.shard} lies in no archive"
        elif (shard.archive, shard.shard) not in held:
            yield f"shard {shard.shard} is said to lie in {printable(shard.archive)}, and does not"
    for archive in manifest.archives:
        if any(part.offset + part.length > archive.size_bytes for part in archive.shards):
            yield f"{printable(archive.file)} is said to hold shards behind its own end"


def copies_of(manifest: Manifest, not_active: Mapping[str, Iterable[int]]) -> list[Copy]:
    """Return the shards to open: the copies that count, and of other archives those that may be compared.

    `not_active`: by archive, the shards whose replica was not Active there: it may lag behind, rightly.
    """
    shards = {shard.shard: shard for shard in manifest.shards}
    copies = [
        Copy(archive, held, shards[held.shard])
        for archive in manifest.archives
        for held in archive.shards
        if held.shard in shards
    ]
    return [
        copy
        for copy in copies
        if copy.counts
        or (copy.shard.settled and copy.held.shard not in not_active.get(copy.archive.file, ()))
    ]


def points_problem(shard: ShardCopy, points: int) -> str | None:
    """Hold the points found in the replica that counts against the manifest."""
    if shard.points is not None and (shard.settled or shard.counted):
        wanted = range(shard.points, shard.points + 1)
        said = f"{shard.points:,}"
    elif shard.points_before is not None and shard.points_after is not None:
        low, high = sorted((shard.points_before, shard.points_after))
        wanted, said = range(low, high + 1), f"{low:,} to {high:,}"
    else:
        return None
    return None if points in wanted else f"holds {points:,} points, and the manifest says {said}"


def index_problems(wanted: Mapping[str, Mapping[str, object]], found: Mapping[str, str]) -> Iterator[str]:
    """Say which payload indexes a shard lacks, or has of another type; more of them are no problem."""
    for name, said in sorted(wanted.items()):
        kind = said.get("data_type")
        if name not in found:
            yield f"lacks the payload index of {printable(name)}"
        elif kind is not None and kind != found[name]:
            yield f"has {printable(name)} indexed as {found[name]}, not as {printable(str(kind))}"


def judged(manifest: Manifest, opened: Sequence[tuple[Copy, OpenedShard]], level: Level) -> tuple[str, ...]:
    """Say what is wrong with opened shards, each by itself and the replicas of one beside each other."""
    problems = [
        f"{copy.words} {problem}"
        for copy, shard in opened
        for problem in _of_one(manifest, copy, shard, level)
    ]
    counting = {copy.held.shard: shard for copy, shard in opened if copy.counts}
    for copy, shard in opened:
        if not copy.counts and copy.held.shard in counting:
            problem = _of_two(counting[copy.held.shard], shard)
            if problem is not None:
                problems.append(f"{copy.words} {problem}")
    return tuple(problems)


def whole_content(manifest: Manifest, opened: Sequence[tuple[Copy, OpenedShard]]) -> str | None:
    """Return the content of the replicas that count; None where one was not read."""
    found = {copy.held.shard: shard.content for copy, shard in opened if copy.counts}
    contents = [found.get(shard.shard) for shard in manifest.shards]
    known = [one for one in contents if one is not None]
    return content.total(known) if len(known) == len(contents) else None


def content_problem(stored: StoredSet, found: str | None) -> str | None:
    """Hold a content against that of an earlier good proof of the same set.

    Vectors only where nobody wrote while it was taken: else the last writes are applied by whoever opens
    it, and two processors may differ in the last bit.
    """
    earlier = next((one.content for one in stored.proofs if one.good and one.content is not None), None)
    if found is None or earlier is None:
        return None
    what = content.difference(earlier, found, vectors=stored.manifest.settled)
    return None if what is None else f"{what} are not those that an earlier proof of this set found"


def _of_one(manifest: Manifest, copy: Copy, shard: OpenedShard, level: Level) -> Iterator[str]:
    if not copy.counts:
        return
    problem = points_problem(copy.shard, shard.points)
    if problem is not None:
        yield problem
    if level < Level.RESTORED:
        return
    yield from index_problems(manifest.payload_schema, shard.payload_schema)
    if shard.searched.problem is not None:
        yield f"answers wrong: {shard.searched.problem}"


def _of_two(counting: OpenedShard, other: OpenedShard) -> str | None:
    """Compare the replica that counts with another of a shard that nobody wrote to.

    Vectors may differ in the last bit: each replica normalizes what it is sent, on its own processor.
    """
    if counting.points != other.points:
        return f"holds {other.points:,} points, and the replica that counts {counting.points:,}"
    if counting.content is None or other.content is None:
        return None
    what = content.difference(counting.content, other.content, vectors=False)
    return None if what is None else f"differs in {what} from the replica that counts"
