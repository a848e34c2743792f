"""One cluster's derivations, kept cheap: what did not change is not derived again.

Holds the few histories that derivations need. Used from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from exporter.board import BoardView
from exporter.model import CLUSTER_LABEL, FaultKind, Kind, MetricSpec, Observation, ProducerKey, Reading
from exporter.observe.derived import collections, consensus
from exporter.observe.derived.consensus import ConsensusView, Joined
from exporter.observe.derived.forecast import Forecaster
from exporter.observe.derived.kept import KeptCollections, Looks
from exporter.observe.derived.optimizer import RunCounts
from exporter.observe.derived.traffic import ErrorWindow
from exporter.observe.derived.view import Membership, PeerView, authority
from exporter.observe.sources.telemetry import CollectionSeen
from exporter.qdrant.canary import CANARY_COLLECTION

LEVEL_3 = "GET /telemetry?details_level=3"


def _cluster_gauge(name: str, what: str, unit: str, source: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"qdrantx_{name}", Kind.GAUGE, what, unit, source, (CLUSTER_LABEL, *labels))


COLLECTIONS = _cluster_gauge("collections", "Collections of the cluster", "collections", LEVEL_3)
DROPPED = _cluster_gauge(
    "collections_dropped", "Collections over the cap or excluded, not told of", "collections", LEVEL_3
)
FIELDS_DROPPED = _cluster_gauge(
    "payload_index_fields_dropped",
    f"Payload indexes beyond the first {collections.MAX_INDEXED_FIELDS} of a collection, not told of",
    "fields",
    "GET /telemetry?details_level=4",
)
EXPECTED = _cluster_gauge(
    "collection_expected_present",
    "Whether an expected collection, or an alias of that name, exists",
    "1 or 0",
    LEVEL_3,
    "collection",
)
ALIAS = _cluster_gauge(
    "alias_info", "An alias and the collection behind it", "1", "GET /aliases", "alias", "collection"
)
ISSUES = _cluster_gauge(
    "issues",
    "Issues that the servers complain of, each counted once a cluster",
    "issues",
    "GET /issues",
    "code",
)
SPECS = (COLLECTIONS, DROPPED, FIELDS_DROPPED, EXPECTED, ALIAS, ISSUES)


@dataclass(frozen=True, slots=True)
class Derived:
    """What was derived of one cluster: readings in blocks, and what the sources need to know."""

    blocks: Mapping[str, tuple[Reading, ...]] = field(default_factory=dict)
    selected: tuple[str, ...] = ()  # collections in force, by name
    busy: tuple[str, ...] = ()  # of those, the ones not green everywhere
    collections_known: int | None = None
    listed: frozenset[str] | None = None  # every collection the cluster has, told of or not; None: not known


# Names of collections, each with the aliases that stood for it when it was last known to be right.
Expected = Mapping[str, Set[str]]


def none_besides() -> Expected:
    """Expect nothing that is not configured."""
    return {}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which collections are told of, and which must exist."""

    selects: Callable[[str], bool]
    cap: int
    expected: tuple[str, ...] = ()
    aliases_watched: bool = True
    # What is expected besides, for backups cover it. Called from another thread, and answers at once.
    also_expected: Callable[[], Expected] = none_besides


class ClusterDeriver:
    """Derives one cluster, each time from the whole Board."""

    def __init__(self, *, cluster: str, selection: Selection) -> None:
        self._cluster = cluster
        self._selection = selection
        self._kept = KeptCollections(cluster=cluster)
        self._forecaster = Forecaster(cluster=cluster)
        self._selected_from: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._windows: dict[str, ErrorWindow] = {}
        self._runs: dict[str, RunCounts] = {}
        self._run_blocks: dict[str, tuple[tuple[str, ...], tuple[Reading, ...]]] = {}
        self._looked_at: dict[tuple[str, str], Any] = {}

    def derive(self, board: BoardView, watched: Mapping[str, int | None]) -> Derived:
        """Derive the cluster. `watched`: the label of every target and its peer id where known."""
        seen = self._seen(board, watched)
        self._look(board, watched)
        newest = authority(seen.peers)
        selected: tuple[str, ...] = ()
        told: Mapping[str, CollectionSeen] = {}
        listed: frozenset[str] | None = None
        if newest is not None:
            told = without_canary(collections_told(newest, seen.peers))
            selected = self._select(told)
            self._kept.refresh(selected, told, seen, self._looks(board))
        else:
            self._kept.clear()
        blocks = {f"collection:{name}": block for name, block in self._kept.blocks().items()}
        blocks["cluster"] = tuple(consensus.readings(self._cluster, seen, len(watched)))
        blocks["traffic"] = tuple(self._error_ratios(seen))
        blocks["forecast"] = self._forecaster.block(board)
        blocks["issues"] = tuple(issue_readings(board, self._cluster))
        if newest is not None:
            listed = frozenset(told.keys() | set(newest.telemetry.unreadable)) - {CANARY_COLLECTION}
            blocks["collections"] = tuple(self._of_collections(board, seen, listed))
        for peer in seen.peers:
            blocks[f"runs:{peer.label}"] = self._runs_block(peer, selected)
        return Derived(
            blocks=blocks,
            selected=selected,
            busy=self._kept.busy,
            collections_known=None if newest is None else len(told),
            listed=listed,
        )

    def _seen(self, board: BoardView, watched: Mapping[str, int | None]) -> Joined:
        telemetry = board.of_cluster(self._cluster, "telemetry")
        segments = board.of_cluster(self._cluster, "segments")
        told = {label: one.seen for label, one in board.of_cluster(self._cluster, "cluster").items()}
        views = tuple(
            ConsensusView(label, self._answering(board, label, "cluster"), told[label])
            for label in watched
            if label in told
        )
        listing = consensus.listing(views)
        label_of = {peer_id: label for label, peer_id in watched.items() if peer_id is not None}
        peers = []
        for label in watched:
            if label not in telemetry:
                continue
            seen = telemetry[label].seen
            peer_id = seen.peer_id or (told[label].peer_id if label in told else None) or watched[label]
            if peer_id is not None:
                label_of[peer_id] = label
            peers.append(
                PeerView(
                    label,
                    peer_id,
                    self._answering(board, label, "telemetry"),
                    self._refusing(board, label, "telemetry"),
                    seen,
                    segments[label].seen if label in segments else None,
                    listed=not listing or peer_id in listing,
                )
            )
        return Joined(
            tuple(peers),
            views,
            Membership(label_of, self._silent(board, watched)),
            frozenset(
                label
                for label in watched
                if self._newest_of(board, label, "cluster") is None or self._refusing(board, label, "cluster")
            ),
            _newest(board, self._cluster, "memory", "usage"),
            _newest(board, self._cluster, "optimizations", "queued_points"),
        )

    def _looks(self, board: BoardView) -> Looks:
        oldest = min(
            observation.monotonic_seconds
            for key, observation in board.known.items()
            if key.cluster == self._cluster and key.source in MOVING
        )
        running = _newest(board, self._cluster, "optimizations", "running")
        return Looks(board.monotonic_seconds, oldest, running)

    def _newest_of(self, board: BoardView, label: str, source: str) -> Observation | None:
        return board.newest.get(ProducerKey(self._cluster, label, source))

    def _answering(self, board: BoardView, label: str, source: str) -> bool:
        newest = self._newest_of(board, label, source)
        return newest is not None and newest.seen is not None

    def _refusing(self, board: BoardView, label: str, source: str) -> bool:
        """The newest poll failed at a server that is there: nothing follows for what it holds."""
        newest = self._newest_of(board, label, source)
        return newest is not None and newest.seen is None and not _is_silent(newest)

    def _silent(self, board: BoardView, watched: Iterable[str]) -> frozenset[str]:
        newest = {label: self._newest_of(board, label, "telemetry") for label in watched}
        return frozenset(label for label, one in newest.items() if one is not None and _is_silent(one))

    def _look(self, board: BoardView, watched: Mapping[str, int | None]) -> None:
        """Feed the histories, each observation once; those of peers that are gone go."""
        for label in watched:
            telemetry = board.known.get(ProducerKey(self._cluster, label, "telemetry"))
            if telemetry is not None and self._is_new(label, "telemetry", telemetry):
                self._windows.setdefault(label, ErrorWindow()).look(telemetry)
            segments = board.known.get(ProducerKey(self._cluster, label, "segments"))
            if segments is not None and self._is_new(label, "segments", segments):
                changed = self._runs.setdefault(label, RunCounts()).look(segments.seen)
                if changed:
                    self._run_blocks.pop(label, None)
        histories: tuple[dict[str, Any], ...] = (self._windows, self._runs, self._run_blocks)
        for history in histories:
            for gone in history.keys() - watched.keys():
                del history[gone]
        for key in [key for key in self._looked_at if key[0] not in watched]:
            del self._looked_at[key]

    def _is_new(self, label: str, source: str, observation: Any) -> bool:
        if self._looked_at.get((label, source)) is observation:
            return False
        self._looked_at[(label, source)] = observation
        return True

    def _select(self, told: Mapping[str, Any]) -> tuple[str, ...]:
        names = tuple(told)
        if names != self._selected_from[0]:
            chosen = sorted(name for name in names if self._selection.selects(name))
            self._selected_from = (names, tuple(chosen[: self._selection.cap]))
        return self._selected_from[1]

    def _error_ratios(self, seen: Joined) -> Iterator[Reading]:
        for peer in seen.peers:
            yield from self._windows[peer.label].readings(self._cluster, peer.label)

    def _of_collections(self, board: BoardView, seen: Joined, names: Set[str]) -> Iterator[Reading]:
        cluster = self._cluster
        yield Reading(COLLECTIONS, (cluster,), float(len(names)))
        yield Reading(DROPPED, (cluster,), float(len(names) - len(self._selected_from[1])))
        yield Reading(FIELDS_DROPPED, (cluster,), float(self._kept.fields_dropped))
        if sum(1 for peer in seen.peers if peer.answering) > 1:
            differ = self._kept.disagreeing_shards
            yield Reading(consensus.DISAGREEMENT, (cluster, "replicas"), float(differ))
        aliases = _newest(board, cluster, "aliases", "collections")
        for alias, collection in aliases.items():
            yield Reading(ALIAS, (cluster, alias, collection), 1.0)
        yield from self._of_expected(names, aliases)

    def _of_expected(self, names: Set[str], aliases: Mapping[str, str]) -> Iterator[Reading]:
        configured, besides = self._selection.expected, self._selection.also_expected()
        # without the aliases an absent name may be one: nothing is said of it
        aliases_known = aliases is not NOTHING or not self._selection.aliases_watched
        for name in dict.fromkeys((*configured, *sorted(besides))):
            present = name in names or name in aliases
            behind = [aliases.get(alias, name) for alias in besides.get(name, ())]
            is_missed = aliases_known and (name in configured or not _was_replaced(behind, names))
            if present or is_missed:
                yield Reading(EXPECTED, (self._cluster, name), float(present))

    def _runs_block(self, peer: PeerView, selected: Sequence[str]) -> tuple[Reading, ...]:
        if peer.segments is None or peer.label not in self._runs:
            return ()
        names = tuple(selected)
        cached = self._run_blocks.get(peer.label)
        if cached is None or cached[0] != names:
            counts = self._runs[peer.label]
            made = tuple(
                reading for name in names for reading in counts.readings(self._cluster, peer.label, name)
            )
            cached = self._run_blocks[peer.label] = (names, made)
        return cached[1]


# The sources that show whether optimizers get on.
MOVING = frozenset({"telemetry", "segments", "optimizations"})

# Kinds of failure in which the server was not heard at all.
SILENCE = frozenset({FaultKind.TIMEOUT, FaultKind.UNREACHABLE})

# One object, so that "nothing known" twice is no change.
NOTHING: Mapping[str, Any] = MappingProxyType({})


def _was_replaced(behind: Sequence[str], there: Set[str]) -> bool:
    """Whether a collection that is gone was exchanged for others and then deleted, on purpose.

    `behind`: what its aliases stand for now, the collection itself where they went with it or may have gone
    since they were told.
    """
    return bool(behind) and there >= set(behind)


def _is_silent(observation: Observation) -> bool:
    return observation.seen is None and any(fault.kind in SILENCE for fault in observation.faults)


def collections_told(newest: PeerView, peers: Sequence[PeerView]) -> Mapping[str, CollectionSeen]:
    """Each collection as the newest peer tells it, or another where its part there does not read."""
    if not newest.telemetry.unreadable:
        return newest.telemetry.collections
    told = dict(newest.telemetry.collections)
    for peer in peers:
        for name in newest.telemetry.unreadable:
            if name not in told and name in peer.telemetry.collections:
                told[name] = peer.telemetry.collections[name]
    return told


def without_canary(told: Mapping[str, CollectionSeen]) -> Mapping[str, CollectionSeen]:
    """Leave out the collection that a write canary made: it is no user's."""
    if CANARY_COLLECTION not in told:
        return told
    return {name: seen for name, seen in told.items() if name != CANARY_COLLECTION}


def _newest(board: BoardView, cluster: str, source: str, attribute: str) -> Mapping[str, Any]:
    """The part of the newest observation of a source that one peer answers for all; empty without one."""
    told = board.of_cluster(cluster, source).values()
    newest = max(told, key=lambda observation: observation.monotonic_seconds, default=None)
    return NOTHING if newest is None else getattr(newest.seen, attribute)


def issue_readings(board: BoardView, cluster: str) -> Iterator[Reading]:
    """Yield issues by code, the same id on several peers counted once."""
    ids: set[str] = set()
    for observation in board.of_cluster(cluster, "issues").values():
        ids |= observation.seen.ids
    counts: dict[str, int] = {}
    for issue in ids:
        code = issue.split("/", 1)[0]
        counts[code] = counts.get(code, 0) + 1
    for code, count in sorted(counts.items()):
        yield Reading(ISSUES, (cluster, code), float(count))
