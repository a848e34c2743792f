"""Flags and environment variables laid over the tree of the configuration file.

Flags win over variables, variables over the file. An empty variable counts as unset:
container platforms set variables that nobody filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.config.flags import (
    ALERT_WEBHOOK,
    API_KEY,
    API_KEY_FILE,
    CONFIG_FILE,
    FLAGS,
    NO_DISCOVERY,
    QDRANT_URL,
    STORE,
    Flag,
    FlagKind,
)
from exporter.config.problems import KeyPath, Origin, ProblemList

WRITE_A_CLUSTER = (
    "nothing to watch: give --qdrant.url http://localhost:6333,"
    " or --config.file with a file that has clusters:"
)

# What makes or changes more than one value.
_LAID_BY_HAND = (CONFIG_FILE, QDRANT_URL, API_KEY_FILE, NO_DISCOVERY, STORE, ALERT_WEBHOOK)

WEBHOOK_RECEIVER = "webhook"  # the name of the one that --alert.webhook makes

_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True)
class Given:
    """A value from outside the file, and what it was given by."""

    value: Any
    by: str  # "--log.level" or "QDRANT_EXPORTER_LOG_LEVEL"


def given(flag: Flag, flags: Mapping[str, Any], environment: Mapping[str, str]) -> Given | None:
    """Return what the flag says, else what its variable says, else None."""
    value = flags.get(flag.name)
    if value not in (None, False) and value != () and value != []:
        return Given(_typed(flag, value), flag.option)
    text = environment.get(flag.variable)
    return Given(_typed(flag, text), flag.variable) if text else None


def as_flags(flags: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the flags by which a person's verb finds the same clusters and the same store as we did.

    For commands that are told to people, wherever these are typed: paths are whole, and a key is not among
    them but as a file.
    """
    found: list[str] = []
    for flag in (CONFIG_FILE, QDRANT_URL, API_KEY_FILE, STORE):
        value = given(flag, flags, environment)
        if value is not None:
            values = value.value if flag.repeatable else [value.value]
            for one in values:
                found += [flag.option, _whole_store(one) if flag is STORE else one]
    return tuple(found)


def _whole_store(text: str) -> str:
    """Return a directory as meant from where the command runs, and a URL as it is."""
    return text if "://" in text else str(Path(text).absolute())


def _typed(flag: Flag, value: Any) -> Any:
    if flag.repeatable:
        parts = value.split(",") if isinstance(value, str) else value
        return [part.strip() for part in parts]
    if flag.kind is FlagKind.FILE:
        return str(Path(value).absolute())
    if flag.kind is FlagKind.SWITCH and isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else value
    return value


class Overlay:
    """Changes the tree of one file by what flags and variables say."""

    def __init__(
        self,
        *,
        flags: Mapping[str, Any],
        environment: Mapping[str, str],
        origins: dict[KeyPath, Origin],
        problems: ProblemList,
        needs_cluster: bool = True,
    ) -> None:
        """Without `needs_cluster` there may be nothing to watch: for verbs that only look into a store."""
        self._needs_cluster = needs_cluster
        self._given = {flag.name: given(flag, flags, environment) for flag in (*FLAGS, API_KEY)}
        self._origins = origins
        self._problems = problems

    def lay_over(self, tree: dict[str, Any]) -> None:
        """Put every given value where the file would have it, and name its origin."""
        for flag in FLAGS:
            section, _, key = flag.path.partition(".")
            value = self._given[flag.name]
            if flag not in _LAID_BY_HAND and value is not None:
                self._put(tree, section, key, value)
        if tree.get("clusters") in (None, []):
            self._make_cluster(tree)
        else:
            self._refuse_second_cluster()
        self._switch_discovery_off(tree)
        self._lay_store(tree)
        self._make_receiver(tree)

    def _put(self, tree: dict[str, Any], section: str, key: str, value: Given) -> None:
        if tree.get(section) is None:
            tree[section] = {}
        if isinstance(tree[section], dict):
            tree[section][key] = value.value
            self._name_origin((section, key), value)

    def _name_origin(self, path: KeyPath, value: Given) -> None:
        for known in [known for known in self._origins if known[: len(path)] == path]:
            del self._origins[known]  # the file's lines of what was replaced
        self._origins[path] = Origin(name=value.by)

    def _make_cluster(self, tree: dict[str, Any]) -> None:
        urls = self._given[QDRANT_URL.name]
        if urls is None:
            if self._needs_cluster:
                self._problems.add(("clusters",), WRITE_A_CLUSTER)
            return
        cluster: dict[str, Any] = {"peers": urls.value}
        tree["clusters"] = [cluster]
        self._name_origin(("clusters", 0), urls)
        key, file = self._given[API_KEY.name], self._given[API_KEY_FILE.name]
        if key is not None and file is not None and file.by != API_KEY_FILE.option:
            self._problems.add_at(Origin(name=file.by), (), f"{key.by} is set too; unset one of the two")
        if file is not None:
            cluster["api_key"] = {"file": file.value}
            self._name_origin(("clusters", 0, "api_key"), file)
        elif key is not None:
            cluster["api_key"] = key.value
            self._name_origin(("clusters", 0, "api_key"), key)

    def _refuse_second_cluster(self) -> None:
        for flag, where in ((QDRANT_URL, "peers:"), (API_KEY_FILE, "api_key:"), (API_KEY, "api_key:")):
            value = self._given[flag.name]
            if value is not None:
                self._problems.add_at(
                    Origin(name=value.by),
                    (),
                    "the configuration file has clusters already;"
                    f" write this there, as {where} of its cluster, or take clusters: out of the file",
                )

    def _switch_discovery_off(self, tree: dict[str, Any]) -> None:
        value = self._given[NO_DISCOVERY.name]
        if value is None or value.value is False:
            return
        if value.value is not True:
            self._problems.add_at(Origin(name=value.by), (), "write true or false")
            return
        clusters = tree.get("clusters")
        for cluster in clusters if isinstance(clusters, list) else []:
            if not isinstance(cluster, dict):
                continue
            if cluster.get("discovery") is None:
                cluster["discovery"] = {}
            if isinstance(cluster["discovery"], dict):
                cluster["discovery"]["enabled"] = False

    def _lay_store(self, tree: dict[str, Any]) -> None:
        value = self._given[STORE.name]
        if value is None:
            return
        url = _whole_store(value.value)
        if tree.get("backup") is None:
            tree["backup"] = {}
        backup = tree["backup"]
        if not isinstance(backup, dict):
            return
        if backup.get("store") is None:
            backup["store"] = {}
        if isinstance(backup["store"], dict):
            backup["store"]["url"] = url
            self._name_origin(("backup", "store", "url"), value)

    def _make_receiver(self, tree: dict[str, Any]) -> None:
        value = self._given[ALERT_WEBHOOK.name]
        if value is None:
            return
        if tree.get("alerting") is None:
            tree["alerting"] = {}
        alerting = tree["alerting"]
        if not isinstance(alerting, dict):
            return
        if alerting.get("receivers") in (None, []):
            alerting["receivers"] = [{"name": WEBHOOK_RECEIVER, "webhook": {"url": value.value}}]
            self._name_origin(("alerting", "receivers"), value)
            return
        self._problems.add_at(
            Origin(name=value.by),
            (),
            "the configuration file has receivers already; write this there, as another receiver"
            " with webhook: {url: …}, or take receivers: out of the file",
        )
