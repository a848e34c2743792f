"""Asking one peer about many collections, one call after another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.errors import SourceError, SourceRefused, SourceTimeout, SourceUnreachable, SourceUnsupported
from exporter.model import Fault, FaultKind

T = TypeVar("T")

# After so many calls in a row without an answer the rest is not asked: at 1,000 collections and a
# deadline of seconds each, a frozen peer would hold the sweep for an hour. One more than a lost packet
# and its twin would explain.
GIVE_UP_AFTER = 3

# A refusal is an answer, and the next collection may get a better one; so many in a row at 0.4 s each,
# as while a peer is dead, are enough.
GIVE_UP_AFTER_REFUSALS = 10

NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Swept(Generic[T]):
    """What each collection answered, and the first fault of each kind."""

    answers: dict[str, T]
    faults: tuple[Fault, ...]


async def sweep(collections: Iterable[str], ask_one: Callable[[str], Awaitable[T]]) -> Swept[T]:
    """Ask about each collection in turn. Raises SourceUnsupported at the first that says so.

    A collection that vanished meanwhile (404 with a reason) is no fault: it is just left out.
    """
    answers: dict[str, T] = {}
    faults: dict[FaultKind, Fault] = {}
    silent_in_a_row = refused_in_a_row = 0
    for collection in collections:
        try:
            answers[collection] = await ask_one(collection)
        except (SourceTimeout, SourceUnreachable) as error:
            faults.setdefault(error.kind, error.fault())
            silent_in_a_row += 1
            if silent_in_a_row >= GIVE_UP_AFTER:
                break
        except SourceUnsupported:
            raise
        except SourceError as error:
            silent_in_a_row = 0
            vanished = isinstance(error, SourceRefused) and error.status == NOT_FOUND
            if not vanished:
                faults.setdefault(error.kind, error.fault())
                refused_in_a_row += 1
                if refused_in_a_row >= GIVE_UP_AFTER_REFUSALS:
                    break
        else:
            silent_in_a_row = refused_in_a_row = 0
    return Swept(answers, tuple(faults.values()))
