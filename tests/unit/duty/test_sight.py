"""Which rules are blind here, and what is said to switch on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.alerting.words import (
    Condition,
    Level,
    Matcher,
    Operand,
    Operator,
    Otherwise,
    Rule,
    Selector,
    When,
)
from exporter.board import Board, BoardView
from exporter.catalog import ALL_SPECS
from exporter.config.alerting import AlertingSettings, ReceiverSettings, SlackSettings
from exporter.config.backup import BackupSettings, StoreSettings
from exporter.config.clusters import ClusterSettings, CollectionSettings, PeerSettings, PollSettings
from exporter.config.jobs import JobSettings
from exporter.config.probes import CanarySettings, ProbeSettings, ProbesSettings, RecallSettings
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.duty.sight import SINCE, needs_of, sights
from exporter.model import Kind, MetricSpec, Observation, ProducerKey, Reading
from exporter.observe.records import SUPPORTED
from exporter.qdrant.versions import Version, parse_version
from tests.kit.clock import ManualClock

SPECS = {spec.name: spec for spec in ALL_SPECS}


class Told:
    """What a peer's telemetry says of itself, as far as it matters here."""

    def __init__(self, version: str) -> None:
        self.version = parse_version(version)


def selector(name: str, **match: str) -> Selector:
    """Select a metric of the catalogue, or one of alerting's own."""
    spec = SPECS.get(name) or MetricSpec(
        name, Kind.GAUGE, "An example", "1 or 0", "this daemon", ("receiver",)
    )
    return Selector(spec, tuple(Matcher(label, value) for label, value in match.items()))


def rule(name: str, **more: Any) -> Rule:
    """A rule on one metric."""
    condition = more.pop("condition", None) or Condition(selector(name), Operator.GREATER)
    return Rule("Example", condition, (Level("warning", 1.0),), **more)


def cluster(name: str = "default", **more: Any) -> ClusterSettings:
    """A cluster of one peer."""
    return ClusterSettings(name=name, peers=(PeerSettings(url=f"http://{name}"),), **more)


def receivers(count: int) -> AlertingSettings:
    """Alerting with so many receivers."""
    slack = SlackSettings(url=Secret("https://h"))
    return AlertingSettings(
        receivers=tuple(ReceiverSettings(name=f"r{number}", slack=slack) for number in range(count))
    )


def blind(subject: Rule, *clusters: ClusterSettings, view: BoardView | None = None, told: int = 1) -> str:
    """Return why a rule is blind there."""
    settings = Settings(clusters=clusters or (cluster(),), alerting=receivers(told))
    return sights([subject], settings, view)[0].blind


def seen(versions: Mapping[str, str], supported: Mapping[tuple[str, str], bool] | None = None) -> BoardView:
    """A Board that heard peers of the cluster `default` say their versions, and what they support."""
    clock = ManualClock()
    board = Board(clock=clock)
    for peer, version in versions.items():
        key = ProducerKey("default", peer, "telemetry")
        board.put(Observation(key, clock.now(), clock.monotonic(), 0.1, 15.0, seen=Told(version)))
    for (peer, source), value in (supported or {}).items():
        labels = ("default", peer, source)
        board.post(ProducerKey(*labels), (Reading(SUPPORTED, labels, float(value)),))
    return board.view()


def off(source: str) -> PollSettings:
    """Polls without a source."""
    return PollSettings(disabled_sources=(source,))


NO_PROBES = ProbesSettings(enabled=False)
NO_RECALL = ProbesSettings(collections=(ProbeSettings(recall=RecallSettings(enabled=False)),))
NO_PATTERN = ProbesSettings(collections=(ProbeSettings(enabled=False),))
CANARY = ProbesSettings(canary=CanarySettings(enabled=True))


@pytest.mark.parametrize(
    ("metric", "settings", "expected"),
    [
        ("qdrantx_up", {}, ""),
        ("qdrantx_consensus_working", {}, ""),
        ("qdrantx_probe_error_ratio", {}, ""),
        ("qdrantx_probe_error_ratio", {"probes": NO_PROBES}, "probes are off; write probes: {enabled: true}"),
        ("qdrantx_peer_probe_duration_seconds", {"probes": NO_PATTERN}, "no pattern of probes.collections"),
        ("qdrantx_recall_ratio", {}, ""),
        ("qdrantx_recall_ratio", {"probes": NO_RECALL}, "recall is off; write recall: {enabled: true}"),
        ("qdrantx_recall_ratio", {"probes": NO_PROBES}, "probes are off"),
        ("qdrantx_canary_failures_total", {}, "the write canary is off; write probes: {canary:"),
        ("qdrantx_canary_failures_total", {"probes": CANARY}, ""),
        ("qdrantx_collection_expected_present", {}, "no collection is expected; name those that must exist"),
        ("qdrantx_collection_expected_present", {"collections": CollectionSettings(expected=("a",))}, ""),
        ("qdrantx_collection_indexing_lag_points", {}, ""),
        ("qdrantx_collection_indexing_lag_points", {"poll": off("segments")}, "the source segments is"),
        ("qdrantx_collection_indexing_stalled", {"poll": off("segments")}, "the source segments is"),
        ("qdrantx_alias_info", {"poll": off("aliases")}, "the source aliases is switched off"),
        ("qdrantx_issues", {"poll": off("issues")}, "the source issues is switched off"),
        ("qdrantx_peer_snapshots", {"poll": off("snapshots")}, "the source snapshots is switched off"),
        ("qdrantx_collection_ram_bytes", {"poll": off("memory")}, "the source memory is switched off"),
        ("qdrantx_peer_disk_free_bytes", {}, "no peer has a storage_path"),
        ("qdrantx_peer_disk_used_ratio", {}, ""),  # a server of 1.19 would tell it
        ("qdrantx_peer_disk_used_ratio", {"poll": off("quotas")}, "nobody tells how full the disk is"),
    ],
)  # fmt: skip
def test_a_rule_whose_number_is_switched_off_is_blind_and_says_what_to_switch_on(
    metric: str, settings: Mapping[str, Any], expected: str
) -> None:
    """From the configuration alone: what `rules list` can say before anything runs."""
    reason = blind(rule(metric), cluster(**settings))

    assert reason.startswith(expected)
    assert bool(reason) is bool(expected)


def test_a_mounted_disk_opens_the_eyes_of_a_rule_on_disks() -> None:
    """Whatever the server's version."""
    peers = (PeerSettings(url="http://a", storage_path=Path("/data")),)
    mounted = ClusterSettings(peers=peers, poll=off("quotas"))

    assert blind(rule("qdrantx_peer_disk_used_ratio"), mounted) == ""
    assert blind(rule("qdrantx_peer_disk_free_bytes"), mounted) == ""


@pytest.mark.parametrize(("resource", "is_blind"), [("disk", True), ("memory", False)])
def test_a_forecast_of_disks_needs_one_and_that_of_memory_does_not(resource: str, is_blind: bool) -> None:
    """One metric, told apart by what the rule selects of it."""
    selected = selector("qdrantx_forecast_full_timestamp_seconds", resource=resource)
    subject = rule("", condition=Condition(selected, Operator.LESS))

    assert bool(blind(subject, cluster(poll=off("quotas")))) is is_blind


def test_a_source_that_every_server_lacks_blinds_and_one_server_that_has_it_is_enough() -> None:
    """`qdrantx_source_supported` says so once a peer was asked."""
    subject = rule("qdrantx_collection_ram_bytes")
    none = seen({"a": "1.17.0", "b": "1.17.0"}, {("a", "memory"): False, ("b", "memory"): False})
    one = seen({"a": "1.17.0", "b": "1.18.0"}, {("a", "memory"): False, ("b", "memory"): True})

    assert blind(subject, view=none) == (
        "no server of the cluster has what the source memory asks; it came with Qdrant 1.18.0, upgrade"
    )
    assert blind(subject, view=one) == ""


def test_a_number_of_newer_servers_blinds_where_all_are_older() -> None:
    """Unknown versions are given the chance."""
    subject = rule("qdrantx_collection_deferred_points")

    assert blind(subject, view=seen({"a": "1.16.3", "b": "1.15.0"})) == (
        "the servers are 1.16.3, and it is told from 1.17.0; upgrade Qdrant"
    )
    assert blind(subject, view=seen({"a": "1.16.3", "b": "1.17.0"})) == ""
    assert blind(subject, view=seen({"a": "dev"})) == ""
    assert blind(subject) == ""


def test_the_table_of_first_versions_says_what_the_metrics_own_words_say() -> None:
    """A metric whose help ends in "since 1.N" is in it with that version, and none else."""
    said = {
        spec.name: Version(1, int(match[1]), 0)
        for spec in ALL_SPECS
        if (match := re.search(r", since 1\.(\d+)(;|$)", spec.what))
    }

    assert dict(SINCE) == said


def test_every_source_of_the_catalogue_that_can_be_switched_off_can_blind() -> None:
    """A new source without a line in the table would leave its rules silent without a word."""
    for spec in ALL_SPECS:
        endpoints = spec.source.removeprefix("GET /telemetry?details_level=3").strip(", ")
        free = ("GET /cluster", "GET /healthz", "this daemon", "measured by probes")
        if (
            endpoints
            and not endpoints.startswith(free)
            and "; GET" not in endpoints
            and "DNS" not in endpoints
        ):
            assert list(needs_of(Selector(spec))), spec.name


@pytest.mark.parametrize(
    "metric", ["qdrantx_receiver_up", "qdrantx_notification_oldest_pending_timestamp_seconds"]
)
def test_an_alert_about_a_receiver_needs_another_one_to_tell(metric: str) -> None:
    """The only receiver cannot tell of itself."""
    subject = rule(metric)

    assert (
        blind(subject, told=1) == "there is no other receiver to tell of it; add one under alerting.receivers"
    )
    assert blind(subject, told=2) == ""


def test_a_rule_sees_where_one_cluster_shows_its_number() -> None:
    """Somewhere is enough; where none does, each says why."""
    subject = rule("qdrantx_probe_error_ratio")
    silent = cluster("a", probes=NO_PROBES)

    assert blind(subject, silent, cluster("b")) == ""
    assert blind(subject, silent, cluster("b", probes=NO_PATTERN)) == (
        "a: probes are off; write probes: {enabled: true};"
        " b: no pattern of probes.collections is enabled; enable one"
    )
    assert blind(subject, silent, cluster("b", probes=NO_PROBES)) == (
        "probes are off; write probes: {enabled: true}"
    )


def test_every_metric_of_a_rule_must_be_there_but_those_it_can_do_without() -> None:
    """`when` with if_unknown holds without its metric, and `or` is a way of its own."""
    lag, recall = selector("qdrantx_collection_indexing_lag_points"), selector("qdrantx_recall_ratio")
    up = selector("qdrantx_up")
    here = cluster(poll=off("segments"))
    joined = ("collection",)

    compared = rule("", condition=Condition(recall, Operator.GREATER, than=Operand(lag, joined)))
    gated = rule("qdrantx_up", when=When(lag, joined, Operator.EQUAL, 0.0))
    loose = rule("qdrantx_up", when=When(lag, joined, Operator.EQUAL, 0.0, if_unknown=True))
    either = rule(
        "", condition=Condition(lag, Operator.GREATER), otherwise=Otherwise(up, Operator.EQUAL, 0.0)
    )

    assert blind(compared, here)
    assert blind(gated, here)
    assert blind(loose, here) == ""
    assert blind(either, here) == ""


def test_a_sight_names_the_metrics_of_its_rule() -> None:
    """For people who look for what a rule is about."""
    subject = rule("qdrantx_up", when=When(selector("qdrantx_peer_answers"), ("peer",), Operator.EQUAL, 1.0))

    found = sights([subject], Settings(clusters=(cluster(),)), None)

    assert [(one.rule, one.metrics) for one in found] == [("Example", ("qdrantx_up", "qdrantx_peer_answers"))]


def job(kind: str, **more: Any) -> JobSettings:
    """A job of one kind, every day."""
    return JobSettings.model_validate({"name": kind, "kind": kind, "schedule": {"every": "1d"}, **more})


@pytest.mark.parametrize(
    ("metric", "level", "jobs", "expected"),
    [
        ("qdrantx_job_last_status", None, (), "there is no job; write one under jobs"),
        ("qdrantx_job_last_status", None, (job("prune"),), ""),
        ("qdrantx_job_last_status", None, (job("prune", cluster="other"),), "there is no job"),
        ("qdrantx_backup_points_change_ratio", None, (job("prune"),), "nothing is backed up"),
        ("qdrantx_backup_points_change_ratio", None, (job("backup"),), ""),
        ("qdrantx_collection_expected_present", None, (job("backup"),), ""),
        ("qdrantx_backup_unverified", "4", (job("backup"),), "no backup is restored in tests"),
        ("qdrantx_backup_unverified", "4", (job("backup"), job("verify", level=3)), "no backup is restored"),
        ("qdrantx_backup_unverified", "4", (job("backup"), job("verify", level=4)), ""),
        ("qdrantx_backup_unverified", "2", (job("backup"),), ""),
    ],
)
def test_a_rule_on_backups_is_blind_without_the_job_that_it_watches(
    metric: str, level: str | None, jobs: tuple[JobSettings, ...], expected: str
) -> None:
    """It says which to write. A job of another cluster opens no eyes here."""
    match = {} if level is None else {"level": level}
    watching = Condition(selector(metric, **match), Operator.EQUAL)
    settings = Settings(clusters=(cluster(),), jobs=jobs)

    reason = sights([rule(metric, condition=watching)], settings, None)[0].blind

    assert reason.startswith(expected)
    assert bool(reason) is bool(expected)


@pytest.mark.parametrize(("stored", "expected"), [(True, ""), (False, "there is no store that says what")])
def test_what_is_not_put_back_is_seen_where_there_is_a_store(stored: bool, expected: str) -> None:
    """Also without a job: people vacuum and import by hand."""
    backup = BackupSettings(store=StoreSettings(url="/backups") if stored else None)
    settings = Settings(clusters=(cluster(),), backup=backup)

    reason = sights([rule("qdrantx_vacuum_intent_opened_timestamp_seconds")], settings, None)[0].blind

    assert reason.startswith(expected)
    assert bool(reason) is bool(expected)
