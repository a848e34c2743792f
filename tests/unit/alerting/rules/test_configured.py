"""What is not measured any more is gone, whoever remembers that it once was: the configuration says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.alerting.rules.configured import (
    NOT_PROBED,
    SOURCE_IS_OFF,
    reason_not_measured,
)
from exporter.alerting.rules.presence import ClusterPresence
from exporter.catalogue import SPECS
from exporter.config.probes import ProbesSettings
from exporter.model import CLUSTER_LABEL, MetricSpec
from exporter.qdrant.canary import CANARY_COLLECTION
from tests.kit.judging import CLUSTER, Ground, rules_of

SPEC = {spec.name: spec for spec in SPECS}
P95 = SPEC["qdrantx_probe_latency_p95_seconds"]
RECALL = SPEC["qdrantx_recall_ratio"]
CANARY = SPEC["qdrantx_canary_failures_total"]
PROBES = SPEC["qdrantx_probes_total"]
LAG = SPEC["qdrantx_collection_indexing_lag_points"]
DISK = SPEC["qdrantx_peer_disk_used_ratio"]
FREE = SPEC["qdrantx_peer_disk_free_bytes"]
FULL = SPEC["qdrantx_forecast_full_timestamp_seconds"]
UP = SPEC["qdrantx_up"]

WHOLE = ClusterPresence(frozenset({"a", "b"}), frozenset({"docs", "logs"}), ProbesSettings())


def probes(**written: object) -> ProbesSettings:
    """Return settings of probes as a file has them."""
    return ProbesSettings.model_validate(written, by_alias=True, by_name=False)


def ground_of(directory: Path, metric: str) -> Ground:
    """A rule of one level over 1 on a metric of the catalogue."""
    text = (
        f"rules:\n  - {{name: Trouble, metric: {metric}, op: '>', levels: {{warning: {{threshold: 1}}}},"
        " annotations: {summary: x}}\n"
    )
    return Ground(rules_of(directory, text, SPECS))


ONLY_LOGS = {"collections": [{"match": "logs"}]}
DOCS_OFF = {"collections": [{"match": "docs", "enabled": False}, {"match": "*"}]}
NO_RECALL = {"collections": [{"recall": {"enabled": False}}]}
EXACT = {"collections": [{"exact": True}]}
ONE_VECTOR = {"collections": [{"vector": "image"}]}
WITH_CANARY = {"canary": {"enabled": True}}
CANARY_ROUNDS = {"collection": CANARY_COLLECTION, "probe": "canary"}


@pytest.mark.parametrize(
    ("spec", "labels", "written", "is_measured"),
    [
        (P95, {"collection": "docs", "probe": "search"}, {}, True),
        (P95, {"collection": "docs", "probe": "search"}, {"enabled": False}, False),
        (P95, {"collection": "docs", "probe": "search"}, ONLY_LOGS, False),
        (P95, {"collection": "logs", "probe": "search"}, ONLY_LOGS, True),
        (P95, {"collection": "docs", "probe": "search"}, DOCS_OFF, False),
        (P95, {"collection": "docs", "probe": "recall"}, NO_RECALL, False),
        (P95, {}, ONLY_LOGS, True),
        (P95, {}, {"enabled": False}, False),
        (RECALL, {"collection": "docs", "vector": ""}, {}, True),
        (RECALL, {"collection": "docs", "vector": ""}, NO_RECALL, False),
        (RECALL, {"collection": "docs", "vector": ""}, EXACT, False),
        (RECALL, {"collection": "docs", "vector": "text"}, ONE_VECTOR, False),
        (RECALL, {"collection": "docs", "vector": "image"}, ONE_VECTOR, True),
        (RECALL, {"collection": "docs"}, ONE_VECTOR, True),
        (CANARY, {"peer": "a", "phase": "write"}, {}, False),
        (CANARY, {"peer": "a", "phase": "write"}, WITH_CANARY, True),
        (CANARY, {"peer": "a", "phase": "write"}, {"enabled": False, **WITH_CANARY}, False),
        (PROBES, CANARY_ROUNDS, {**ONLY_LOGS, **WITH_CANARY}, True),
        (PROBES, CANARY_ROUNDS, {}, False),
        (UP, {"peer": "a"}, {"enabled": False}, True),
    ],
)
def test_a_probe_is_measured_as_its_settings_say(
    spec: MetricSpec, labels: dict[str, str], written: dict[str, object], is_measured: bool
) -> None:
    """By collection, by vector, by what is compared and by the canary's own switch."""
    there = replace(WHOLE, probes=probes(**written))

    assert reason_not_measured(spec, labels, there) == ("" if is_measured else NOT_PROBED)


@pytest.mark.parametrize(
    ("spec", "peer", "disabled", "mounted", "is_measured"),
    [
        (LAG, None, {"issues"}, (), True),
        (LAG, None, {"segments"}, (), False),
        (FREE, "a", (), ("a",), True),
        (FREE, "b", (), ("a",), False),
        (FREE, "a", {"disk"}, ("a",), False),
        (DISK, "a", {"quotas"}, (), False),
        (DISK, "a", {"quotas"}, ("a",), True),
        (DISK, "b", {"quotas"}, ("a",), False),
        (FULL, "a", {"quotas"}, (), True),  # of memory, telemetry tells it
    ],
)
def test_a_source_that_is_switched_off_tells_nothing_any_more(
    spec: MetricSpec, peer: str | None, disabled: set[str], mounted: tuple[str, ...], is_measured: bool
) -> None:
    """A disk is looked at where it is mounted here; elsewhere the server is asked for its quotas."""
    there = replace(WHOLE, disabled_sources=frozenset(disabled), mounted=frozenset(mounted))

    labels = {} if peer is None else {"peer": peer}
    assert reason_not_measured(spec, labels, there) == ("" if is_measured else SOURCE_IS_OFF)


@pytest.mark.parametrize("is_new", [False, True], ids=["reload", "restart"])
def test_an_alert_on_a_collection_that_is_probed_no_more_ends(tmp_path: Path, is_new: bool) -> None:
    """At once, though the probes of others go on and whoever evaluates is new and remembers nobody."""
    one = ground_of(tmp_path, P95.name)
    labels = {"collection": "docs", "probe": "search"}
    one.post("search:docs", one.reading(P95, 3, **labels))
    one.poll()
    assert one.finding(labels).verdict is True

    one.presence[CLUSTER] = replace(one.presence[CLUSTER], probes=probes(**ONLY_LOGS))
    if is_new:
        one = restarted(one, tmp_path)
    else:
        one.board.forget(CLUSTER)
    one.post("search:logs", one.reading(P95, 0.1, collection="logs", probe="search"))

    assert one.finding(labels).gone == NOT_PROBED


def restarted(before: Ground, directory: Path) -> Ground:
    """The same cluster for a daemon that knows nothing of it yet."""
    after = ground_of(directory, P95.name)
    after.presence = before.presence
    return after


def test_an_alert_ends_whose_source_was_switched_off(tmp_path: Path) -> None:
    """The others answer, and nobody asks this one."""
    one = ground_of(tmp_path, LAG.name)
    labels = {"collection": "docs", "vector": ""}
    one.poll()
    one.presence[CLUSTER] = replace(one.presence[CLUSTER], disabled_sources=frozenset({"segments"}))

    assert one.finding({"collection": "docs"}).gone == SOURCE_IS_OFF
    assert one.finding(labels).gone == SOURCE_IS_OFF


def test_a_source_that_is_off_is_not_waited_for_where_another_tells_the_same(tmp_path: Path) -> None:
    """A forecast of memory is gone when telemetry answers without it."""
    one = ground_of(tmp_path, FULL.name)
    labels = {"peer": "a", "resource": "memory"}
    one.presence[CLUSTER] = replace(one.presence[CLUSTER], disabled_sources=frozenset({"quotas"}))
    assert one.finding(labels).verdict is None
    one.poll(failing=["quotas"])

    assert one.finding(labels).gone == "the series is gone"


def test_nothing_is_said_of_probes_where_nobody_knows_their_settings() -> None:
    """One look has no probes, and no alerts either."""
    there = ClusterPresence(frozenset({"a"}), None)

    assert reason_not_measured(P95, {CLUSTER_LABEL: CLUSTER, "collection": "docs"}, there) == ""
    assert reason_not_measured(P95, {CLUSTER_LABEL: "other"}, None) == ""
