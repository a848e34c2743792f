"""What one peer gives of a backup: its snapshot as an archive in the store, and nothing left behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from exporter.backup import layout, snapshotting
from exporter.backup.calling import Limits
from exporter.backup.downloading import Source, fetch
from exporter.backup.intents import IntentBook
from exporter.backup.judging import Taken
from exporter.backup.layout import Place
from exporter.backup.passing import Passing
from exporter.backup.progress import Progress, step
from exporter.backup.storage.contract import Store
from exporter.backup.survey import PeerAt, PeerView
from exporter.backup.words import Archive, PeerIntent
from exporter.clock import Clock
from exporter.errors import SourceError, StoreFull, StoreMissing
from exporter.logs import get_logger
from exporter.printable import printable
from exporter.qdrant.kept import SnapshotDescription

log = get_logger()


@dataclass(frozen=True, slots=True)
class Stored:
    """An archive in the store, and what was learnt of it."""

    archive: Archive
    passing: Passing = field(repr=False)

    @property
    def taken(self) -> Taken:
        """It, as it is judged."""
        uuid = self.passing.config.get("uuid")
        return Taken(self.archive, uuid if isinstance(uuid, str) else None, self.passing.not_active)


class Archiver:
    """Makes the archives of one set."""

    def __init__(
        self,
        *,
        collection: str,
        place: Place,
        store: Store,
        book: IntentBook,
        clock: Clock,
        limits: Limits,
        progress: Progress,
    ) -> None:
        self._collection = collection
        self._place = place
        self._store = store
        self._book = book
        self._clock = clock
        self._limits = limits
        self._progress = progress

    async def archived(self, peer: PeerAt, view: PeerView) -> Stored:
        """Store the archive of a peer. Raises SourceError, JobError, StoreError."""
        asked_at, snapshot = await self._ours(peer, view)
        await self._book.got(peer.label, snapshot.name)
        log.info(
            "snapshot.created",
            peer=printable(peer.label),
            snapshot=printable(snapshot.name),
            size_bytes=snapshot.size,
            took_seconds=round(self._clock.now() - asked_at, 3),
        )
        await self.check_room(snapshot.size)
        file = layout.archive_file(peer.label)
        passing = await self._fetched(peer, snapshot, file)
        archive = Archive(
            file=file,
            peer=peer.label,
            peer_id=view.peer_id,
            version=view.version,
            snapshot=snapshot.name,
            size_bytes=passing.size_bytes,
            sha256=passing.sha256,
            checksum_from_server=snapshot.checksum is not None,
            began_at=asked_at,
            ended_at=self._clock.now(),
            shards=passing.shards,
        )
        return Stored(archive, passing)

    async def delete(self, peer: PeerAt) -> None:
        """Delete the server's copy. One that stays is no harm to the set: the intent stays open for it."""
        name = self._book.named.get(peer.label)
        if name is None:
            return
        try:
            await snapshotting.delete(peer, self._collection, name, self._limits)
        except SourceError as error:
            log.warning("snapshot.left", peer=printable(peer.label), reason=str(error))
        else:
            await self._book.is_gone(peer.label)

    async def check_room(self, size_bytes: int) -> None:
        """Raise StoreFull where so many bytes have no room."""
        try:
            free = await self._store.free_bytes()
        except StoreMissing:  # the first writing makes it
            return
        if free is not None and free < size_bytes:
            raise StoreFull(
                f"{self._store.name} has {free} bytes left, and a backup of {printable(self._collection)}"
                f" needs {size_bytes}"
            )

    async def _ours(self, peer: PeerAt, view: PeerView) -> tuple[float, SnapshotDescription]:
        """Have a snapshot made whose name is ours alone, and return when it was asked for.

        One that may be somebody else's too is left where it is, and another is asked for in another second.
        """
        limits, collection = self._limits, self._collection
        for number in range(1, limits.tries + 1):
            begun = await snapshotting.begun(peer, collection, limits)
            there = [one.name for one in await snapshotting.listed(peer, collection, limits)]
            asked_at = self._clock.now()
            await self._book.asks(PeerIntent(peer.label, view.peer_id, tuple(there), asked_at))
            making = asyncio.ensure_future(self._made(peer, there, blind=begun is None))
            try:
                others = await snapshotting.others_begun(peer, collection, making, begun, limits)
                snapshot = await making
                await snapshotting.check_name(peer, collection, snapshot.name, there, others, limits)
            except snapshotting.NameShared as error:
                await self._book.is_gone(peer.label)
                log.warning("snapshot.unclaimed", peer=printable(peer.label), reason=str(error))
                if number == limits.tries:
                    raise
                await asyncio.sleep(limits.look_seconds)
            else:
                return asked_at, snapshot
            finally:
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)
        raise AssertionError

    async def _made(self, peer: PeerAt, there: list[str], *, blind: bool) -> SnapshotDescription:
        with step(self._progress, f"snapshot on {peer.label}"):
            # what a person takes after a failure must not be taken for ours by the next run
            try:
                return await snapshotting.make(
                    peer, self._collection, there, limits=self._limits, clock=self._clock, blind=blind
                )
            except snapshotting.NotTakenError as error:
                await self._book.is_gone(peer.label)
                raise error.failure from None
            except snapshotting.SnapshotLost as error:
                await self._book.is_gone(peer.label)
                log.warning("snapshot.unclaimed", peer=printable(peer.label), reason=str(error))
                raise

    async def _fetched(self, peer: PeerAt, snapshot: SnapshotDescription, file: str) -> Passing:
        with step(self._progress, f"download from {peer.label}", snapshot.size):
            return await fetch(
                Source(peer, self._collection, snapshot),
                self._store,
                self._place.file(file),
                limits=self._limits,
                progress=self._progress,
            )
