"""Shard keys made anew so that their shards get the ids they had. Pure.

A server gives the shards of a new key the ids after the highest there is; the first is 1 (seen on 1.18.3). So
keys are made in the order of their shards, and where keys were deleted since, a filler takes their ids. Once
a higher id is taken a filler may go; each of its shards costs two log files, so there are never many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.backup.words import KeyLayout
from exporter.errors import JobError

FIRST_ID = 1
FILLER = "__qdrantx_gap_"
# 65 MB of log files a shard: at most twice so many shards are there at once, 2 GB on all peers together.
FILLER_SHARDS = 16

Key = str | int


@dataclass(frozen=True, slots=True)
class MakeKey:
    """Create a key of so many shards. `filler`: to take ids, with one replica."""

    key: Key
    shards: tuple[int, ...]
    filler: bool = False


@dataclass(frozen=True, slots=True)
class DropKey:
    """Delete a filler."""

    key: Key


def obstacles(keys: Sequence[KeyLayout]) -> tuple[str, ...]:
    """Say why shards of these keys can get their ids again by no order of making them; () when they can."""
    problems = []
    taken = FIRST_ID - 1
    for layout in sorted(keys, key=lambda layout: layout.shards):
        shards = tuple(sorted(layout.shards))
        if not shards:
            problems.append(f"the shard key {layout.key!r} has no shards")
            continue
        if shards != tuple(range(shards[0], shards[0] + len(shards))) or shards[0] <= taken:
            ids = ", ".join(str(shard) for shard in shards)
            problems.append(
                f"the shards of key {layout.key!r} have the ids {ids}, which the server gives to no new key"
                " (was it resharded?)"
            )
        taken = max(taken, shards[-1])
    if any(_is_filler(layout.key) for layout in keys):
        problems.append(f"a shard key is called {FILLER}..., as our fillers are")
    return tuple(problems)


def next_step(wanted: Sequence[KeyLayout], there: Mapping[Key, Sequence[int]]) -> MakeKey | DropKey | None:
    """Return what to do next towards the keys wanted, given those that are there; None: all is done.

    Asked again after each step, so it goes on where another run stopped. Raises JobError where what is
    there can never become what is wanted.
    """
    fillers = sorted((min(shards), key) for key, shards in there.items() if _is_filler(key))
    highest = max((max(shards) for shards in there.values()), default=FIRST_ID - 1)
    for layout in sorted(wanted, key=lambda layout: layout.shards):
        shards = tuple(sorted(layout.shards))
        if layout.key in there:
            if tuple(sorted(there[layout.key])) != shards:
                raise JobError(
                    f"the shards of key {layout.key!r} have other ids than in the backup; delete the target"
                )
            continue
        gap = shards[0] - highest - 1
        if gap < 0:
            raise JobError(
                f"the key {layout.key!r} is missing in the target, and later ones are not; delete the target"
            )
        if gap == 0:
            return MakeKey(layout.key, shards)
        if len(fillers) > 1:  # the last holds the highest id, the ones before it nothing
            return DropKey(fillers[0][1])
        return _filler(highest + 1, min(gap, FILLER_SHARDS))
    return DropKey(fillers[0][1]) if fillers else None


def unfinished(wanted: Sequence[KeyLayout], there: Mapping[Key, Sequence[int]]) -> tuple[Key, ...]:
    """Return the keys of which only the first shards are there: the server is making the others.

    It shows the shards of a new key one by one, and goes on with them when nobody waits for it any more
    (seen on 1.18.3). What comes next can only be told when they are all there.
    """
    due = {layout.key: len(layout.shards) for layout in wanted}
    due |= {key: int(str(key).rpartition("_")[2]) for key in there if _is_filler(key)}
    return tuple(key for key, shards in there.items() if len(shards) < due.get(key, 0))


def steps(wanted: Sequence[KeyLayout], there: Mapping[Key, Sequence[int]]) -> Iterator[MakeKey | DropKey]:
    """Yield all steps as they will be, each once the one before it is done."""
    keys = {key: tuple(shards) for key, shards in there.items()}
    while (step := next_step(wanted, keys)) is not None:
        yield step
        if isinstance(step, MakeKey):
            keys[step.key] = step.shards
        else:
            del keys[step.key]


def _filler(first: int, shards: int) -> MakeKey:
    """Return the filler for so many ids. Its name is its place: made twice, it is refused the second time."""
    return MakeKey(f"{FILLER}{first}_{shards}", tuple(range(first, first + shards)), filler=True)


def _is_filler(key: Key) -> bool:
    return isinstance(key, str) and re.fullmatch(FILLER + "[0-9]+_[0-9]+", key) is not None
