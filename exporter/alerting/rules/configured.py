"""What the configuration alone says of a series that is not there: nobody measures or asks it any more.

It says so after a reload and after a restart alike: nothing here remembers who once spoke.
"""

from __future__ import annotations

from collections.abc import Mapping

from exporter.alerting.rules.presence import ClusterPresence
from exporter.config.probes import ProbesSettings
from exporter.model import OURS, PROBED, MetricSpec
from exporter.qdrant.canary import CANARY_COLLECTION

NOT_PROBED = "it is not probed any more"
SOURCE_IS_OFF = "its source was switched off"

# What stands in a MetricSpec's source, and the source that asks it.
ASKED_BY = {
    "details_level=3": "telemetry",
    "GET /telemetry and": "telemetry",
    "details_level=4": "segments",
    "GET /cluster": "cluster",
    "GET /healthz": "healthz",
    "GET /aliases": "aliases",
    "GET /issues": "issues",
    "/memory": "memory",
    "/optimizations": "optimizations",
    "GET /snapshots": "snapshots",
    "GET /quotas": "quotas",
    "statvfs": "disk",
}
# What a metric rests on besides: an expected name may be an alias.
ALSO_RESTS_ON = {"qdrantx_collection_expected_present": frozenset({"aliases"})}

SEARCH, RECALL, CANARY = "search", "recall", "canary"  # the label `probe`


def sources_of(spec: MetricSpec) -> frozenset[str]:
    """Return the names of the sources that a metric rests on; none where no poll brings it."""
    asked = frozenset(source for words, source in ASKED_BY.items() if words in spec.source)
    return asked | ALSO_RESTS_ON.get(spec.name, frozenset())


def sources_off(there: ClusterPresence, peer: str | None) -> frozenset[str]:
    """Return the sources that are not polled from a peer, or with None from no peer of the cluster."""
    mounted = there.mounted if peer is None else there.mounted & {peer}
    unmounted = there.peers - mounted if peer is None else {peer} - mounted
    # a disk that is mounted here is looked at, and the quotas of others are asked for
    of_disk = frozenset() if mounted else frozenset({"disk"})
    of_quotas = frozenset() if unmounted else frozenset({"quotas"})
    return there.disabled_sources | of_disk | of_quotas


def reason_not_measured(spec: MetricSpec, labels: Mapping[str, str], there: ClusterPresence | None) -> str:
    """Say why no series with these labels can come, as the cluster is configured; "" where one may."""
    if there is None:
        return ""
    if spec.source == PROBED or "probe" in spec.labels:
        is_off = there.probes is not None and not _is_probed(spec, labels, there.probes)
        return NOT_PROBED if is_off else ""
    if spec.source == OURS:
        return ""
    wanted = sources_of(spec)
    return SOURCE_IS_OFF if wanted and wanted <= sources_off(there, labels.get("peer")) else ""


def _is_probed(spec: MetricSpec, labels: Mapping[str, str], probes: ProbesSettings) -> bool:
    probe, collection = _probe_of(spec, labels), labels.get("collection")
    if probe == CANARY:
        return probes.enabled and probes.canary.enabled
    if collection is None:  # of several at once
        return probes.enabled
    settings = probes.of(collection)
    if settings is None:
        return False
    if settings.vector not in (None, labels.get("vector", settings.vector)):
        return False
    return probe != RECALL or settings.measures_recall


def _probe_of(spec: MetricSpec, labels: Mapping[str, str]) -> str:
    if spec.name.startswith("qdrantx_canary") or labels.get("collection") == CANARY_COLLECTION:
        return CANARY
    return RECALL if spec.name.startswith("qdrantx_recall") else labels.get("probe", SEARCH)
