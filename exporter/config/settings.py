"""All settings in one tree, and those of the daemon itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from exporter.config.alerting import AlertingSettings
from exporter.config.backup import BackupSettings
from exporter.config.clusters import ClusterSettings
from exporter.config.fields import Directory, ExistingFile, ExternalUrl, ListenAddresses, Section
from exporter.config.jobs import JobSettings
from exporter.config.secret import Secret

# Nothing else that exporters are known to use listens there.
DEFAULT_LISTEN_ADDRESS = ":10633"

LogLevel = Literal["debug", "info", "warn", "error"]
LogFormat = Literal["auto", "json", "console"]


class WebSettings(Section):
    """The daemon's HTTP face."""

    listen_addresses: ListenAddresses = Field(
        default=(DEFAULT_LISTEN_ADDRESS,),
        validation_alias="listen_address",
        serialization_alias="listen_address",
    )
    config_file: ExistingFile | None = None  # TLS and basic auth, see web_file.py
    external_url: ExternalUrl | None = None
    enable_lifecycle: bool = False  # anybody who reaches the port could reload or read the settings


class LogSettings(Section):
    """What is logged, and how it looks on stderr."""

    level: LogLevel = "info"
    format: LogFormat = "auto"  # console on a terminal, JSON elsewhere


class StateSettings(Section):
    """What outlives a restart."""

    dir: Directory | None = None  # None: kept in memory, so a restart forgets peers that are down


class Settings(Section):
    """Everything a person can set. Built by `loader.load`, or directly by our own code."""

    clusters: tuple[ClusterSettings, ...] = ()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    state: StateSettings = StateSettings()
    alerting: AlertingSettings = AlertingSettings()
    backup: BackupSettings = BackupSettings()
    jobs: tuple[JobSettings, ...] = ()

    def secrets(self) -> tuple[Secret, ...]:
        """Return every secret, for the log to know what it must never show."""
        of_clusters = (
            secret
            for cluster in self.clusters
            for secret in (
                cluster.api_key,
                cluster.bearer_token,
                cluster.probes.canary.api_key,
                cluster.jobs.api_key,
            )
            if secret is not None
        )
        return (*of_clusters, *self.alerting.secrets(), *self.backup.secrets())
