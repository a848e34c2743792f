"""Rules as Prometheus rules: expressions, holds, annotations, and the files that are shipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.prometheus import export, expression, write_export
from exporter.alerting.rules.shipped import pack, shipped_rules
from exporter.catalogue import SPECS
from tests.kit.judging import rules_of
from tests.unit.alerting.rules import metrics

EXPRESSIONS = [
    ("metric: lag", "lag > 10"),
    ('metric: lag|match: {collection: [a.b, c], qdrant_cluster: {not: "x\\"y"}}',
     'lag{collection=~"a\\\\.b|c", qdrant_cluster!="x\\"y"} > 10'),
    ("metric: lag|reduce: {fn: min, over: 90s}", "min_over_time(lag[1m30s]) > 10"),
    ("metric: lag|reduce: {fn: max, over: 15m}", "max_over_time(lag[15m]) > 10"),
    ("metric: lag|reduce: {fn: avg, over: 15m, min_samples: 4}",
     "(avg_over_time(lag[15m]) and count_over_time(lag[15m]) >= 4) > 10"),
    ("metric: errors_total|reduce: {fn: increase, over: 1h}", "increase(errors_total[1h]) > 10"),
    ("metric: lag|reduce: {fn: changes, over: 1h}", "changes(lag[1h]) > 10"),
    ("metric: lag|reduce: {fn: ratio_to_max, over: 1h}", "(lag / max_over_time(lag[1h])) > 10"),
    ("metric: full_at|reduce: age", "(time() - full_at) > 10"),
    ("metric: full_at|reduce: until", "(full_at - time()) > 10"),
    ("metric: shards|by: [collection]", "max by (collection) (shards) > 10"),
    ("metric: lag|divided_by: {metric: limit, on: [collection]}",
     "(lag / on (collection) group_left () max by (collection) (limit)) > 10"),
    ("metric: shards|than: {metric: limit, on: [qdrant_cluster, collection]}|levels: {warning: {}}",
     "shards > on (qdrant_cluster, collection) group_left () max by (qdrant_cluster, collection) (limit)"),
    ('metric: lag|or: {metric: queue, op: ">=", threshold: 0.5}', "(lag > 10) or (queue >= 0.5)"),
    ('metric: lag|or: {metric: shards, op: "==", threshold: 1}',
     "(max by (qdrant_cluster, collection) (lag) > 10)"
     " or (max by (qdrant_cluster, collection) (shards) == 1)"),
    ('metric: lag|when: {metric: queue, on: [collection], op: "==", threshold: 0}',
     "(lag > 10) and on (collection) (max by (collection) (queue) == 0)"),
    ('metric: lag|when: {metric: queue, on: [collection], op: "==", threshold: 0, if_unknown: true}',
     "(lag > 10) unless on (collection) (max by (collection) (queue) != 0)"),
    ("metric: qdrantx_replica_state|match: {state: Dead}",
     'max by (qdrant_cluster, collection, shard, peer) (qdrantx_replica_state{state="Dead"}) > 10'),
    ("metric: disk|levels: {warning: {threshold: 0.00001}}", "disk > 1e-05"),
]  # fmt: skip


def loaded(directory: Path, lines: str, *, summary: str = "x") -> RuleSet:
    """Load a file with one rule; its lines are parted by bars."""
    written = lines.split("|")
    if "levels:" not in lines:
        written.append("levels: {warning: {threshold: 10}}")
    written += ['op: ">"', f"annotations: {{summary: '{summary}'}}"]
    body = "".join(f"    {line}\n" for line in written)
    return rules_of(directory, f"rules:\n  - name: Trouble\n{body}", metrics.SPECS)


def alerts_of(ruleset: RuleSet, **options: bool) -> list[dict[str, Any]]:
    """Export and return the alerts that come from the rules' own file."""
    tree = yaml.safe_load(export(ruleset, **options)["rules.yaml"])
    alerts: list[dict[str, Any]] = tree["groups"][0]["rules"]
    return alerts


@pytest.mark.parametrize(("lines", "expected"), EXPRESSIONS)
def test_a_rule_becomes_promql(tmp_path: Path, lines: str, expected: str) -> None:
    """Every reduction, join and condition has its words."""
    [rule] = loaded(tmp_path, lines).rules

    assert expression(rule, rule.levels[0]) == expected


def test_all_of_it_is_valid_for_prometheus(tmp_path: Path) -> None:
    """promtool reads every expression and every template."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    summary = "{{{{x}}}} {value} of {threshold} at {severity}, since {since}"
    for number, (lines, _) in enumerate(EXPRESSIONS):
        write_export(loaded(tmp_path, lines, summary=summary), tmp_path / "out")
        (tmp_path / "out" / "rules.yaml").rename(tmp_path / "out" / f"{number}.yaml")

    files = sorted(str(path) for path in (tmp_path / "out").glob("*.yaml"))
    ran = subprocess.run(["promtool", "check", "rules", *files], capture_output=True, text=True, check=False)

    assert len(files) == len(EXPRESSIONS) + 1
    assert (ran.returncode, ran.stderr) == (0, "")


def test_each_level_is_an_alert_with_its_severity_and_the_rules_labels(tmp_path: Path) -> None:
    """Alertmanager then tells them apart as our own routes do."""
    levels = "levels: {critical: {threshold: 50}, warning: {threshold: 10, for: 5m}}"
    found = alerts_of(loaded(tmp_path, f"metric: lag|{levels}|labels: {{team: search}}|keep_firing_for: 30s"))

    assert [{key: one.get(key) for key in ("alert", "expr", "for", "labels")} for one in found] == [
        {
            "alert": "Trouble",
            "expr": "lag > 50",
            "for": None,
            "labels": {"severity": "critical", "team": "search"},
        },
        {
            "alert": "Trouble",
            "expr": "lag > 10",
            "for": "5m",
            "labels": {"severity": "warning", "team": "search"},
        },
    ]
    assert {one["keep_firing_for"] for one in found} == {"30s"}


@pytest.mark.parametrize(
    ("lines", "holds", "plain"),
    [
        ("metric: disk", "10m", None),
        ("metric: shards", "10m", None),
        ("metric: shards|by: [collection]", None, None),
        ("metric: disk|keep_firing_for: 15m", "15m", "15m"),
        ("metric: disk|keep_firing_for: 5m", "10m", "5m"),
    ],
)
def test_alerts_on_peers_and_shards_are_held_over_gaps(
    tmp_path: Path, lines: str, holds: str | None, plain: str | None
) -> None:
    """Of a restart Prometheus sees a recovery; without the hold it would page twice."""
    ruleset = loaded(tmp_path, lines)

    assert alerts_of(ruleset)[0].get("keep_firing_for") == holds
    assert alerts_of(ruleset, holds_gaps=False)[0].get("keep_firing_for") == plain


@pytest.mark.parametrize(
    ("lines", "summary", "expected"),
    [
        ("metric: lag", "{collection}: {value} (limit {threshold})",
         "{{ $labels.collection }}: {{ $value | humanize }} points (limit 10 points)"),
        ("metric: disk|levels: {warning: {threshold: 0.8}}", "{value} > {threshold}",
         "{{ $value | humanizePercentage }} > 80 %"),
        ("metric: size|levels: {warning: {threshold: 1073741824}}", "{value} > {threshold}",
         "{{ $value | humanize1024 }}B > 1 GiB"),
        ("metric: full_at|reduce: until", "in {eta}, {value}",
         "in {{ $value | humanizeDuration }}, {{ $value | humanizeDuration }}"),
        ("metric: full_at", "at {value}", "at {{ $value | humanizeTimestamp }}"),
        ("metric: lag", "{alertname} {severity} {url}, since {since}", "Trouble warning $QDRANT_URL"),
        ("metric: lag|labels: {team: search}", "{team}", "search"),
        ("metric: lag", "{{{{.}}}}", '{{ "{{" }}.}}'),
        ("metric: lag|than: {metric: limit, on: [collection]}|levels: {warning: {}}", "{threshold}",
         "{{ with printf `max by (collection) (limit{collection=%q})` $labels.collection | query }}"
         "{{ . | first | value | humanize }} points{{ end }}"),
    ],
)  # fmt: skip
def test_annotations_become_templates_of_prometheus(
    tmp_path: Path, lines: str, summary: str, expected: str
) -> None:
    """What Prometheus cannot know is left out with its clause."""
    [alert] = alerts_of(loaded(tmp_path, lines, summary=summary))

    assert alert["annotations"] == {"summary": expected}


@pytest.mark.parametrize(
    ("runbook", "expected"),
    [("DiskUsed", "alerts/runbooks/DiskUsed.md"), ("https://wiki.example/lag", "https://wiki.example/lag")],
)
def test_an_alert_names_its_runbook(tmp_path: Path, runbook: str, expected: str) -> None:
    """The shipped one by its file, another by its address; where there is none nothing is said."""
    [alert] = alerts_of(loaded(tmp_path, f"metric: lag|runbook: {runbook}"))

    assert alert["annotations"]["runbook"] == expected


NOTHING_HAPPENS = """\
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{{series: 'lag{{collection="$(id);`x` a-b.c"}}', values: "99"}}]
    alert_rule_test:
      - eval_time: 0m
        alertname: Trouble
        exp_alerts:
          - exp_labels: {{severity: warning, collection: "$(id);`x` a-b.c"}}
            exp_annotations:
              summary: "$(id);`x` a-b.c"
              action: "curl $QDRANT_URL/collections/__id___x__a-b.c"
"""


def test_a_command_runs_nothing_that_stands_in_a_label(tmp_path: Path) -> None:
    """People paste it into a shell; what they read is the name as it is."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    ruleset = loaded(
        tmp_path, "metric: lag", summary="{collection}', action: 'curl {url}/collections/{collection}"
    )
    write_export(ruleset, tmp_path / "out")
    test = tmp_path / "test.yaml"
    test.write_text(NOTHING_HAPPENS.format(rules=tmp_path / "out" / "rules.yaml"), encoding="utf-8")

    ran = subprocess.run(
        ["promtool", "test", "rules", str(test)], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_two_more_alerts_watch_this_daemon(tmp_path: Path) -> None:
    """Nobody pages about its own death."""
    tree = yaml.safe_load(export(loaded(tmp_path, "metric: lag"))["exporter.yaml"])

    assert [one["alert"] for one in tree["groups"][0]["rules"]] == ["ExporterDown", "EvaluationStalled"]


def test_the_files_in_alerts_prometheus_are_those_that_the_pack_makes() -> None:
    """`make catalog` brings them up to the pack."""
    made = export(load_rules(shipped_rules(), specs=SPECS, overrides={}))
    shipped = {path.name: path.read_text(encoding="utf-8") for path in (pack() / "prometheus").glob("*.yaml")}

    assert shipped == made
