"""What is watched at all: the ground on which a series that is not there is gone or undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.config.probes import ProbesSettings
from exporter.model import CLUSTER_LABEL

THE_CLUSTER_IS_GONE = "the cluster is not watched any more"
THE_PEER_IS_GONE = "the peer is not watched any more"
THE_COLLECTION_IS_GONE = "the collection is gone"
THE_SERIES_IS_GONE = "the series is gone"


@dataclass(frozen=True, slots=True)
class ClusterPresence:
    """Who and what there is in one cluster, and what of it is measured by its configuration."""

    peers: frozenset[str]  # label values of the watched ones
    collections: frozenset[str] | None  # names that the cluster lists; None: not known now
    probes: ProbesSettings | None = None  # None: nothing is said of them
    disabled_sources: frozenset[str] = frozenset()
    mounted: frozenset[str] = frozenset()  # the peers whose disk is looked at on this host


def reason_gone(
    labels: Mapping[str, str], presence: Mapping[str, ClusterPresence], *, may_be_missing: bool = False
) -> str:
    """Say why a series with these labels can never come back as it was; "" where it may.

    `may_be_missing`: it is told of collections that do not exist, too.
    """
    cluster = labels.get(CLUSTER_LABEL)
    if cluster is None:  # told of this daemon itself
        return ""
    there = presence.get(cluster)
    if there is None:
        return THE_CLUSTER_IS_GONE
    peer = labels.get("peer", "")
    # one that is known by id only is told of by others, and never watched
    if peer and not peer.startswith("id:") and peer not in there.peers:
        return THE_PEER_IS_GONE
    collection = "" if may_be_missing else labels.get("collection", "")
    if collection and there.collections is not None and collection not in there.collections:
        return THE_COLLECTION_IS_GONE
    return ""
