"""The settings of one watched Qdrant deployment: peers, keys, TLS, collections, pace.

A bound or a default has its reason beside it. What concerns several keys of a cluster,
or several clusters, is in `checks.py`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from exporter.config.addresses import authority_of
from exporter.config.fields import (
    AnyPath,
    ClusterName,
    CollectionName,
    Count,
    ExistingFile,
    PeerName,
    PeerUrl,
    Ratio,
    Seconds,
    Section,
    Size,
    Text,
    UrlTemplate,
    within,
)
from exporter.config.probes import ProbesSettings
from exporter.config.quantities import format_duration, format_size
from exporter.config.secret import Secret

SOURCES = (
    "healthz",
    "cluster",
    "telemetry",
    "segments",
    "optimizations",
    "memory",
    "aliases",
    "snapshots",
    "issues",
    "quotas",
    "disk",
)

# Without these three there is neither `qdrantx_up` nor any logical number.
INDISPENSABLE_SOURCES = ("healthz", "cluster", "telemetry")

_MEBIBYTE = 1 << 20


def _disabled_source(name: str) -> str:
    if name in INDISPENSABLE_SOURCES:
        raise ValueError(f"the source {name} cannot be switched off: everything else stands on it")
    if name not in SOURCES:
        possible = ", ".join(source for source in SOURCES if source not in INDISPENSABLE_SOURCES)
        raise ValueError(f"there is no such source; write one of {possible}")
    return name


class PeerSettings(Section):
    """One Qdrant node. In the file, a URL alone stands for a peer that has nothing but it."""

    url: PeerUrl
    name: PeerName | None = None
    # Where this peer's storage is mounted on our own host; free disk is read there.
    storage_path: AnyPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_url_alone(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """The `peer` label of this peer's metrics: its name, else host:port."""
        return self.name or authority_of(self.url)


class DiscoverySettings(Section):
    """Finding the other peers of a cluster in GET /cluster."""

    enabled: bool = True
    url_template: UrlTemplate | None = None


class TlsSettings(Section):
    """How https to the peers is checked, and who we say we are."""

    ca_file: ExistingFile | None = None
    cert_file: ExistingFile | None = None
    key_file: ExistingFile | None = None
    server_name: Text | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if self.cert_file and not self.key_file:
            raise ValueError("cert_file needs its key_file: write both or neither")
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs its cert_file: write both or neither")
        return self


class CollectionSettings(Section):
    """Which collections are watched. Patterns are shell globs over the whole name, case matters."""

    include: tuple[Text, ...] = ("*",)
    exclude: tuple[Text, ...] = ()
    expected: tuple[CollectionName, ...] = ()
    # 40 series a collection make 200,000, which Prometheus takes in a third of a second.
    # The bound is ten times that: there one scrape fills Prometheus's default 10 s.
    cap: Annotated[Count, within(1, 50_000, reason="40 series a collection are 2 million at 50000")] = 5_000

    @model_validator(mode="after")
    def _expected_is_watched(self) -> Self:
        for name in self.expected:
            if not self.selects(name):
                raise ValueError(
                    "a name in expected is left out by include and exclude;"
                    " take it from expected or let the patterns pass it"
                )
        return self

    def selects(self, name: str) -> bool:
        """The collection of this name is watched: some include matches and no exclude does."""
        return any(fnmatchcase(name, pattern) for pattern in self.include) and not any(
            fnmatchcase(name, pattern) for pattern in self.exclude
        )


class PollSettings(Section):
    """How often, how long and how much. Attributes are seconds and bytes, keys have no unit."""

    # Prometheus's usual scrape interval: a slower one would show the same value twice.
    fast_seconds: Annotated[
        Seconds,
        within(0.1, 300, show=format_duration, reason="Prometheus forgets a series after 5m"),
    ] = Field(default=15.0, validation_alias="fast", serialization_alias="fast")
    # Segments cost the server about 110 ms of CPU at 1,000 collections.
    medium_seconds: Annotated[
        Seconds,
        within(0.1, 3_600, show=format_duration, reason="lag older than an hour warns of nothing"),
    ] = Field(default=60.0, validation_alias="medium", serialization_alias="medium")
    # One call a collection: about 2 s of the server's CPU at 1,000, and it changes rarely.
    slow_seconds: Annotated[
        Seconds,
        within(0.1, 86_400, show=format_duration, reason="what is older than a day helps nobody"),
    ] = Field(default=600.0, validation_alias="slow", serialization_alias="slow")
    # Under the fast interval, so that a silent peer is known before its next poll is due.
    deadline_seconds: Annotated[
        Seconds,
        within(0.1, 300, show=format_duration, reason="a peer that takes longer is down for its users"),
    ] = Field(default=10.0, validation_alias="deadline", serialization_alias="deadline")
    # Healthy answers take milliseconds and a dead peer 0.4 s; a frozen one 9.4 s, not worth waiting for.
    fanout_deadline_seconds: Annotated[
        Seconds,
        within(0.1, 300, show=format_duration, reason="these calls wait for other peers"),
    ] = Field(default=3.0, validation_alias="fanout_deadline", serialization_alias="fanout_deadline")
    # Half at most: the server is there for its users.
    budget_ratio: Annotated[
        Ratio, within(0.0001, 0.5, reason="the share of time in which a peer may work for us")
    ] = 0.01
    # A shard takes about 3 KB of the segments answer: 5,000 collections of 6 shards, about 90 MB.
    response_limit_bytes: Annotated[
        Size,
        within(_MEBIBYTE, 4_096 * _MEBIBYTE, show=format_size, reason="an answer is held in memory whole"),
    ] = Field(
        default=256 * _MEBIBYTE, validation_alias="response_limit", serialization_alias="response_limit"
    )
    disabled_sources: tuple[Annotated[str, AfterValidator(_disabled_source)], ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.fast_seconds <= self.medium_seconds <= self.slow_seconds:
            raise ValueError(
                "write fast <= medium <= slow; they are"
                f" {format_duration(self.fast_seconds)}, {format_duration(self.medium_seconds)}"
                f" and {format_duration(self.slow_seconds)}"
            )
        if self.fanout_deadline_seconds > self.deadline_seconds:
            raise ValueError(
                "write fanout_deadline <= deadline; they are"
                f" {format_duration(self.fanout_deadline_seconds)}"
                f" and {format_duration(self.deadline_seconds)}"
            )
        return self


class ClusterJobsSettings(Section):
    """What jobs need of a cluster beyond what polling needs."""

    # Backing up takes write access to the collections, restoring takes manage. None: the cluster's own.
    api_key: Secret | None = None


class ClusterSettings(Section):
    """One Qdrant deployment under the name its metrics carry in `qdrant_cluster`."""

    name: ClusterName = "default"
    peers: tuple[PeerSettings, ...] = ()
    dns: tuple[PeerUrl, ...] = ()  # the host of each resolves to many peers
    discovery: DiscoverySettings = DiscoverySettings()
    api_key: Secret | None = None
    bearer_token: Secret | None = None
    tls: TlsSettings = TlsSettings()
    collections: CollectionSettings = CollectionSettings()
    poll: PollSettings = PollSettings()
    probes: ProbesSettings = ProbesSettings()
    jobs: ClusterJobsSettings = ClusterJobsSettings()
