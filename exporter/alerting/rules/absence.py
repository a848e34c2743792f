"""Why a series is not there: gone for good, or only not to be had now. Expiry is never gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from exporter.alerting.rules.configured import reason_not_measured, sources_of, sources_off
from exporter.alerting.rules.presence import THE_SERIES_IS_GONE, ClusterPresence, reason_gone
from exporter.alerting.rules.series import WITHDRAWN_SECONDS
from exporter.alerting.words import Selector
from exporter.board import ANCHOR_SOURCE, BoardView
from exporter.model import CLUSTER_LABEL, OURS, PROBED, FaultKind, MetricSpec, Observation, ProducerKey

# Told of collections that do not exist too: these alerts are about just that.
OF_MISSING_COLLECTIONS = (
    "qdrantx_collection_expected_present",
    "qdrantx_backup_",
    "qdrantx_job_",
    "qdrantx_vacuum_",
)
# The block that is there when collections were derived at all, and not where that broke.
COLLECTIONS_BLOCK = "collections"
# Who says what alerting tells of itself: all of it in one go, from its first step on.
OWN_PRODUCER = ProducerKey("", "", "alerting")
# Sources that are polled from every peer: each must have been heard before silence says anything.
OF_EVERY_PEER = frozenset({"telemetry", "segments", "cluster", "healthz"})


class Absence:
    """Judges series that are not in force in one view of the Board."""

    def __init__(
        self,
        *,
        view: BoardView,
        presence: Mapping[str, ClusterPresence],
        speakers: Callable[[MetricSpec], Mapping[ProducerKey, float | None]],
    ) -> None:
        self._view = view
        self._presence = presence
        self._speakers = speakers
        self._derived_at = {
            key.cluster: view.derived_at.get(key.cluster, 0.0)
            for key in view.derived
            if key.source == COLLECTIONS_BLOCK
        }

    def reason(self, selector: Selector, labels: Mapping[str, str]) -> str:
        """Say why a series with these labels is gone; "" where that cannot be said."""
        spec = selector.spec
        may_be_missing = spec.name.startswith(OF_MISSING_COLLECTIONS)
        gone = reason_gone(labels, self._presence, may_be_missing=may_be_missing)
        gone = gone or reason_not_measured(spec, labels, self._presence.get(labels.get(CLUSTER_LABEL, "")))
        if gone:
            return gone
        stands = (
            self._stands(spec, labels) if spec.source in (OURS, PROBED) else self._was_asked(spec, labels)
        )
        return THE_SERIES_IS_GONE if stands else ""

    def _stands(self, spec: MetricSpec, labels: Mapping[str, str]) -> bool:
        """Whether a producer that once said the metric of such a thing stands without the series.

        Or was withdrawn for good: a reload withdraws those that it starts anew.
        """
        if CLUSTER_LABEL not in spec.labels and OWN_PRODUCER in self._view.standing:
            return True
        now = self._view.monotonic_seconds
        for key, left_at in self._speakers(spec).items():
            if left_at is not None and now - left_at < WITHDRAWN_SECONDS:
                continue
            mine = key.cluster == labels.get(CLUSTER_LABEL, "") and key.peer in ("", labels.get("peer"))
            # probes have a producer for each collection, and one may have begun when another has not
            subject = key.source.partition(":")[2]
            if mine and ("collection" not in labels or subject in ("", labels["collection"])):
                return True
        return False

    def _was_asked(self, spec: MetricSpec, labels: Mapping[str, str]) -> bool:
        """Whether every source that could say it answered whole at its newest poll, before the derivation."""
        cluster = labels.get(CLUSTER_LABEL, "")
        there = self._presence.get(cluster)
        if there is None or not there.peers or cluster not in self._derived_at:
            return False
        is_peers_own = "peer" in spec.labels and "collection" not in spec.labels
        peers = [labels["peer"]] if is_peers_own and "peer" in labels else sorted(there.peers)
        wanted = (sources_of(spec) - sources_off(there, labels.get("peer"))) | {ANCHOR_SOURCE}
        return all(self._answered(cluster, peer, wanted) for peer in peers) and self._any_answered(
            cluster, peers, wanted
        )

    def _answered(self, cluster: str, peer: str, wanted: frozenset[str]) -> bool:
        for source in wanted:
            observation = self._view.newest.get(ProducerKey(cluster, peer, source))
            if observation is None:
                if source in OF_EVERY_PEER:
                    return False
            elif not _is_whole(observation) or observation.monotonic_seconds > self._derived_at[cluster]:
                return False
        return True

    def _any_answered(self, cluster: str, peers: Iterable[str], wanted: frozenset[str]) -> bool:
        """Whether the sources that only one peer is asked, or that have a stand-in, were heard at all."""
        others = wanted - OF_EVERY_PEER
        return not others or any(
            ProducerKey(cluster, peer, source) in self._view.newest for peer in peers for source in others
        )


def _is_whole(observation: Observation) -> bool:
    return all(fault.kind is FaultKind.UNSUPPORTED for fault in observation.faults) and (
        observation.seen is not None or bool(observation.faults)
    )
