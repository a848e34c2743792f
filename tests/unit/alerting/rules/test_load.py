"""Loading rules: what arrives, what is changed by preset and overrides, and all that can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.alerting.inhibition import Pair
from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.words import Level, Matcher, OnMissing, Operator, Reduce
from exporter.config.alerting import InhibitSettings, LevelOverride, RuleOverride
from exporter.errors import ConfigError
from tests.kit.judging import rules_of
from tests.unit.alerting.rules.bad_rules import BAD_PAIRS, BAD_RULES
from tests.unit.alerting.rules.metrics import DISK, ERRORS, LAG, LIMIT, QUEUE, SPECS

EVERYTHING = """\
rules:
  - name: Lagging
    metric: lag
    match: {collection: {not_regex: "tmp_.*"}, qdrant_cluster: [shop, archive]}
    reduce: {fn: avg, over: 15m, min_samples: 3}
    by: [collection, qdrant_cluster]
    divided_by: {metric: limit, on: [qdrant_cluster, collection]}
    op: ">"
    or: {metric: queue, op: ">=", threshold: 3}
    when:
      metric: queue
      reduce: {fn: max, over: 5m}
      on: [qdrant_cluster]
      op: "=="
      threshold: 0
      if_unknown: true
    levels:
      warning: {threshold: 10, clear: 7, for: 15m}
      critical: {threshold: 50, for: 5m}
    keep_firing_for: 1m
    on_missing: resolve
    labels: {team: search}
    annotations: {summary: "{collection}: {value} ({team})"}
    runbook: IndexingLag
"""

PLAIN = """\
rules:
  - name: Lagging
    metric: lag
    op: ">"
    levels: {critical: {threshold: 50, for: 1m}, warning: {threshold: 10, clear: 7, for: 2m}}
    annotations: {summary: x}
  - {name: Full, metric: disk, op: ">", levels: {warning: {threshold: 1, for: 5m}}, annotations: {summary: x}}
"""


def problems_of(directory: Path, text: str, **options: object) -> list[str]:
    """Return what is said about bad rules, without the directory's name."""
    try:
        rules_of(directory, text, SPECS, **options)  # type: ignore[arg-type]
    except ConfigError as error:
        return [str(problem).replace(f"{directory}/", "") for problem in error.problems]
    return []


def one_rule(*lines: str) -> str:
    """Return a file with one rule whose lines replace or follow those of a good one."""
    good = {
        "name": "Lagging",
        "metric": "lag",
        "op": '">"',
        "levels": "{warning: {threshold: 10}}",
        "annotations": '{summary: "x"}',
    }
    for line in lines:
        key, _, value = line.partition(": ")
        good[key] = value
    body = "".join(f"    {key}: {value}\n" for key, value in good.items() if value != "-")
    return f"rules:\n  -\n{body}"


def test_everything_that_can_be_written_arrives(tmp_path: Path) -> None:
    """Levels are put in order, the worst first; labels of `by` in the order of the metric."""
    [rule] = rules_of(tmp_path, EVERYTHING, SPECS).rules
    condition = rule.condition

    assert rule.name == "Lagging"
    assert condition.selector.spec is LAG
    assert condition.selector.match == (
        Matcher("collection", "tmp_.*", regex=True, negative=True),
        Matcher("qdrant_cluster", "shop|archive", regex=True),
    )
    assert (condition.selector.reduce, condition.selector.window_seconds) == (Reduce.AVG, 900)
    assert condition.selector.min_samples == 3
    assert condition.by == ("qdrant_cluster", "collection")
    assert condition.divided_by is not None
    assert condition.divided_by.selector.spec is LIMIT
    assert rule.otherwise is not None
    assert rule.otherwise.selector.spec is QUEUE
    assert rule.when is not None
    assert (rule.when.on, rule.when.op, rule.when.if_unknown) == (("qdrant_cluster",), Operator.EQUAL, True)
    assert rule.levels == (Level("critical", 50, None, 300), Level("warning", 10, 7, 900))
    assert (rule.keep_firing_for_seconds, rule.on_missing) == (60, OnMissing.RESOLVE)
    assert (rule.labels, rule.runbook) == ((("team", "search"),), "IndexingLag")
    assert rule.source == f"{tmp_path}/rules.yaml:2"


def test_a_rule_needs_little(tmp_path: Path) -> None:
    """The rest has defaults; no runbook of that name is shipped, and a link to it would be dead."""
    [rule] = rules_of(tmp_path, one_rule(), SPECS).rules

    assert (rule.condition.selector.reduce, rule.on_missing, rule.runbook) == (
        Reduce.LAST, OnMissing.HOLD, "",
    )  # fmt: skip
    assert rule.levels == (Level("warning", 10),)


@pytest.mark.parametrize(
    ("lines", "runbook"),
    [
        (("name: DiskUsed",), "DiskUsed"),
        (("name: DiskUsed", "runbook: DiskFullSoon"), "DiskFullSoon"),
        (("runbook: https://wiki.example/lag#steps",), "https://wiki.example/lag#steps"),
    ],
)
def test_a_runbook_is_a_shipped_one_or_a_page_of_ones_own(
    tmp_path: Path, lines: tuple[str, ...], runbook: str
) -> None:
    """One of the rule's own name needs no word."""
    [rule] = rules_of(tmp_path, one_rule(*lines), SPECS).rules

    assert rule.runbook == runbook


def test_a_later_files_rule_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    """Whoever wants another condition under a shipped name writes it anew."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(PLAIN, encoding="utf-8")
    second.write_text(one_rule("metric: queue"), encoding="utf-8")

    rules = load_rules([first, second], specs=SPECS, overrides={}).rules

    assert [(rule.name, rule.condition.selector.spec) for rule in rules] == [
        ("Lagging", QUEUE),
        ("Full", DISK),
    ]


def test_overrides_change_what_a_preset_changed(tmp_path: Path) -> None:
    """The preset first, then what the person wrote."""
    preset = "rules: {Lagging: {levels: {critical: {threshold: 90}, warning: {threshold: 20, clear: 15}}}}"
    overrides = {
        "Lagging": RuleOverride(
            levels={"warning": LevelOverride(threshold=30, for_seconds=120)},
            keep_firing_for_seconds=60,
            labels={"team": "search"},
        )
    }

    rule = rules_of(tmp_path, PLAIN, SPECS, overrides=overrides, preset=preset).rules[0]

    assert rule.levels == (Level("critical", 90, None, 60), Level("warning", 30, 15, 120))
    assert (rule.keep_firing_for_seconds, rule.labels) == (60, (("team", "search"),))


def test_a_rule_can_be_switched_off_and_takes_its_inhibition_with_it(tmp_path: Path) -> None:
    """No pair is left that names it."""
    text = f"{PLAIN}inhibit: [{{source: Lagging, target: Full, equal: [qdrant_cluster]}}]\n"
    whole = rules_of(tmp_path, text, SPECS)
    assert whole.inhibits == (Pair("Lagging", "Full", ("qdrant_cluster",)),)

    left = rules_of(tmp_path, text, SPECS, overrides={"Lagging": RuleOverride(enabled=False)})

    assert left == RuleSet(whole.rules[1:], ())


def test_pairs_of_the_configuration_are_checked_and_added(tmp_path: Path) -> None:
    """Beside those of the files."""
    file = tmp_path / "rules.yaml"
    file.write_text(PLAIN, encoding="utf-8")
    good = InhibitSettings(source="Lagging", target="Full", equal=("qdrant_cluster",))
    bad = InhibitSettings(source="Laging", target="Full", equal=("qdrant_cluster",))

    assert len(load_rules([file], specs=SPECS, overrides={}, inhibits=[good]).inhibits) == 1
    with pytest.raises(ConfigError) as refusal:
        load_rules([file], specs=SPECS, overrides={}, inhibits=[good, bad])
    assert str(refusal.value) == ("alerting.inhibit.1.source: there is no rule Laging; did you mean Lagging?")


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    """With its place, in the order of the lines."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(one_rule("metric: lagg", "levels: {warning: {treshold: 1}}"), encoding="utf-8")
    second.write_text(one_rule("metric: lagg", "op: over") + one_rule()[7:] * 2, encoding="utf-8")

    with pytest.raises(ConfigError) as refusal:
        load_rules([first, second], specs=SPECS, overrides={"Other": RuleOverride()})

    assert [str(problem).replace(f"{tmp_path}/", "") for problem in refusal.value.problems] == [
        "first.yaml:4: rules.0.metric: there is no such metric; did you mean lag?",
        "first.yaml:6: rules.0.levels.warning.treshold: there is no such key; did you mean threshold?",
        "second.yaml:4: rules.0.metric: there is no such metric; did you mean lag?",
        "second.yaml:5: rules.0.op: write one of '>', '>=', '<', '<=', '==' or '!='",
        "second.yaml:9: rules.1.name: this file has a rule Lagging already; rename one",
        "second.yaml:15: rules.2.name: this file has a rule Lagging already; rename one",
        "alerting.rules.Other: there is no such rule; known here: Lagging",
    ]


@pytest.mark.parametrize(("lines", "message"), BAD_RULES, ids=lambda value: str(value)[:60])
def test_a_bad_rule_is_refused_with_what_to_write(
    tmp_path: Path, lines: tuple[str, ...], message: str
) -> None:
    """Exactly one problem, at its place."""
    [told] = problems_of(tmp_path, one_rule(*lines))

    place, _, rest = told.partition(": rules.0.")
    assert rest == message
    assert place.startswith("rules.yaml:")


@pytest.mark.parametrize(("pair", "message"), BAD_PAIRS)
def test_a_bad_pair_of_inhibition_is_refused(tmp_path: Path, pair: str, message: str) -> None:
    """A source must be known before what it explains pages."""
    told = problems_of(tmp_path, f"{PLAIN}inhibit:\n  - {pair}\n")

    assert told == [f"rules.yaml:9: inhibit.0.{message}"]


@pytest.mark.parametrize("name", ["QuorumLost", "ConsensusStopped", "ShardUnavailable", "CollectionMissing"])
def test_four_alerts_are_always_told(tmp_path: Path, name: str) -> None:
    """Nothing explains them away."""
    text = PLAIN.replace("Full", name) + (
        f"inhibit: [{{source: Lagging, target: {name}, equal: [qdrant_cluster]}}]\n"
    )

    assert problems_of(tmp_path, text) == [
        f"rules.yaml:8: inhibit.0.target: {name} is always told: nothing explains it away; remove the pair"
    ]


def test_overrides_are_checked_where_they_are_written(tmp_path: Path) -> None:
    """Of a preset the file and line are told, of the configuration the path."""
    overrides = {"Lagging": RuleOverride(levels={"warning": LevelOverride(threshold=5)})}
    preset = "rules:\n  Fulll: {}\n  Full: {levels: {critical: {threshold: 1}}}\n"

    assert problems_of(tmp_path, PLAIN, overrides=overrides, preset=preset) == [
        "preset.yaml:2: rules.Fulll: there is no such rule; did you mean Full?",
        "preset.yaml:3: rules.Full.levels.critical: Full has no such level; known here: warning",
        "alerting.rules.Lagging.levels.warning.clear: an alert on > ends below its threshold:"
        " write 5 or less",
    ]


@pytest.mark.parametrize("name", ["qdrant_cluster", "collection"])
def test_an_override_takes_no_name_of_the_metrics_own_labels(tmp_path: Path, name: str) -> None:
    """One that the rule leaves out neither: it would be read as the series' own."""
    overrides = {"Lagging": RuleOverride(labels={name: "x"})}
    text = one_rule("by: [qdrant_cluster]")

    [told] = problems_of(tmp_path, text, overrides=overrides)

    assert told.startswith(f"alerting.rules.Lagging.labels.{name}: ")
    assert told.endswith("choose another")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- x", "rules.yaml: write keys and values here, one `key: value` a line"),
        ("rules: {a: b}", "rules.yaml:1: rules: write a list here, one `- item` a line"),
        ("rule: []", "rules.yaml:1: rule: there is no such key; did you mean rules?"),
        ("rules: [", "rules.yaml:1: this is not YAML: look for a missing colon, quote or bracket, or wrong"
         " indentation; inside { } and [ ], ${NAME} needs quotes"),
    ],
)  # fmt: skip
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Without a traceback."""
    assert problems_of(tmp_path, text)[0] == message


def test_an_empty_file_has_no_rules(tmp_path: Path) -> None:
    """It may be that everything in it was commented out."""
    assert rules_of(tmp_path, "# nothing\n", SPECS) == RuleSet(())


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """Which one, and why."""
    with pytest.raises(ConfigError, match=r"missing\.yaml.*cannot be read"):
        load_rules([tmp_path / "missing.yaml"], specs=SPECS, overrides={})


def test_a_counter_has_an_increase(tmp_path: Path) -> None:
    """And its labels can be left out."""
    [rule] = rules_of(
        tmp_path, one_rule("metric: errors_total", "reduce: {fn: increase, over: 5m}", "by: [peer]"), SPECS
    ).rules

    assert (rule.condition.selector.spec, rule.condition.by) == (ERRORS, ("peer",))
