"""What a verb works on: the store, a set in it, and the peers of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from exporter.backup.intents import owner
from exporter.backup.layout import checked_id
from exporter.backup.shelf import Shelf
from exporter.backup.storage.contract import Store
from exporter.backup.storage.opening import check_store, open_store
from exporter.backup.survey import PeerAt
from exporter.backup.words import SetKind, StoredSet
from exporter.board import Board
from exporter.clock import Clock
from exporter.config.clusters import INDISPENSABLE_SOURCES, SOURCES, ClusterSettings
from exporter.config.flags import STORE
from exporter.config.settings import Settings
from exporter.errors import ConfigError, JobError, Problem, SourceError, StoreMissing
from exporter.jobs.locks import Locks
from exporter.observe.sources import disk
from exporter.one_look import one_look
from exporter.printable import printable
from exporter.reach import peers_of

_WORD = {None: "backup", SetKind.SNAPSHOT: "backup by snapshots", SetKind.EXPORT: "export"}
_OTHER_VERB = {
    SetKind.SNAPSHOT: "there is an export of it, for `backup import`",
    SetKind.EXPORT: "there is one by snapshots, for `backup restore`",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which set a person means: by its id, or as the newest good one of a collection."""

    set_id: str | None
    latest: str | None
    cluster: str | None  # narrows `latest` where several clusters have such a collection
    kind: SetKind | None = None  # narrows `latest` to what the verb can bring back; None: to nothing
    # Where it comes back to: of several clusters that have such a collection this one's are meant.
    home: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The store and what lies in it."""

    store: Store
    shelf: Shelf
    locks: Locks
    single_writer: bool
    clock: Clock

    async def check(self) -> None:
        """See that the store can be written to and locked. Raises StoreError."""
        await check_store(self.store, self.single_writer, self.clock)

    async def found(self, chosen: Chosen) -> StoredSet:
        """Return the set that is meant. Raises StoreMissing, and ConfigError where it could be several."""
        if chosen.set_id is not None:
            return await self.shelf.find(_as_id(chosen.set_id))
        assert chosen.latest is not None, "one of both is given"
        name = chosen.latest
        sets = await self.shelf.sets(chosen.cluster, name)
        counted = [one for one in sets if one.counts]
        good = [one for one in counted if chosen.kind in (None, one.manifest.kind)]
        clusters = sorted({one.manifest.cluster for one in good})
        if chosen.home in clusters:
            good = [one for one in good if one.manifest.cluster == chosen.home]
        elif len(clusters) > 1:
            how = "say which by --cluster" if chosen.home is None else "write the id of the one that is meant"
            text = f"clusters {', '.join(clusters)} have one: {how}"
            raise ConfigError([Problem("--latest", None, "", text)])
        if not good:
            there_is = "`backup list` shows what there is"
            if counted and chosen.kind is not None:
                there_is = _OTHER_VERB[chosen.kind]
            raise StoreMissing(
                f"{self.store.name} has no good {_WORD[chosen.kind]} of {printable(name)}; {there_is}"
            )
        return max(good, key=lambda one: one.manifest.ended_at)


def _as_id(text: str) -> str:
    """Return an id as it is. Raises StoreMissing: there is no backup of what cannot be an id either."""
    try:
        return checked_id(text)
    except JobError as error:
        raise StoreMissing(str(error)) from None


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncIterator[Opened]:
    """Open the store of these settings. Raises ConfigError where there is none, and StoreError."""
    if settings.backup.store is None:
        text = (
            f"no store of backups: give {STORE.option}, or backup: {{store: {{url: …}}}} in the configuration"
        )
        raise ConfigError([Problem(STORE.option, None, "", text)])
    store = open_store(settings.backup.store, clock)
    try:
        locks = Locks(store=store, owner=owner(), clock=clock)
        yield Opened(
            store=store,
            shelf=Shelf(store, clock),
            locks=locks,
            single_writer=settings.backup.store.single_writer,
            clock=clock,
        )
    finally:
        await store.close()


def cluster_of(settings: Settings, name: str | None) -> ClusterSettings:
    """Return the cluster of this name, or the only one. Raises ConfigError naming those there are."""
    found = [cluster for cluster in settings.clusters if name in (None, cluster.name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(cluster.name for cluster in settings.clusters) or "none"
    what = f"there is no cluster {printable(name)}" if name is not None else "several clusters are configured"
    raise ConfigError([Problem("--cluster", None, "", f"{what}; write one of: {known}")])


@asynccontextmanager
async def reached(
    settings: Settings, cluster: ClusterSettings, clock: Clock
) -> AsyncIterator[tuple[PeerAt, ...]]:
    """Find every peer of a cluster, as the daemon would, and yield the ways to them."""
    needless = tuple(source for source in SOURCES if source not in INDISPENSABLE_SOURCES)
    poll = cluster.poll.model_copy(update={"disabled_sources": needless})
    alone = settings.model_copy(update={"clusters": (cluster.model_copy(update={"poll": poll}),)})
    async with (
        one_look(alone, board=Board(clock=clock, expires=False), clock=clock) as watches,
        AsyncExitStack() as stack,
    ):
        peers = peers_of(watches[cluster.name], clock)
        for peer in peers:
            stack.push_async_callback(peer.courier.close)
        yield peers


def free_bytes(cluster: ClusterSettings) -> dict[str, int]:
    """Return the room of the peers whose storage is mounted here, by label."""
    free: dict[str, int] = {}
    for peer in cluster.peers:
        if peer.storage_path is None:
            continue
        try:
            seen = disk.read(peer.storage_path)
        except SourceError:
            continue  # not known here, then
        if seen.free_bytes is not None:
            free[peer.label] = seen.free_bytes
    return free
