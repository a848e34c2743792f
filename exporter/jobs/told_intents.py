"""Which thresholds are changed for a while, as far as it is known here, told at once.

What this process opens and closes is known from its shelf, which says so; what people and other daemons
do, from a look at the store now and then.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.backup.shelf import Shelf
from exporter.backup.storage.contract import Store
from exporter.backup.words import ThresholdIntent
from exporter.board import Board
from exporter.clock import Clock
from exporter.jobs.intent_records import intent_producer, intent_readings


class ToldIntents:
    """The open intents of thresholds, by cluster. Belongs to the event loop."""

    def __init__(self, *, board: Board) -> None:
        self._board = board
        # By cluster, and then by id; of a cluster that is not there nothing is known.
        self._open: dict[str, dict[str, ThresholdIntent]] = {}
        self._changes = 0  # that this process made in the store
        self._lives = 0  # another began: another store, or a cluster went

    def open(self, cluster: str) -> tuple[ThresholdIntent, ...]:
        """Return those of a cluster that are known to be open, oldest first."""
        return tuple(sorted(self._open.get(cluster, {}).values(), key=lambda intent: intent.id))

    async def read(self, shelf: Shelf, clusters: Iterable[str]) -> None:
        """Look at the store, and tell what is open of these clusters. Raises StoreError: nothing changes."""
        life, changes = self._lives, -1
        while changes != self._changes:  # what was opened or closed here meanwhile is newer than the look
            changes = self._changes
            found = await shelf.thresholds()
            if life != self._lives:
                return
        for cluster in clusters:
            self._open[cluster] = {one.id: one for one in found if one.cluster == cluster}
            self.tell(cluster)

    def opened(self, intent: ThresholdIntent) -> None:
        """Take in that one was written down."""
        self._changes += 1
        if intent.cluster in self._open:
            self._open[intent.cluster][intent.id] = intent
            self.tell(intent.cluster)

    def closed(self, intent_id: str) -> None:
        """Take in that one is over."""
        self._changes += 1
        for cluster, intents in self._open.items():
            if intents.pop(intent_id, None) is not None:
                self.tell(cluster)

    def tell(self, cluster: str) -> None:
        """Put on the Board what is open; nothing while that is not known, for an alert must not end by it."""
        if cluster in self._open:
            self._board.post(intent_producer(cluster), tuple(intent_readings(cluster, self.open(cluster))))

    def withdraw(self, cluster: str) -> None:
        """Tell nothing more of a cluster."""
        self._lives += 1
        self._open.pop(cluster, None)
        self._board.withdraw(intent_producer(cluster))

    def forget(self) -> None:
        """Forget all: another store is in force."""
        self._lives += 1
        for cluster in tuple(self._open):
            self.withdraw(cluster)


class TellingShelf(Shelf):
    """A shelf that says which thresholds it is told of."""

    def __init__(self, store: Store, clock: Clock, intents: ToldIntents) -> None:
        super().__init__(store, clock)
        self._intents = intents

    async def save_thresholds(self, intent: ThresholdIntent) -> None:
        """Write an intent down, and say so."""
        await super().save_thresholds(intent)
        self._intents.opened(intent)

    async def close_thresholds(self, intent_id: str) -> None:
        """Forget an intent, and say so."""
        await super().close_thresholds(intent_id)
        self._intents.closed(intent_id)
