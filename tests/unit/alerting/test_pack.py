"""The shipped rules and runbooks: whole, in step with each other, and true to Qdrant's API."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
import yaml

from exporter.alerting.inhibition import NEVER_INHIBITED
from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.shipped import pack, shipped_preset, shipped_rules, shipped_runbook
from exporter.alerting.words import Rule
from exporter.backup.telling import backup_notes
from exporter.backup.words import Level, Proof, StoredSet
from exporter.catalogue import SPECS
from exporter.cli import app
from exporter.config.alerting import AlertingSettings, RuleOverride
from tests.kit.sets import manifest

RULES = {
    "peers": "PeerDown PeerHung AccessDenied PeerNotWatched CrashLoop VersionSkew",
    "consensus": "QuorumLost ConsensusStopped QuorumThin ConsensusDiverged",
    "replicas": "ShardNotLoaded ShardUnavailable UnderReplicated ReplicaDead ReplicaNotHealing "
    "ReplicasDiffer",
    "collections": "CollectionRed CollectionMissing PointsDropped",
    "indexing": "OptimizerNoSpace CollectionAsleep IndexingStalled OptimizerCancelled IndexingLag "
    "DeferredPoints UpdateQueueLong",
    "resources": "DiskUsed DiskFullSoon MemoryHigh",
    "probes": "SearchFailing SearchSlow ServerErrors RecallLow WriteNotVisible",
    "jobs": "BackupOverdue BackupUnproven BackupShrank JobFailing VacuumIntentOpen",
    "daemon": "NotificationsStuck ReceiverRefuses",
}
NAMES = sorted(name for names in RULES.values() for name in names.split())

HEADINGS = (
    "## What it means",
    "## How to see it",
    "## Safe action",
    "## Risky action",
    "## When to ignore it, how to tune it",
)

# The requests that we may tell people to send. All of them were sent to a running 1.18.3, each body as it
# stands in the pack, and answered as the pack says.
ENDPOINTS = (
    "GET /",
    "GET /healthz",
    "GET /stacktrace",
    "GET /telemetry",
    "GET /issues",
    "GET /profiler/slow_requests",
    "GET /cluster",
    "POST /cluster/recover",
    "DELETE /cluster/peer/{peer_id}",
    "GET /aliases",
    "POST /collections/aliases",
    "GET /collections",
    "GET /collections/{name}",
    "PATCH /collections/{name}",
    "GET /collections/{name}/cluster",
    "POST /collections/{name}/cluster",
    "GET /collections/{name}/memory",
    "GET /collections/{name}/optimizations",
    "PUT /collections/{name}/index",
    "POST /collections/{name}/points/count",
    "POST /collections/{name}/points/query",
    "POST /collections/{name}/shards/{shard}/points/count",
    "GET /collections/{name}/snapshots",
    "POST /collections/{name}/snapshots",
    "POST /collections/{name}/snapshots/upload",
    "GET /collections/{name}/snapshots/{snapshot}",
    "DELETE /collections/{name}/snapshots/{snapshot}",
    "GET /snapshots",
    "DELETE /snapshots/{snapshot}",
)
WITHOUT_KEY = ("GET /", "GET /healthz")
PARAMETERS = {"details_level", "timeout", "with", "wait", "priority", "limit"}
OTHER_HOSTS = ("http://localhost:10633/", "https://events.pagerduty.com/")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]{2,}\b")


class Command(NamedTuple):
    """One command that the pack tells somebody to run, and where it stands."""

    where: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}: {' '.join(self.words)}"

    def value_of(self, flag: str) -> str | None:
        """What follows a flag."""
        return self.words[self.words.index(flag) + 1] if flag in self.words else None


class Request(NamedTuple):
    """What a curl command asks of Qdrant."""

    method: str
    path: str
    parameters: tuple[str, ...]


@cache
def shipped(preset: str = "default") -> RuleSet:
    """The shipped rules as they are loaded with nothing configured but a preset."""
    return load_rules(shipped_rules(), specs=SPECS, overrides={}, preset=shipped_preset(preset))


def rule_called(name: str, preset: str = "default") -> Rule:
    """One shipped rule."""
    return next(rule for rule in shipped(preset).rules if rule.name == name)


def blocks_of(runbook: Path, language: str) -> list[str]:
    """What stands between the fences of a language."""
    return [text for found, text in _BLOCK.findall(runbook.read_text(encoding="utf-8")) if found == language]


def restore_command() -> str:
    """What {restore} is filled in with, where there is a backup."""
    proof = Proof(Level.HASHED, 1_800_000_000.0, good=True, problems=(), by="", took_seconds=1.0)
    return backup_notes("prod", [StoredSet(manifest(), (proof,), accepted=False)])["docs"].restore


def commands() -> Iterator[Command]:
    """Every command of the annotations and of the runbooks."""
    for rule in shipped().rules:
        action = dict(rule.annotations)["action"]
        text = action.replace("{url}", "$QDRANT_URL").replace("{{", "{").replace("}}", "}")
        for line in text.replace("{restore}", restore_command()).splitlines():
            begin = re.search(r"\b(curl|qdrant-exporter) ", line)
            assert begin is not None, f"{rule.name} has no command in its action"
            words = shlex.split(re.sub(r"(?<!\{)\{([a-z_]+)\}", r"\1", line[begin.start() :]))
            yield Command(f"{rule.name}, action", tuple(words))
    for name in NAMES:
        for block in blocks_of(shipped_runbook(name), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.partition(" | ")[0], comments=True)
                yield Command(f"{name}.md", tuple(words))


def asked_of_qdrant() -> Iterator[tuple[Command, Request]]:
    """Every curl command that goes to a peer, understood."""
    for command in commands():
        url = next((word for word in command.words if "://" in word or word.startswith("$QDRANT_URL")), "")
        if command.words[0] == "curl" and not url.startswith(OTHER_HOSTS):
            assert url.startswith("$QDRANT_URL/"), command
            path, _, query = url.removeprefix("$QDRANT_URL").partition("?")
            sends = any(flag in command.words for flag in ("-d", "-F"))
            method = command.value_of("-X") or ("POST" if sends else "GET")
            parameters = tuple(part.partition("=")[0] for part in query.split("&") if part)
            yield command, Request(method, path, parameters)


def endpoint_of(request: Request) -> str | None:
    """The endpoint of the list that a request goes to; a literal segment wins over a placeholder."""
    for endpoint in sorted(ENDPOINTS, key=lambda entry: entry.count("{")):
        method, path = endpoint.split(" ")
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        if request.method == method and re.fullmatch(pattern, request.path):
            return endpoint
    return None


def test_the_pack_has_the_rules_that_it_should_have() -> None:
    """Their names are what people write into silences and routes: none changes or goes by accident."""
    by_file = {
        file.stem: " ".join(rule["name"] for rule in yaml.safe_load(file.read_text())["rules"])
        for file in shipped_rules()
    }

    assert by_file == RULES
    assert sorted(rule.name for rule in shipped().rules) == NAMES


def test_every_rule_has_a_runbook_and_every_runbook_a_rule() -> None:
    """A page with a link to nothing is worse than none."""
    runbooks = sorted(path.stem for path in (pack() / "runbooks").glob("*.md"))

    assert sorted(rule.runbook for rule in shipped().rules) == runbooks
    assert runbooks == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_has_its_five_parts_in_order_and_fits_a_screen_or_two(name: str) -> None:
    """Whoever is woken knows where to look."""
    lines = shipped_runbook(name).read_text(encoding="utf-8").splitlines()

    assert lines[0] == f"# {name}"
    assert tuple(line for line in lines if line.startswith("## ")) == HEADINGS
    assert 30 <= len(lines) <= 70
    assert all(len(line) <= 120 or "curl" in line or "-d '" in line for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_says_what_is_wrong_what_that_means_and_what_to_do_first(name: str) -> None:
    """The summary is one line that names what the alert is about."""
    rule = rule_called(name)
    told = dict(rule.annotations)

    assert set(told) == {"summary", "description", "action"}
    assert "\n" not in told["summary"]
    assert len(told["summary"]) <= 120
    assert any(
        f"{{{label}}}" in told["summary"] for label in ("collection", "peer", "qdrant_cluster", "receiver")
    )
    assert told["description"].endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_says_the_severities_of_its_rule_in_its_first_sentence(name: str) -> None:
    """Text and rule cannot drift apart in what wakes people."""
    lines = shipped_runbook(name).read_text(encoding="utf-8").partition("\n## ")[0].lower()

    told = {severity for severity in ("critical", "error", "warning", "info") if f"{severity}" in lines}
    assert told >= {level.severity for level in rule_called(name).levels}
    assert not told & {"critical", "warning"} - {level.severity for level in rule_called(name).levels}


def test_no_pair_hides_what_must_always_be_told() -> None:
    """And a dead peer explains what follows from it."""
    pairs = {(pair.source, pair.target) for pair in shipped().inhibits}

    assert not {target for _, target in pairs} & set(NEVER_INHIBITED)
    assert {
        ("AccessDenied", "PeerDown"),
        ("AccessDenied", "PeerHung"),
        ("PeerHung", "PeerDown"),
        ("PeerDown", "ReplicaDead"),
        ("PeerDown", "ReplicaNotHealing"),
        ("PeerDown", "UnderReplicated"),
        ("PeerDown", "QuorumThin"),
        ("OptimizerNoSpace", "CollectionRed"),
    } <= pairs


def test_with_the_preset_of_the_guide_its_four_limits_are_in_force() -> None:
    """Lag 10,000 points, p95 100 ms critical, error ratio 1 %, disk 80 %."""
    limits = {
        (name, level.severity): level.threshold
        for name in ("IndexingLag", "SearchSlow", "ServerErrors", "DiskUsed")
        for level in rule_called(name, "guide").levels
    }

    assert limits["IndexingLag", "warning"] == 10_000
    assert limits["SearchSlow", "critical"] == 0.1
    assert limits["ServerErrors", "warning"] == 0.01
    assert limits["DiskUsed", "warning"] == 0.8


def test_every_change_that_a_runbook_shows_can_be_made() -> None:
    """What is pasted from it into a configuration must not be refused."""
    for name in NAMES:
        for block in blocks_of(shipped_runbook(name), "yaml"):
            written = AlertingSettings.model_validate(yaml.safe_load(block)["alerting"])
            overrides: dict[str, RuleOverride] = written.rules

            rules = load_rules(shipped_rules(), specs=SPECS, overrides=overrides)

            assert set(overrides) == {name}
            assert rule_called(name) not in rules.rules


def test_every_request_goes_to_an_endpoint_that_exists() -> None:
    """Qdrant answers a route that it does not know with 404 and nothing else."""
    unknown = [
        str(command)
        for command, request in asked_of_qdrant()
        if endpoint_of(request) is None or not PARAMETERS.issuperset(request.parameters)
    ]

    assert unknown == []


def test_every_endpoint_of_the_list_is_used() -> None:
    """What nobody is told to call needs no checking."""
    used = {endpoint_of(request) for _, request in asked_of_qdrant()}

    assert set(ENDPOINTS) - used == set()


def test_every_request_carries_the_key_unless_none_is_needed() -> None:
    """A command that answers 401 at night helps nobody."""
    keyless = {
        endpoint_of(request)
        for command, request in asked_of_qdrant()
        if "api-key: $QDRANT_API_KEY" not in command.words
    }

    assert keyless <= set(WITHOUT_KEY)


def test_every_body_is_json_and_said_to_be() -> None:
    """Qdrant refuses a body of another content type."""
    for command, _ in asked_of_qdrant():
        body = command.value_of("-d")
        if body is not None:
            assert "content-type: application/json" in command.words, command
            assert isinstance(json.loads(_as_values(body)), dict), command


def _as_values(body: str) -> str:
    """The body with what a person has to put in filled: a number where it stands bare."""
    return _PLACEHOLDER.sub("1", body)


def test_every_verb_of_ours_exists() -> None:
    """Also those with a verb below them, and their flags."""
    for command in commands():
        if command.words[0] == "qdrant-exporter":
            found = typer.main.get_command(app)
            for word in command.words[1:]:
                below = getattr(found, "commands", None)  # of a verb that only has others below it
                if below is not None:
                    assert word in below, command
                    found = below[word]
            flags = {option for parameter in found.params for option in parameter.opts}
            assert {word for word in command.words if word.startswith("--")} <= flags, command


def test_a_stopped_consensus_is_met_with_no_restart() -> None:
    """A peer that is restarted then does not start again."""
    told = dict(rule_called("ConsensusStopped").annotations)
    runbook = shipped_runbook("ConsensusStopped").read_text(encoding="utf-8")

    assert "restart NO peer" in told["summary"]
    assert told["action"].startswith("Restart no peer.")
    assert "Restart NO peer" in runbook.partition("## What it means")[0]


def test_nobody_is_told_to_send_what_stops_consensus() -> None:
    """priority=replica into a new name was seen to stop it on every peer."""
    assert [str(command) for command in commands() if "priority=replica" in str(command)] == []


def test_nobody_is_told_to_force_a_peer_out() -> None:
    """The text warns of it; the commands leave the server's own check on."""
    assert [str(command) for command in commands() if "force=" in str(command)] == []
