"""Every metric this daemon can show: one list, from which documentation and checks are made."""

from __future__ import annotations

from exporter.model import MetricSpec
from exporter.observe import records
from exporter.observe.derived import collections, consensus, deriver, optimizer, replicas, traffic
from exporter.observe.sources import aliases, cluster, disk, healthz, snapshots
from exporter.observe.sources.telemetry import TelemetrySource

SPECS: tuple[MetricSpec, ...] = (
    *records.SPECS,
    *healthz.Healthz.specs,
    *TelemetrySource.specs,
    *disk.DiskSource.specs,
    *cluster.Cluster.specs,
    *consensus.SPECS,
    *deriver.SPECS,
    *collections.SPECS,
    *replicas.SPECS,
    *optimizer.SPECS,
    *traffic.SPECS,
    *snapshots.SnapshotsSource.specs,
    *aliases.AliasesSource.specs,
)
