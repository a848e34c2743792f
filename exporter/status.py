"""What is known, for people and programs: the status document and the landing page's content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter import __version__
from exporter.board import BoardView
from exporter.model import MetricSpec, ProducerKey, Reading
from exporter.observe.derived.collections import POINTS, STATUS
from exporter.observe.poller import PeerPoller
from exporter.observe.probes.book import ERROR_RATIO, P95, RECALL, RECALL_RATIO, SEARCH
from exporter.observe.watch import ClusterWatch
from exporter.web.face import Landing, LandingCluster, LandingPeer, Trouble


def status(watches: Mapping[str, ClusterWatch], board: BoardView) -> dict[str, Any]:
    """Return peers, sources, faults, collections and troubles of every cluster, ready for JSON."""
    return {
        "version": __version__,
        "clusters": {name: _cluster(watch, board) for name, watch in watches.items()},
    }


def _cluster(watch: ClusterWatch, board: BoardView) -> dict[str, Any]:
    name = watch.settings.name
    targets = {target.label: target for target in watch.roster.targets()}
    return {
        "peers_known": watch.roster.peers_known(),
        "peers": {
            label: {
                "url": targets[label].url,
                "origin": targets[label].origin.value,
                "peer_id": _peer_id(board, name, label, targets[label].peer_id),
                "version": _version(board, name, label),
                "up": poller.up,
                "sources": _sources(poller),
            }
            for label, poller in watch.pollers().items()
            if label in targets
        },
        "unwatched": [
            {"peer_id": one.peer_id, "uri": one.uri, "reason": one.reason} for one in watch.roster.unwatched()
        ],
        "troubles": [
            {"kind": one.kind.value, "peers": list(one.labels), "text": one.text}
            for one in watch.roster.troubles()
        ],
        "probes": {"trouble": watch.probe_trouble or None, "collections": _probes(watch, board)},
        "collections": collections(watch),
    }


def _peer_id(board: BoardView, cluster: str, label: str, stored: int | None) -> int | None:
    known = board.known.get(ProducerKey(cluster, label, "telemetry"))
    return stored if known is None else known.seen.peer_id or stored


def _version(board: BoardView, cluster: str, label: str) -> str | None:
    known = board.known.get(ProducerKey(cluster, label, "telemetry"))
    return None if known is None else str(known.seen.version_text)


def _sources(poller: PeerPoller) -> dict[str, Any]:
    return {
        name: {
            "supported": record.supported,
            "success": record.success if record.polls and record.supported else None,
            "interval_seconds": record.interval_seconds,
            "duration_seconds": record.duration_seconds,
            "last_success_timestamp_seconds": record.last_success_at_seconds,
            "faults": [
                {"kind": fault.kind.value, "endpoint": fault.endpoint, "detail": fault.detail}
                for fault in record.newest_faults
            ],
        }
        for name, record in poller.records.items()
    }


def _probes(watch: ClusterWatch, board: BoardView) -> dict[str, dict[str, float | None]]:
    """Return what the probes last measured of each collection, None where it cannot be said."""
    found = {}
    for name in watch.derived.selected:
        searches = board.standing.get(ProducerKey(watch.settings.name, "", f"{SEARCH}:{name}"), ())
        recalls = board.standing.get(ProducerKey(watch.settings.name, "", f"{RECALL}:{name}"), ())
        ratios = [one.value for one in recalls if one.spec is RECALL_RATIO]
        found[name] = {
            "search_p95_seconds": value_of(searches, P95),
            "error_ratio": value_of(searches, ERROR_RATIO),
            "recall_ratio": min(ratios, default=None),  # the worst vector's
        }
    return found


def collections(watch: ClusterWatch) -> dict[str, dict[str, Any]]:
    """Return each collection's status in force and points, None where they are not known."""
    found: dict[str, dict[str, Any]] = {}
    for name in watch.derived.selected:
        readings = watch.derived.blocks.get(f"collection:{name}", ())
        found[name] = {"status": status_in_force(readings), "points": value_of(readings, POINTS)}
    return found


def status_in_force(readings: Sequence[Reading]) -> str | None:
    """Return the status whose reading is 1."""
    told = (one.labels[-1] for one in readings if one.spec is STATUS and one.value == 1)
    return next(told, None)


def value_of(readings: Sequence[Reading], spec: MetricSpec) -> float | None:
    """Return the value of the first reading of a metric."""
    return next((one.value for one in readings if one.spec is spec), None)


def total_of(readings: Sequence[Reading], spec: MetricSpec) -> float | None:
    """Return the sum over a metric's series, None where it has none."""
    values = [one.value for one in readings if one.spec is spec]
    return sum(values) if values else None


def landing(watches: Mapping[str, ClusterWatch], board: BoardView, failed_reload: str | None) -> Landing:
    """Return what the landing page says: peers with what is wrong of them, and what to do."""
    troubles = []
    if failed_reload is not None:
        troubles.append(
            Trouble(f"The last reload was refused: {failed_reload}", "Mend the configuration, reload again.")
        )
    for watch in watches.values():
        troubles += [Trouble(f"{one.cluster}: {one.kind.value}", one.text) for one in watch.roster.troubles()]
        if watch.probe_trouble:
            troubles.append(
                Trouble(f"{watch.settings.name}: the write canary stands still", watch.probe_trouble)
            )
        troubles += [
            Trouble(f"{one.cluster}: peer {one.peer_id} ({one.uri}) is not watched", one.reason)
            for one in watch.roster.unwatched()
        ]
    return Landing(
        version=__version__,
        clusters=tuple(
            LandingCluster(name, tuple(_landing_peers(watch, board))) for name, watch in watches.items()
        ),
        troubles=tuple(troubles),
    )


def _landing_peers(watch: ClusterWatch, board: BoardView) -> list[LandingPeer]:
    return [
        LandingPeer(label, poller.up, note_on(poller, _version(board, watch.settings.name, label)))
        for label, poller in watch.pollers().items()
    ]


def note_on(poller: PeerPoller, version: str | None) -> str:
    """Return the version of a peer that is up, or why it is not."""
    if poller.up:
        return version or ""
    faults = poller.records["telemetry"].newest_faults
    return f"{faults[0].kind.value}: {faults[0].detail}" if faults else ""


def failing_sources(pollers: Mapping[str, PeerPoller]) -> list[tuple[str, str, str]]:
    """Return (peer, source, what) of every source of a peer that is up whose newest poll failed."""
    return [
        (label, name, f"{fault.kind.value}: {fault.endpoint}: {fault.detail}")
        for label, poller in pollers.items()
        if poller.up
        for name, record in poller.records.items()
        for fault in record.newest_faults[:1]
        if record.supported
    ]
