"""The state directory of a daemon, opened beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.clock import Clock
from exporter.errors import StateError
from exporter.state import DATABASE_NAME, AlertingStore, State, StateLock


@contextmanager
def opened(directory: Path, *, clock: Clock) -> Iterator[AlertingStore]:
    """Open what a daemon keeps there. Raises StateError where none ever kept anything."""
    if not (directory / DATABASE_NAME).exists():  # opening would make one, and own it
        raise StateError(f"no daemon has kept its state in {directory}: give the --state.dir of the daemon")
    state = State.open(directory, clock=clock)
    try:
        yield AlertingStore(state)
    finally:
        state.close()


def is_in_use(directory: Path) -> bool:
    """Whether a daemon runs on it."""
    return StateLock(directory=directory).is_held()
