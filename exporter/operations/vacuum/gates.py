"""What must hold before a vacuum may begin. Pure: from what was seen to gates, open or closed.

All of them are looked at, so that a person reads at once all that stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporter.backup.thresholds.changing import (
    DEFAULT_DELETED_THRESHOLD,
    DEFAULT_VACUUM_MIN_VECTOR_NUMBER,
    DELETED_THRESHOLD,
    VACUUM_MIN_VECTOR_NUMBER,
)
from exporter.backup.thresholds.optimizing import GREY, Optimizing, number_of, tells_queue
from exporter.operations.vacuum.words import (
    Gate,
    Settings,
    VacuumTerms,
)
from exporter.printable import printable
from exporter.qdrant.kept import ACTIVE
from exporter.qdrant.versions import parse_version

THREADS = "max_optimization_threads"
GREEN = "green"
GIB = 1 << 30
MILLISECONDS = 1_000


@dataclass(frozen=True, slots=True)
class Moment:
    """What was seen and measured just before."""

    seen: Optimizing
    at: float  # Unix seconds
    p95_seconds: float | None  # of searches; None: too few answers
    change: Mapping[str, float]  # thresholds that would be put
    needed_bytes: Mapping[str, int]  # by peer
    free_bytes: Mapping[str, int | None]


def gates_of(moment: Moment, terms: VacuumTerms) -> tuple[Gate, ...]:
    """Say of every condition whether it holds."""
    seen = moment.seen
    return (
        *sight_of(seen),
        _gate("versions", _versions(seen), "all peers have one minor version"),
        _gate("transfers", _transfers(seen), "nothing is moved"),
        _gate("snapshots", _snapshots(seen), "no snapshot is taken or restored"),
        _gate("errors", _errors(seen), "no optimizer stopped with an error"),
        _gate("status", _status(seen), "all replicas are green"),
        _gate("optimizers", _optimizers(seen), "nothing runs, nothing waits"),
        _gate("queue", _queue(seen, terms), f"at most {terms.queue_limit} operations wait"),
        _gate("settings", _settings(seen), "the peers agree on the thresholds, and optimizers may run"),
        _searches(moment, terms),
        _window(moment, terms),
        _disk(moment),
    )


def sight_of(seen: Optimizing) -> tuple[Gate, ...]:
    """Say whether all of a collection is seen: else nobody can say that there are no victims either."""
    return (
        _gate("peers", _silence(seen), "all peers answer"),
        _gate("replicas", _replicas(seen), "all replicas are Active and loaded"),
    )


def settings_of(seen: Optimizing) -> Settings:
    """Return a collection's own thresholds; where peers differ, the lowest, by which more is rewritten."""
    thresholds = _values(seen, DELETED_THRESHOLD)
    minimums = _values(seen, VACUUM_MIN_VECTOR_NUMBER)
    return Settings(
        deleted_threshold=min(thresholds, default=DEFAULT_DELETED_THRESHOLD),
        minimum=int(min(minimums, default=DEFAULT_VACUUM_MIN_VECTOR_NUMBER)),
        may_optimize=not any(value == 0 for value in seen.values_of(THREADS)),
    )


def _gate(name: str, problems: Iterable[str], good: str) -> Gate:
    found = tuple(problems)
    return Gate(name, not found, "; ".join(found) or good)


def _silence(seen: Optimizing) -> Iterator[str]:
    for label, reason in seen.silent.items():
        yield f"{printable(label)} does not answer: {printable(reason)}"
    if seen.unseen:
        nodes = ", ".join(map(str, seen.unseen))
        yield f"peers hold replicas whose URL is not given: {nodes}; write all peers of the cluster"


def _versions(seen: Optimizing) -> Iterator[str]:
    said = {peer.version for peer in seen.peers}
    minors = {(version.major, version.minor) if (version := parse_version(text)) else text for text in said}
    if len(minors) > 1:
        yield f"peers have {' and '.join(sorted(said))}; end the upgrade first"


def _replicas(seen: Optimizing) -> Iterator[str]:
    states: dict[tuple[int, int], set[str]] = {}
    for peer in seen.holders:
        for shard in peer.unloaded:
            yield f"shard {shard} did not load on {printable(peer.label)}"
        for shard, replicas in peer.replicas.items():
            for node, state in replicas.items():
                states.setdefault((shard, node), set()).add(state)
    for (shard, node), words in sorted(states.items()):
        other = sorted(words - {ACTIVE})
        if other:
            yield f"shard {shard} is {' or '.join(other)} on {_named(seen, node)}"


def _transfers(seen: Optimizing) -> Iterator[str]:
    if any(peer.transfers for peer in seen.holders):
        yield "shards are being transferred"
    if any(peer.resharding for peer in seen.holders):
        yield "the collection is being resharded"


def _snapshots(seen: Optimizing) -> Iterator[str]:
    for peer in seen.holders:
        if peer.snapshots_running:
            yield f"a snapshot is taken on {printable(peer.label)}"
        if peer.recoveries_running:
            yield f"a snapshot is restored on {printable(peer.label)}"


def _errors(seen: Optimizing) -> Iterator[str]:
    for peer in seen.holders:
        if peer.optimizer_error:
            yield f"an optimizer stopped on {printable(peer.label)}: {printable(peer.optimizer_error)}"


def _status(seen: Optimizing) -> Iterator[str]:
    for peer in seen.holders:
        for shard, status in peer.statuses.items():
            if status == GREY:
                yield (
                    f"shard {shard} is grey on {printable(peer.label)}: its server restarted with work to "
                    "do, which the next update or PATCH begins; wake it when it suits you"
                )
            elif status != GREEN:
                yield f"shard {shard} is {printable(status)} on {printable(peer.label)}"


def _optimizers(seen: Optimizing) -> Iterator[str]:
    for run in seen.running:
        yield f"{printable(run.name)} runs on {printable(run.peer)}, shard {run.shard}"
    if seen.queued:
        yield f"{seen.queued} optimizations wait"
    if seen.queued is None and any(tells_queue(peer.version) for peer in seen.holders):
        yield "no peer says what waits to be optimized"


def _queue(seen: Optimizing, terms: VacuumTerms) -> Iterator[str]:
    for peer in seen.holders:
        if peer.queue_length is not None and peer.queue_length > terms.queue_limit:
            yield (
                f"{peer.queue_length:,} operations wait on {printable(peer.label)}, "
                f"more than {terms.queue_limit:,}"
            )


def _settings(seen: Optimizing) -> Iterator[str]:
    for field in (DELETED_THRESHOLD, VACUUM_MIN_VECTOR_NUMBER):
        said = seen.values_of(field)
        if len(said) > 1:
            values = " and ".join(sorted("unset" if value is None else f"{value:g}" for value in said))
            yield f"peers disagree on {field}: {values}"
    if not settings_of(seen).may_optimize:
        yield f"{THREADS} is 0, so nothing would ever be rewritten"


def _searches(moment: Moment, terms: VacuumTerms) -> Gate:
    p95, limit = moment.p95_seconds, terms.p95_limit_seconds
    said = "too few searches were answered" if p95 is None else f"p95 is {p95 * MILLISECONDS:,.1f} ms"
    if limit is None:
        return Gate("searches", True, f"{said}; no limit is set")
    segments = moment.seen.segments
    if p95 is None and segments and not any(one.live for one in segments):
        return Gate("searches", True, "no point is left that a search could find")
    if p95 is None:
        return Gate("searches", False, f"{said} to compare their p95 with the limit; set p95_limit to 0")
    return Gate("searches", p95 <= limit, f"{said}, limit {limit * MILLISECONDS:,.1f} ms")


def _window(moment: Moment, terms: VacuumTerms) -> Gate:
    window = terms.window
    if window is None:
        return Gate("window", True, "no window is set")
    inside = window.holds(moment.at)
    return Gate("window", inside, f"{'inside' if inside else 'outside'} of {window}")


def _disk(moment: Moment) -> Gate:
    closed, unknown = [], []
    for peer, needed in sorted(moment.needed_bytes.items()):
        free = moment.free_bytes.get(peer)
        if free is None:
            unknown.append(printable(peer))
        elif free < needed:
            closed.append(
                f"{printable(peer)} has {free / GIB:,.2f} GiB free, and needs {needed / GIB:,.2f} GiB"
            )
    if closed:
        return Gate("disk", False, "; ".join(closed))
    if not unknown:
        return Gate("disk", True, "every peer has the room that a rewrite takes")
    said = f"free disk is unknown on {', '.join(unknown)}"
    if not moment.change:
        # the server would begin by itself at the next update: it checks the room, and we change nothing
        return Gate("disk", True, f"{said}; no threshold is changed")
    # /quotas (1.19) tells a share of the disk and not its size
    advice = "set clusters[].peers[].storage_path, where its storage is mounted here"
    return Gate("disk", False, f"{said}; {advice}")


def _values(seen: Optimizing, field: str) -> list[float]:
    values = (number_of(peer.config.get(field)) for peer in seen.holders)
    return [value for value in values if value is not None]


def _named(seen: Optimizing, node: int) -> str:
    return next((printable(peer.label) for peer in seen.peers if peer.node == node), str(node))
