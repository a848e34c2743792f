"""What changed of late in each cluster, so that a message can say what happened before an alert.

Fed with what the Board knows; pure but for its bounded memory. What is seen for the first time is no
change, but a server that started a short while ago is told even then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exporter.board import BoardView
from exporter.model import ProducerKey
from exporter.observe.records import RELOAD_AT

RECENT_SECONDS = 1_800.0  # of what is older nobody thinks when an alert comes
# Of each kind and cluster: a script that makes and drops collections must not push a restart out.
MAX_KEPT = 50
MAX_TOLD = 5  # more is no hint

_COLLECTION = "collection:"  # how the blocks of collections are named


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened. `peer` and `collections` are what it happened to; empty: to all."""

    at: float  # Unix seconds
    text: str  # "10.0.0.3:6333 restarted": what happened, without when
    peer: str = ""
    collections: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Peer:
    process: str
    version: str


@dataclass(slots=True)
class _Known:
    """A cluster as it was last seen. None: not yet."""

    peers: dict[str, _Peer] = field(default_factory=dict)
    members: frozenset[int] | None = None
    members_as_of: tuple[int, int] = (-1, -1)  # term and commit
    aliases: Mapping[str, str] | None = None
    collections: frozenset[str] | None = None
    changes: dict[str, deque[Change]] = field(default_factory=dict)  # by kind

    def note(self, kind: str, change: Change) -> None:
        """Keep a change in place of the oldest of its kind."""
        self.changes.setdefault(kind, deque(maxlen=MAX_KEPT)).append(change)


class RecentChanges:
    """Remembers changes. Belongs to whoever evaluates; nothing of it is stored."""

    def __init__(self) -> None:
        self._clusters: dict[str, _Known] = {}
        self._reloaded_at: float | None = None
        self._reloads: deque[Change] = deque(maxlen=MAX_KEPT)

    def note(self, view: BoardView, now: float) -> None:
        """Compare what the Board knows at a Unix time with what it knew, and keep what differs."""
        names = {key.cluster for key in view.newest if key.cluster}
        for gone in self._clusters.keys() - names:
            del self._clusters[gone]
        for name in names:
            known = self._clusters.setdefault(name, _Known())
            _note_peers(known, name, view, now)
            _note_members(known, name, view, now)
            _note_aliases(known, name, view, now)
            _note_collections(known, name, view, now)
        self._note_reload(view)

    def recent(
        self, cluster: str, labels: Mapping[str, str], now: float, seconds: float = RECENT_SECONDS
    ) -> tuple[str, ...]:
        """Return what changed before an alert with these labels, for people, the nearest first.

        What happened to other collections than the alert's is left out; of other peers it is told,
        behind what happened to the alert's own.
        """
        known = self._clusters.get(cluster)
        happened = [*self._reloads]
        for changes in known.changes.values() if known is not None else ():
            happened += changes
        peer, collection = labels.get("peer", ""), labels.get("collection", "")
        fitting = [
            change
            for change in happened
            if 0 <= now - change.at <= seconds
            and (not collection or not change.collections or collection in change.collections)
        ]
        fitting.sort(key=lambda change: (bool(peer) and change.peer not in ("", peer), now - change.at))
        return tuple(f"{change.text} {_before(now - change.at)}" for change in fitting[:MAX_TOLD])

    def _note_reload(self, view: BoardView) -> None:
        readings = view.standing.get(ProducerKey("", "", "configuration"), ())
        at = next((one.value for one in readings if one.spec is RELOAD_AT), None)
        if at is not None and self._reloaded_at not in (None, at):
            self._reloads.append(Change(at, "the configuration was read again"))
            for known in self._clusters.values():
                known.collections = None  # what is not selected any more was not dropped
        self._reloaded_at = at if at is not None else self._reloaded_at


def _before(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s before"
    return f"{seconds / 60:.0f} min before"


def _note_peers(known: _Known, cluster: str, view: BoardView, now: float) -> None:
    watched = {key.peer for key in view.newest if key.cluster == cluster and key.peer}
    for label in known.peers.keys() - watched:
        del known.peers[label]
    for label, observation in view.of_cluster(cluster, "telemetry").items():
        seen = observation.seen
        found = _Peer(seen.process_id, seen.version_text)
        before = known.peers.get(label)
        known.peers[label] = found
        started_at = now if seen.started_at_seconds is None else min(seen.started_at_seconds, now)
        if before is None:
            if seen.started_at_seconds is not None and now - started_at <= RECENT_SECONDS:
                known.note("peer", Change(started_at, f"{label} started", peer=label))
        elif before.version != found.version:
            text = f"{label} restarted as {found.version} (was {before.version})"
            known.note("peer", Change(started_at, text, peer=label))
        elif before.process != found.process:
            known.note("peer", Change(started_at, f"{label} restarted", peer=label))


def _note_members(known: _Known, cluster: str, view: BoardView, now: float) -> None:
    """Who is a member says the peer whose consensus is furthest; one that lags knows old ones."""
    told = [one.seen for one in view.of_cluster(cluster, "cluster").values() if one.seen.enabled]
    if not told:
        return
    newest = max(told, key=lambda seen: (seen.term, seen.commit))
    as_of = (newest.term, newest.commit)
    if as_of < known.members_as_of:
        return
    members = frozenset(newest.peers)
    if known.members is not None:
        for peer_id in sorted(members - known.members):
            known.note("member", Change(now, f"peer {peer_id} ({newest.peers[peer_id]}) joined the cluster"))
        for peer_id in sorted(known.members - members):
            known.note("member", Change(now, f"peer {peer_id} left the cluster"))
    known.members, known.members_as_of = members, as_of


def _note_aliases(known: _Known, cluster: str, view: BoardView, now: float) -> None:
    told = list(view.of_cluster(cluster, "aliases").values())
    if not told:
        return
    aliases = max(told, key=lambda observation: observation.monotonic_seconds).seen.collections
    before, known.aliases = known.aliases, aliases
    if before is None or before is aliases:
        return
    for change in _alias_changes(before, aliases, now):
        known.note("alias", change)


def _alias_changes(before: Mapping[str, str], after: Mapping[str, str], now: float) -> Iterator[Change]:
    for alias in sorted(before.keys() | after.keys()):
        old, new = before.get(alias), after.get(alias)
        if old == new:
            continue
        behind = tuple(name for name in (old, new) if name is not None)
        if old is None:
            yield Change(now, f"alias {alias} was made for {new}", collections=(alias, *behind))
        elif new is None:
            yield Change(now, f"alias {alias} of {old} was removed", collections=(alias, *behind))
        else:
            yield Change(now, f"alias {alias} moved from {old} to {new}", collections=(alias, *behind))


def _note_collections(known: _Known, cluster: str, view: BoardView, now: float) -> None:
    if ProducerKey(cluster, "", "collections") not in view.derived:
        return  # nobody tells which there are: none of them is gone for that
    names = frozenset(
        key.source.removeprefix(_COLLECTION)
        for key in view.derived
        if key.cluster == cluster and key.source.startswith(_COLLECTION)
    )
    before, known.collections = known.collections, names
    if before is None or before == names:
        return
    for name in sorted(names - before):
        known.note("collection", Change(now, f"collection {name} was made", collections=(name,)))
    for name in sorted(before - names):
        known.note("collection", Change(now, f"collection {name} was dropped", collections=(name,)))
