"""Open intents of one collection, and what becomes of each of its fields. Pure but for the reading of them.

A run that was killed between two writes may leave two intents for one collection. They are looked at
together: whatever any of them set is ours, and what the newest says is put back, for it knew the others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from exporter.backup.shelf import Shelf
from exporter.backup.words import ThresholdIntent


class FieldState(StrEnum):
    """Whose a field's value is."""

    PUT = "put"  # ours: to be put back
    BACK = "back"  # as it was
    FOREIGN = "foreign"  # a person set another since: it is left
    MIXED = "mixed"  # the peers say different things, as while one lags behind


@dataclass(frozen=True, slots=True)
class Due:
    """A field that is to be put back."""

    puts: frozenset[float]  # what we set, in any of the intents
    was: float | None  # before the first of them; None: it was unset
    back: float

    def is_back(self, value: float | None) -> bool:
        """Whether a value needs no putting back."""
        return self.was is None if value is None else same(value, self.back)

    def is_put(self, value: float | None) -> bool:
        """Whether a value is one that we set."""
        return value is not None and any(same(value, put) for put in self.puts)

    def state(self, values: Collection[float | None]) -> FieldState:
        """Judge what the peers say."""
        if all(self.is_back(value) for value in values):
            return FieldState.BACK
        if all(self.is_put(value) for value in values):
            return FieldState.PUT
        return FieldState.FOREIGN if len(values) == 1 else FieldState.MIXED


async def open_intents(shelf: Shelf, *, cluster: str, collection: str) -> list[ThresholdIntent]:
    """Return the open intents of a collection, oldest first. Raises StoreError."""
    wanted = (cluster, collection)
    return [intent for intent in await shelf.thresholds() if (intent.cluster, intent.collection) == wanted]


def of_another(intents: Iterable[ThresholdIntent], uuid: str | None) -> list[ThresholdIntent]:
    """Return those whose collection was deleted: the one that has its name now has another uuid."""
    return [intent for intent in intents if None not in (uuid, intent.uuid) and intent.uuid != uuid]


def due(intents: Sequence[ThresholdIntent]) -> dict[str, Due]:
    """Return what is to be put back, by field. `intents` of one collection, oldest first."""
    found: dict[str, Due] = {}
    for intent in intents:
        for change in intent.changes:
            before = found.get(change.field)
            puts = frozenset({change.put}) | (before.puts if before is not None else frozenset())
            found[change.field] = Due(puts, change.was, change.back)
    return found


def as_owned(config: Mapping[str, Any], intents: Sequence[ThresholdIntent]) -> dict[str, Any]:
    """Return a collection's settings as its owner wants them: what is changed for a while is as it was.

    `config` is `result.config` of GET /collections/{collection}; `intents` of this collection, oldest first.
    A backup is of these: a restore must not keep what a vacuum lowered.
    """
    held = dict(config.get("optimizer_config") or {})
    for field, one in due(intents).items():
        if one.is_put(held.get(field)):
            held[field] = None if one.was is None else _number(one.was)
    return {**config, "optimizer_config": held} if "optimizer_config" in config else dict(config)


def _number(value: float) -> int | float:
    """Return a whole number as one: the server refuses 1000.0 where it wants a count."""
    return int(value) if float(value).is_integer() else value


def same(one: float, other: float) -> bool:
    """Whether two values of a field are the same; a number may come back from text in its last digit."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=0.0)


def as_patch(values: Mapping[str, float]) -> dict[str, dict[str, int | float]]:
    """Return the body of a PATCH."""
    return {"optimizers_config": {field: _number(value) for field, value in values.items()}}
