"""What it takes to poll one target: a door, a gateway, its sources and their intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from exporter.clock import Clock
from exporter.config.clusters import ClusterSettings, PollSettings
from exporter.observe.poller import PeerPoller
from exporter.observe.roster import Target
from exporter.observe.sources.aliases import AliasesSource
from exporter.observe.sources.cluster import Cluster
from exporter.observe.sources.contract import Pace, Source
from exporter.observe.sources.disk import DiskSource, QuotasSource
from exporter.observe.sources.healthz import Healthz
from exporter.observe.sources.issues import IssuesSource
from exporter.observe.sources.memory import MemorySource
from exporter.observe.sources.optimizations import OptimizationsSource
from exporter.observe.sources.segments import SegmentsSource
from exporter.observe.sources.snapshots import SnapshotsSource
from exporter.observe.sources.telemetry import TelemetrySource
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door, Tls
from exporter.qdrant.gateway import Gateway
from exporter.qdrant.lanes import Lanes


@dataclass(slots=True)
class Polled:
    """A target being polled and probed. `task` is None where rounds are driven from outside."""

    target: Target
    gateway: Gateway
    poller: PeerPoller
    lanes: Lanes
    writing: Lanes  # the canary's, with a key that may write
    task: asyncio.Task[None] | None


def sources_of(target: Target, disabled: Sequence[str]) -> list[Source]:
    """Every source to poll at one peer. A configured storage path tells the disk better than quotas."""
    disk: Source = (
        QuotasSource() if target.storage_path is None else DiskSource(storage_path=target.storage_path)
    )
    sources: list[Source] = [
        Healthz(),
        Cluster(),
        TelemetrySource(),
        SegmentsSource(),
        OptimizationsSource(),
        MemorySource(),
        AliasesSource(),
        SnapshotsSource(),
        IssuesSource(),
        disk,
    ]
    return [source for source in sources if source.name not in disabled]


def door_to(target: Target, settings: ClusterSettings) -> Door:
    """How to reach a target. A place that nobody vouches for now gets no secret."""
    tls = settings.tls
    key = settings.api_key.reveal() if settings.api_key and target.key_allowed else None
    token = settings.bearer_token.reveal() if settings.bearer_token and target.key_allowed else None
    return Door(
        url=target.url,
        address=target.address,
        api_key=key,
        bearer_token=token,
        tls=Tls(
            ca_file=tls.ca_file,
            cert_file=tls.cert_file,
            key_file=tls.key_file,
            server_name=tls.server_name,
            insecure_skip_verify=tls.insecure_skip_verify,
        ),
    )


def gateway_to(target: Target, settings: ClusterSettings, clock: Clock) -> Gateway:
    """Build the gateway to a target; it connects at its first call."""
    return Gateway(
        door=door_to(target, settings),
        clock=clock,
        response_limit_bytes=settings.poll.response_limit_bytes,
        fast_seconds=settings.poll.fast_seconds,
    )


def lanes_to(target: Target, settings: ClusterSettings, clock: Clock) -> Lanes:
    """Build the probes' connections to a target; they connect at the first call."""
    return Lanes(door=door_to(target, settings), clock=clock)


def writing_lanes_to(target: Target, settings: ClusterSettings, clock: Clock) -> Lanes:
    """Build the canary's connections to a target, with its own key where it has one."""
    key = settings.probes.canary.api_key
    door = door_to(target, settings)
    if key is not None:
        own_key = key.reveal() if target.key_allowed else None
        door = replace(door, api_key=own_key, bearer_token=None)
    return Lanes(door=door, clock=clock)


def courier_to(target: Target, settings: ClusterSettings, clock: Clock) -> Courier:
    """Build the way of jobs to a target, with their own key where they have one."""
    key = settings.jobs.api_key
    door = door_to(target, settings)
    if key is not None:
        own_key = key.reveal() if target.key_allowed else None
        door = replace(door, api_key=own_key, bearer_token=None)
    return Courier(door=door, clock=clock)


def base_seconds(sources: Sequence[Source], poll: PollSettings) -> dict[str, float]:
    """Return the configured interval of each source, in seconds."""
    paces = {Pace.FAST: poll.fast_seconds, Pace.MEDIUM: poll.medium_seconds, Pace.SLOW: poll.slow_seconds}
    return {source.name: paces[source.pace] for source in sources}
