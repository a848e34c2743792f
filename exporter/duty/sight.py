"""Which rules can see what they are about here, and what to switch on for those that cannot.

A table from metrics to what they need of the configuration and of the servers. A rule is blind where
no cluster can give its numbers; what a server has not told yet counts as given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporter.alerting.rules.meaning import selectors_of
from exporter.alerting.words import Rule, RuleSight, Selector
from exporter.backup.records import LAST_VERIFIED, UNVERIFIED
from exporter.backup.words import Level
from exporter.board import BoardView
from exporter.config.clusters import ClusterSettings
from exporter.config.jobs import JobSettings
from exporter.config.settings import Settings
from exporter.observe.records import SUPPORTED
from exporter.qdrant.versions import FIRST_VERSION, Version


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides whether a metric can be had of one cluster."""

    settings: ClusterSettings
    receivers: int = 0  # of the whole configuration
    jobs: tuple[JobSettings, ...] = ()  # of this cluster
    has_store: bool = False  # of backups, in which it is written down what was changed for a while
    versions: tuple[Version, ...] = ()  # of the peers that told theirs
    supported: Mapping[str, bool] | None = None  # by source: whether any peer has it

    def has(self, source: str) -> bool:
        """Whether a source is polled, and no answer said that the servers lack it."""
        enabled = source not in self.settings.poll.disabled_sources
        return enabled and (self.supported or {}).get(source, True)


Need = Callable[[Surroundings], str]  # why it is not met, and what to do; "" where it is


def sights(rules: Iterable[Rule], settings: Settings, view: BoardView | None) -> tuple[RuleSight, ...]:
    """Tell of each rule whether it is blind. Without a view, as far as the configuration says."""
    clusters = [
        Surroundings(
            settings=cluster,
            receivers=len(settings.alerting.receivers),
            jobs=tuple(job for job in settings.jobs if job.cluster in (None, cluster.name)),
            has_store=settings.backup.store is not None,
            versions=_versions(cluster.name, view),
            supported=_supported(cluster.name, view),
        )
        for cluster in settings.clusters
    ]
    return tuple(
        RuleSight(
            rule=rule.name,
            blind=_blindness(rule, clusters),
            metrics=tuple(dict.fromkeys(one.spec.name for one in selectors_of(rule))),
        )
        for rule in rules
    )


def _needed(rule: Rule) -> Iterator[Selector]:
    """Yield those without which the rule's first condition is never decided."""
    condition = rule.condition
    yield condition.selector
    for operand in (condition.divided_by, condition.than):
        if operand is not None:
            yield operand.selector
    if rule.when is not None and not rule.when.if_unknown:
        yield rule.when.selector


def _blindness(rule: Rule, clusters: Iterable[Surroundings]) -> str:
    """Why no cluster shows what the rule wants, each reason once; "" where one does."""
    why: dict[str, list[str]] = {}
    for cluster in clusters:
        reason = _blindness_in(rule, cluster)
        if not reason:
            return ""
        why.setdefault(reason, []).append(cluster.settings.name)
    if len(why) == 1:
        return next(iter(why))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in why.items())


def _blindness_in(rule: Rule, cluster: Surroundings) -> str:
    first = _unmet(_needed(rule), cluster)
    if first and rule.otherwise is not None and not _unmet([rule.otherwise.selector], cluster):
        return ""
    return first


def _unmet(wanted: Iterable[Selector], cluster: Surroundings) -> str:
    reasons = (need(cluster) for selector in wanted for need in needs_of(selector))
    return next((reason for reason in reasons if reason), "")


def needs_of(selector: Selector) -> Iterator[Need]:
    """Yield what a selected metric needs beside a server that answers."""
    spec = selector.spec
    if spec.source in _BY_ENDPOINT:
        yield _BY_ENDPOINT[spec.source]
    for start, need in _BY_NAME:
        if spec.name.startswith(start):
            yield need
            break
    if spec.name in SINCE:
        yield _from_version(SINCE[spec.name])
    wants = {one.name: one.value for one in selector.match if not one.regex and not one.negative}
    if spec.name.startswith("qdrantx_forecast_full") and wants.get("resource") == "disk":
        yield _disk
    if spec.name in OF_PROOFS and wants.get("level") == Level.RESTORED:
        yield _restored_in_tests


def _versions(cluster: str, view: BoardView | None) -> tuple[Version, ...]:
    if view is None:
        return ()
    told = (one.seen.version for one in view.of_cluster(cluster, "telemetry").values())
    return tuple(version for version in told if version is not None)


def _supported(cluster: str, view: BoardView | None) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for key, readings in view.standing.items() if view is not None else ():
        if key.cluster == cluster and key.peer:
            for reading in readings:
                if reading.spec is SUPPORTED:
                    found[key.source] = found.get(key.source, False) or reading.value == 1
    return found


# --- the needs ------------------------------------------------------------------------------------


def _source(name: str) -> Need:
    def need(here: Surroundings) -> str:
        if name in here.settings.poll.disabled_sources:
            return f"the source {name} is switched off; take it out of poll.disabled_sources"
        if not here.has(name):
            first = FIRST_VERSION.get(name)
            came = f"; it came with Qdrant {first}, upgrade" if first is not None else ""
            return f"no server of the cluster has what the source {name} asks{came}"
        return ""

    return need


def _from_version(first: Version) -> Need:
    def need(here: Surroundings) -> str:
        if not here.versions or max(here.versions) >= first:
            return ""
        return f"the servers are {max(here.versions)}, and it is told from {first}; upgrade Qdrant"

    return need


def _searches(here: Surroundings) -> str:
    probes = here.settings.probes
    if not probes.enabled:
        return "probes are off; write probes: {enabled: true}"
    if not any(one.enabled for one in probes.collections):
        return "no pattern of probes.collections is enabled; enable one"
    return ""


def _recall(here: Surroundings) -> str:
    enabled = [one for one in here.settings.probes.collections if one.enabled]
    if reason := _searches(here):
        return reason
    if not any(one.recall.enabled and not one.exact for one in enabled):
        return "recall is off; write recall: {enabled: true} at a pattern of probes.collections"
    return ""


def _canary(here: Surroundings) -> str:
    probes = here.settings.probes
    if probes.enabled and probes.canary.enabled:
        return ""
    switch = "canary: {enabled: true}" if probes.enabled else "enabled: true, canary: {enabled: true}"
    return f"the write canary is off; write probes: {{{switch}}}, with a key that may manage"


def _expected(here: Surroundings) -> str:
    if here.settings.collections.expected or not _backups(here):
        return ""
    return "no collection is expected; name those that must exist under collections.expected"


def _jobs(here: Surroundings) -> str:
    return "" if here.jobs else "there is no job; write one under jobs"


def _backups(here: Surroundings) -> str:
    if any(job.kind == "backup" for job in here.jobs):
        return ""
    return "nothing is backed up; write a job of kind backup under jobs"


def _store(here: Surroundings) -> str:
    if here.has_store:
        return ""
    return "there is no store that says what was changed; write backup: with store: and its url:"


def _restored_in_tests(here: Surroundings) -> str:
    if any(job.kind == "verify" and job.level == int(Level.RESTORED) for job in here.jobs):
        return ""
    return "no backup is restored in tests; write a job of kind verify with level: 4 under jobs"


def _storage_path(here: Surroundings) -> str:
    if not any(peer.storage_path is not None for peer in here.settings.peers):
        return "no peer has a storage_path; write it where the peer's disk is mounted here"
    return _source("disk")(here)


def _disk(here: Surroundings) -> str:
    if here.has("quotas") or not _storage_path(here):
        return ""
    return (
        "nobody tells how full the disk is; write storage_path: at a peer whose disk is mounted here,"
        f" or upgrade to Qdrant {FIRST_VERSION['quotas']} and leave the source quotas on"
    )


def _second_receiver(here: Surroundings) -> str:
    if here.receivers > 1:
        return ""
    return "there is no other receiver to tell of it; add one under alerting.receivers"


# By MetricSpec.source. What /telemetry?details_level=3, /cluster and /healthz tell is always there.
_BY_ENDPOINT: Mapping[str, Need] = {
    "GET /telemetry?details_level=4": _source("segments"),
    "GET /telemetry?details_level=4, GET /collections/{collection}/optimizations": _source("segments"),
    "GET /collections/{collection}/optimizations": _source("optimizations"),
    "GET /collections/{collection}/memory": _source("memory"),
    "GET /aliases": _source("aliases"),
    "GET /issues": _source("issues"),
    "GET /snapshots, GET /collections/{collection}/snapshots": _source("snapshots"),
    "statvfs of storage_path": _storage_path,
    "statvfs of storage_path, else GET /quotas (1.19)": _disk,
}

# By how a metric's name begins; the first that fits.
_BY_NAME: tuple[tuple[str, Need], ...] = (
    ("qdrantx_probe", _searches),
    ("qdrantx_peer_probe", _searches),
    ("qdrantx_recall", _recall),
    ("qdrantx_canary", _canary),
    ("qdrantx_collection_expected_present", _expected),
    ("qdrantx_job_", _jobs),
    ("qdrantx_backup_", _backups),
    ("qdrantx_vacuum_", _store),
    ("qdrantx_notification", _second_receiver),
    ("qdrantx_receiver", _second_receiver),
)

# Their label `level` is that of a proof.
OF_PROOFS = frozenset({LAST_VERIFIED.name, UNVERIFIED.name})

# The first version whose servers tell it, as the metric's own words have it ("since 1.17").
SINCE: Mapping[str, Version] = {
    "qdrantx_peer_cpu_cores_used": Version(1, 18, 0),
    "qdrantx_quota_exceeded": Version(1, 19, 0),
    "qdrantx_collection_indexed_only_excluded_points": Version(1, 16, 0),
    "qdrantx_collection_deferred_points": Version(1, 17, 0),
    "qdrantx_collection_update_queue_length": Version(1, 17, 0),
    "qdrantx_collection_optimizations_queued_points": Version(1, 17, 0),
    "qdrantx_collection_snapshots_running": Version(1, 16, 0),
    "qdrantx_replica_operations_total": Version(1, 17, 0),
    "qdrantx_forecast_queue_drain_seconds": Version(1, 17, 0),
}
