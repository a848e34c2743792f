"""The ways of jobs to the peers of a watched cluster."""

from __future__ import annotations

from exporter.backup.survey import PeerAt
from exporter.clock import Clock
from exporter.observe.polled import courier_to
from exporter.observe.watch import ClusterWatch


def peers_of(watch: ClusterWatch | None, clock: Clock) -> tuple[PeerAt, ...]:
    """Return every peer that the cluster has, also those that are down, with a courier to each.

    The couriers are the caller's to close. None: a cluster that is watched no more has no peers.
    """
    if watch is None:
        return ()
    return tuple(
        PeerAt(label=target.label, url=target.url, courier=courier_to(target, watch.settings, clock))
        for target in watch.roster.targets()
    )
