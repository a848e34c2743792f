"""What the store holds, read and told: readings on the Board, and what a page says of it.

Read at start, after every run, and now and then, for people back up and prune by hand too. A store that
cannot be read changes nothing that was told: the age of the newest backup goes on growing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from exporter.backup.records import Covered, backup_producer, backup_readings, orphan_readings
from exporter.backup.shelf import Shelf
from exporter.backup.telling import BackupNote, backup_notes
from exporter.backup.words import StoredSet
from exporter.board import Board
from exporter.errors import StoreError
from exporter.logs import get_logger
from exporter.model import Reading

log = get_logger()


class Published:
    """The sets of each cluster as last read. Belongs to the event loop."""

    def __init__(self, *, board: Board) -> None:
        self._board = board
        self._sets: dict[str, tuple[StoredSet, ...]] = {}
        self._notes: dict[str, Mapping[str, BackupNote]] = {}
        self._covered: dict[str, tuple[Covered, ...]] = {}
        self._orphans: dict[str, Mapping[str, int]] = {}
        self._failure = ""

    def note(self, cluster: str, collection: str) -> BackupNote | None:
        """Return the newest good backup of a collection in words; None where none is known."""
        return self._notes.get(cluster, {}).get(collection)

    def expected(self, cluster: str) -> frozenset[str]:
        """Return the collections that have a complete set and that a job still covers."""
        stored = {one.manifest.collection for one in self._sets.get(cluster, ()) if one.counts}
        return frozenset(one.collection for one in self._covered.get(cluster, ()) if one.collection in stored)

    def found_orphans(self, cluster: str, bytes_by_peer: Mapping[str, int]) -> None:
        """Take in what lies on the peers and belongs to no backup, for the next time that it is told."""
        self._orphans[cluster] = dict(bytes_by_peer)

    async def read(
        self, shelf: Shelf, clusters: Iterable[str], *, ready: Callable[[], Awaitable[None]]
    ) -> None:
        """Read the sets of these clusters. A store that says no is logged, once while it says the same.

        `ready` raises StoreError where the store cannot be used.
        """
        try:
            await ready()
            found = {cluster: tuple(await shelf.sets(cluster)) for cluster in clusters}
        except StoreError as error:
            if str(error) != self._failure:
                log.error("store.failed", error=str(error))
            self._failure = str(error)
            return
        self._failure = ""
        self._sets |= found
        self._notes |= {cluster: backup_notes(cluster, sets) for cluster, sets in found.items()}

    def tell(self, cluster: str, covered: Sequence[Covered]) -> None:
        """Put the readings of a cluster's backups on the Board."""
        self._covered[cluster] = tuple(covered)
        readings: list[Reading] = [*backup_readings(cluster, self._sets.get(cluster, ()), covered)]
        readings += orphan_readings(cluster, self._orphans.get(cluster, {}))
        self._board.post(backup_producer(cluster), readings)

    def withdraw(self, cluster: str) -> None:
        """Tell nothing more of a cluster."""
        for kept in (self._sets, self._notes, self._covered, self._orphans):
            kept.pop(cluster, None)
        self._board.withdraw(backup_producer(cluster))
