"""Every metric this daemon can show: one list, from which documentation and checks are made."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.alerting import records as alerting_records
from exporter.backup import records as backup_records
from exporter.jobs import intent_records
from exporter.jobs import records as job_records
from exporter.model import Evidence, MetricSpec
from exporter.observe import records
from exporter.observe.derived import collections, consensus, deriver, forecast, optimizer, replicas, traffic
from exporter.observe.probes import book, canary_book
from exporter.observe.roster.troubles import MISCONFIGURED
from exporter.observe.sources import cluster, disk, healthz, snapshots
from exporter.observe.sources.aliases import AliasesSource
from exporter.observe.sources.cluster import Cluster
from exporter.observe.sources.contract import Pace, Reach, Source
from exporter.observe.sources.disk import DiskSource, QuotasSource
from exporter.observe.sources.healthz import Healthz
from exporter.observe.sources.issues import IssuesSource
from exporter.observe.sources.memory import MemorySource
from exporter.observe.sources.optimizations import OptimizationsSource
from exporter.observe.sources.segments import SegmentsSource
from exporter.observe.sources.snapshots import SnapshotsSource
from exporter.observe.sources.telemetry import TelemetrySource

SPECS: tuple[MetricSpec, ...] = (
    *records.SPECS,
    *healthz.Healthz.specs,
    *TelemetrySource.specs,
    *disk.DiskSource.specs,
    *cluster.Cluster.specs,
    MISCONFIGURED,
    *consensus.SPECS,
    *deriver.SPECS,
    *collections.SPECS,
    *replicas.SPECS,
    *optimizer.SPECS,
    *traffic.SPECS,
    *forecast.SPECS,
    *snapshots.SnapshotsSource.specs,
    *book.SPECS,
    *canary_book.SPECS,
    *job_records.SPECS,
    *backup_records.SPECS,
    *intent_records.SPECS,
    *alerting_records.SPECS,
)


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One thing polled, for documentation."""

    name: str
    asks: str
    pace: Pace
    reach: Reach
    evidence: Evidence = Evidence.SEEN


def _entry(source: Source | type[DiskSource], asks: str, evidence: Evidence = Evidence.SEEN) -> SourceEntry:
    return SourceEntry(source.name, asks, source.pace, source.reach, evidence)


SOURCES: tuple[SourceEntry, ...] = (
    _entry(Healthz(), "GET /healthz"),
    _entry(Cluster(), "GET /cluster"),
    _entry(TelemetrySource(), "GET /telemetry?details_level=3"),
    _entry(SegmentsSource(), "GET /telemetry?details_level=4"),
    _entry(OptimizationsSource(), "GET /collections/{collection}/optimizations, of what is busy"),
    _entry(MemorySource(), "GET /collections/{collection}/memory"),
    _entry(AliasesSource(), "GET /aliases"),
    _entry(SnapshotsSource(), "GET /snapshots, GET /collections/{collection}/snapshots"),
    _entry(IssuesSource(), "GET /issues"),
    _entry(QuotasSource(), "GET /quotas, where no storage_path is configured", Evidence.CODE),
    _entry(DiskSource, "statvfs of the configured storage_path"),
)
