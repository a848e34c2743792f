"""What the store holds, read and told: readings on the Board, and what a page says of it.

Read at start, after every run, and now and then, for people back up and prune by hand too. A store that
cannot be read changes nothing that was told: the age of the newest backup goes on growing. Before it was
ever read, the ledger of runs stands in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from exporter.backup.records import (
    Covered,
    Stock,
    backup_producer,
    backup_readings,
    orphan_readings,
    stocks,
)
from exporter.backup.shelf import Shelf
from exporter.backup.telling import BackupNote, backup_notes
from exporter.backup.words import StoredSet
from exporter.board import Board
from exporter.clock import Clock
from exporter.errors import StoreError
from exporter.jobs.told_intents import ToldIntents
from exporter.logs import get_logger
from exporter.model import Reading

log = get_logger()


class _Read(NamedTuple):
    """A cluster's sets, as far as they are told."""

    at: float  # Unix seconds: when the look at them began
    stocks: Mapping[str, Stock]
    notes: Mapping[str, BackupNote]


class Published:
    """What is told of each cluster's sets, as last read. Belongs to the event loop."""

    def __init__(self, *, board: Board, clock: Clock, flags: Sequence[str] = ()) -> None:
        """`flags` complete a command that people type: by them it finds cluster and store."""
        self.intents = ToldIntents(board=board)  # beside the sets: thresholds that are changed for a while
        self._flags = tuple(flags)
        self._board = board
        self._clock = clock
        self._read: dict[str, _Read] = {}
        self._expected: dict[str, Mapping[str, frozenset[str]]] = {}
        self._orphans: dict[str, Mapping[str, int]] = {}
        self._stores = 0  # that were forgotten
        self._failure = ""

    @property
    def is_failing(self) -> bool:
        """The store said no when it was last read."""
        return bool(self._failure)

    def note(self, cluster: str, collection: str) -> BackupNote | None:
        """Return the newest good backup of a collection in words; None where none is known."""
        read = self._read.get(cluster)
        return None if read is None else read.notes.get(collection)

    def expected(self, cluster: str) -> Mapping[str, frozenset[str]]:
        """Return the collections that have a good set and that a job still covers. From any thread.

        With the aliases that stood for each then; of one that a job names in full none, for it is meant
        whatever stands for it now.
        """
        return self._expected.get(cluster, {})

    def found_orphans(self, cluster: str, bytes_by_peer: Mapping[str, int]) -> None:
        """Take in what lies on the peers and belongs to no backup, for the next time that it is told."""
        self._orphans[cluster] = dict(bytes_by_peer)

    async def read(
        self, shelf: Shelf, clusters: Iterable[str], *, ready: Callable[[], Awaitable[None]]
    ) -> None:
        """Read the sets of these clusters. A store that says no is logged, once while it says the same.

        `ready` raises StoreError where the store cannot be used.
        """
        store, now = self._stores, self._clock.now()
        try:
            await ready()
            sets = {cluster: await shelf.sets(cluster) for cluster in clusters}
        except StoreError as error:
            if store == self._stores:
                self._failed(str(error))
            return
        found = {name: await asyncio.to_thread(self._told_of, name, one, now) for name, one in sets.items()}
        if store == self._stores:  # else it is of a store that is none of ours any more
            self._failure = ""
            self._read |= found

    def tell(self, cluster: str, covered: Sequence[Covered]) -> None:
        """Put the readings of a cluster's backups on the Board."""
        read = self._read.get(cluster)
        stored = None if read is None else read.stocks
        self._expected[cluster] = dict(_expected(covered, stored))
        if read is not None:  # what was backed up since is not missing, it was not looked for yet
            covered = [replace(one, due=False) if (one.done_at or 0) >= read.at else one for one in covered]
        readings: list[Reading] = [*backup_readings(cluster, stored, covered)]
        readings += orphan_readings(cluster, self._orphans.get(cluster, {}))
        self._board.post(backup_producer(cluster), readings)
        self.intents.tell(cluster)

    def forget(self) -> None:
        """Forget what was read: another store is in force."""
        self._stores += 1
        self._read.clear()
        self._failure = ""
        self.intents.forget()

    def withdraw(self, cluster: str) -> None:
        """Tell nothing more of a cluster."""
        for kept in (self._read, self._expected, self._orphans):
            kept.pop(cluster, None)
        self._board.withdraw(backup_producer(cluster))
        self.intents.withdraw(cluster)

    def _told_of(self, cluster: str, sets: Sequence[StoredSet], now: float) -> _Read:
        return _Read(now, stocks(cluster, sets, now), backup_notes(cluster, sets, self._flags))

    def _failed(self, error: str) -> None:
        if error != self._failure:
            log.error("store.failed", error=error)
        self._failure = error


def _expected(
    covered: Iterable[Covered], stored: Mapping[str, Stock] | None
) -> Iterator[tuple[str, frozenset[str]]]:
    for one in covered:
        if stored is None:
            if one.done_at is not None:
                yield one.collection, frozenset()
        elif (stock := stored.get(one.collection)) is not None and stock.is_good:
            yield one.collection, frozenset() if one.is_named else stock.aliases
