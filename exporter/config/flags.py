"""The table of flags and environment variables: what the command line and the docs are made of.

No pydantic here: `--help` needs this table at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FlagKind(StrEnum):
    """What a flag takes."""

    TEXT = "text"
    FILE = "file"  # relative paths start where the command is given
    SWITCH = "switch"  # true where it stands; its variable takes true or false


@dataclass(frozen=True, slots=True)
class Flag:
    """One setting that can be given without the configuration file.

    The variable's name follows from the flag's, without exceptions. Its prefix keeps a
    QDRANT_URL or QDRANT_API_KEY that other programs use from changing what is watched.
    """

    name: str  # "web.listen-address": without hyphens in front
    path: str  # in the configuration file: "web.listen_address"
    what: str
    kind: FlagKind = FlagKind.TEXT
    repeatable: bool = False  # in the variable: separated by commas
    choices: tuple[str, ...] = ()
    placeholder: str = ""

    @property
    def option(self) -> str:
        """The flag as typed: --web.listen-address."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable: QDRANT_EXPORTER_WEB_LISTEN_ADDRESS."""
        return "QDRANT_EXPORTER_" + self.name.replace(".", "_").replace("-", "_").upper()


CONFIG_FILE = Flag("config.file", "", "Configuration file (YAML).", FlagKind.FILE, placeholder="FILE")
QDRANT_URL = Flag(
    "qdrant.url",
    "clusters.0.peers",
    "URL of a Qdrant peer; each further one is another peer of the same cluster.",
    repeatable=True,
    placeholder="URL",
)
API_KEY_FILE = Flag(
    "qdrant.api-key-file",
    "clusters.0.api_key",
    "File with the API key for --qdrant.url.",
    FlagKind.FILE,
    placeholder="FILE",
)
NO_DISCOVERY = Flag(
    "qdrant.no-discovery",
    "clusters.*.discovery.enabled",
    "Watch only the peers given, of every cluster; do not look for others in /cluster.",
    FlagKind.SWITCH,
)
STORE = Flag(
    "store",
    "backup.store.url",
    "Where backups lie: a directory, or s3://bucket/prefix.",
    placeholder="DIRECTORY|URL",
)
ALERT_WEBHOOK = Flag(
    "alert.webhook",
    "alerting.receivers.0.webhook.url",
    "Alert: tell this URL, in the shape of Alertmanager's webhook. A secret: rather use the variable.",
    placeholder="URL",
)

FLAGS: tuple[Flag, ...] = (
    CONFIG_FILE,
    QDRANT_URL,
    API_KEY_FILE,
    NO_DISCOVERY,
    STORE,
    ALERT_WEBHOOK,
    Flag(
        "web.listen-address",
        "web.listen_address",
        "Address to listen on; may be repeated.",
        repeatable=True,
        placeholder="HOST:PORT",
    ),
    Flag(
        "web.config.file",
        "web.config_file",
        "File with TLS and basic auth settings, in the format of Prometheus's exporter-toolkit.",
        FlagKind.FILE,
        placeholder="FILE",
    ),
    Flag(
        "web.external-url",
        "web.external_url",
        "URL under which people reach this daemon, shown on the landing page.",
        placeholder="URL",
    ),
    Flag(
        "web.enable-lifecycle",
        "web.enable_lifecycle",
        "Answer POST /-/reload and GET /config also without web authentication.",
        FlagKind.SWITCH,
    ),
    Flag(
        "log.level",
        "log.level",
        "Log messages of this level and above.",
        choices=("debug", "info", "warn", "error"),
    ),
    Flag(
        "log.format",
        "log.format",
        "How log lines look; auto is console on a terminal and json elsewhere.",
        choices=("auto", "json", "console"),
    ),
    Flag(
        "state.dir",
        "state.dir",
        "Directory of what must survive a restart; without it, peers that are down and alerts are forgotten.",
        FlagKind.FILE,
        placeholder="DIRECTORY",
    ),
)

# Variables without a flag: what a command line holds, every user of the machine can read.
API_KEY = Flag("qdrant.api-key", "clusters.0.api_key", "API key for --qdrant.url.")
SECRET_VARIABLES: tuple[Flag, ...] = (API_KEY,)
