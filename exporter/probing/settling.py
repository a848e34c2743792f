"""How one collection is searched now: the configured way, what was typed, and strict mode. Decisions only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporter.config.clusters import ClusterSettings
from exporter.config.probes import ProbeSettings
from exporter.config.quantities import format_duration
from exporter.config.settings import Settings
from exporter.observe.probes.asking import Asking, asking_of
from exporter.observe.probes.reasons import Skip
from exporter.observe.sources.telemetry import CollectionSeen, VectorSeen
from exporter.probing.report import EXIT_BAD_USAGE, EXIT_NOT_JUDGED, NotProbed, Wanted, named

STRICT_LIMITS = (
    "max_query_limit", "max_timeout", "search_max_hnsw_ef", "search_allow_exact", "read_rate_limit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be done: the searches, and the vector that they are of where a query names no other."""

    asking: Asking
    vector: VectorSeen


def cluster_wanted(settings: Settings, wanted: Wanted) -> ClusterSettings:
    """Return the cluster of this name, or the only one. Raises NotProbed."""
    names = ", ".join(cluster.name for cluster in settings.clusters)
    if wanted.cluster is not None:
        for cluster in settings.clusters:
            if cluster.name == wanted.cluster:
                return cluster
        raise NotProbed(
            f"--cluster: there is no cluster {wanted.cluster!r}; write one of {names}", code=EXIT_BAD_USAGE
        )
    if len(settings.clusters) != 1:
        raise NotProbed(f"--cluster: say which one: {names}", code=EXIT_BAD_USAGE)
    return settings.clusters[0]


def settle(cluster: ClusterSettings, wanted: Wanted, seen: CollectionSeen) -> Settled:
    """Return how the collection is searched. Raises NotProbed where it cannot be.

    A pattern that is switched off still says how: it is switched off for the daemon.
    """
    base = cluster.probes.pattern_of(seen.name) or ProbeSettings()
    typed = {"hnsw_ef": wanted.hnsw_ef, "limit": wanted.limit, "vector": wanted.vector}
    given = {key: value for key, value in typed.items() if value is not None}
    settings = base.model_copy(update=given | {"enabled": True})
    vector = _vector_of(asking_of(settings, seen), wanted, seen)
    asking = asking_of(settings.model_copy(update={"vector": vector.name}), seen)
    if asking.why_not_search() is not None:
        raise NotProbed(
            "exact: true is configured and strict mode forbids exact searches (search_allow_exact)",
            code=EXIT_NOT_JUDGED,
        )
    return Settled(asking, vector)


def _vector_of(asking: Asking, wanted: Wanted, seen: CollectionSeen) -> VectorSeen:
    """Return the first vector, of dense ones if there are any."""
    if asking.vectors:
        return next((vector for vector in asking.vectors if not vector.sparse), asking.vectors[0])
    if not seen.vectors:
        raise NotProbed(f"collection {seen.name!r} has no vectors", code=EXIT_NOT_JUDGED)
    possible = ", ".join(repr(vector.name) for vector in seen.vectors)
    where, code = ("--vector", EXIT_BAD_USAGE) if wanted.vector is not None else ("vector", EXIT_NOT_JUDGED)
    raise NotProbed(
        f"{where}: collection {seen.name!r} has no vector {asking.settings.vector!r}; it has {possible}",
        code=code,
    )


def strict_limits(asking: Asking) -> Mapping[str, Any]:
    """Return the limits of strict mode that are set."""
    told = ((name, getattr(asking.strict, name)) for name in STRICT_LIMITS)
    return {name: value for name, value in told if value is not None}


def notes_on(asking: Asking, count: int) -> Iterator[str]:
    """Yield what strict mode or the settings make of what was asked for."""
    settings, strict = asking.settings, asking.strict
    if asking.limit < settings.limit:
        yield f"limit {settings.limit} is cut to {asking.limit} by strict mode (max_query_limit)"
    if settings.hnsw_ef is not None and settings.exact:
        yield "hnsw_ef does nothing: exact: true is configured"
    elif settings.hnsw_ef is not None and settings.hnsw_ef > (strict.search_max_hnsw_ef or settings.hnsw_ef):
        yield (
            f"hnsw_ef {settings.hnsw_ef} is cut to {strict.search_max_hnsw_ef} by strict mode"
            " (search_max_hnsw_ef)"
        )
    interval = asking.shortest_interval_seconds
    if count > 1 and interval:
        yield (
            f"strict mode allows {strict.read_rate_limit} reads a minute (read_rate_limit), and we take a"
            f" tenth: a search every {interval:.3g} s, so this takes {count * interval:,.0f} s"
        )


def why_no_recall(settled: Settled, wanted: Wanted, points: int | None, p95_seconds: float | None) -> str:
    """Return why no exact searches are sent, "" where they are. `p95_seconds` None: not known."""
    settings = settled.asking.settings
    if not wanted.recall:
        return "--no-recall"
    if settings.exact:
        return "the searches are exact themselves: exact: true is configured"
    if not settings.recall.enabled:
        return "it is switched off in the configuration"
    if settled.vector.sparse:
        return f"the index of {named(settled.vector.name)} is sparse, and so exact by design"
    why_not = settled.asking.why_not_compare(points, p95_seconds)
    if why_not is None:
        return ""
    if why_not is Skip.UNSUPPORTED:
        if settled.asking.strict.search_allow_exact is False:
            return "strict mode forbids exact searches (search_allow_exact)"
        return "strict mode allows one point an answer (max_query_limit), and the query's own takes it"
    if why_not is Skip.TOO_LARGE:
        most = settings.recall.max_points
        return f"{points:,} points are more than an exact search may read (recall.max_points: {most:,})"
    if points is None:
        return "how many points an exact search would read is not known"
    target = format_duration(settings.recall.latency_target_seconds)
    return f"searches are slow (p95 over recall.latency_target, {target}), and exact ones slow them further"
