"""The rules as Prometheus rules: for those who let Prometheus page, and as the oracle of our own engine.

What Prometheus cannot say is left out: `clear`, `on_missing`, {since}, {changed}, {backup} and {restore}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import Any

import yaml

from exporter.alerting.rules import template
from exporter.alerting.rules.load import RuleSet
from exporter.alerting.rules.meaning import alert_labels, is_aggregated, unit_compared
from exporter.alerting.rules.shipped import is_address
from exporter.alerting.words import (
    ALERTNAME,
    SEVERITY,
    WINDOWED,
    Condition,
    Level,
    Operand,
    Operator,
    Otherwise,
    Reduce,
    Rule,
    Selector,
    When,
)
from exporter.config.quantities import format_duration

# A peer that is restarted, or a shard of one, is away for minutes: an alert of Prometheus ends then and
# comes again, where ours is undecided and goes on.
GAP_SECONDS = 600.0
LABELS_WITH_GAPS = ("peer", "shard")

OWN_FILE = "exporter"
OWN_RULES: tuple[Mapping[str, Any], ...] = (
    {
        "alert": "ExporterDown",
        "expr": 'up{job=~".*qdrant-exporter.*"} == 0',
        "for": "2m",
        "labels": {"severity": "critical"},
        "annotations": {
            "summary": "qdrant-exporter at {{ $labels.instance }} does not answer: Qdrant is not watched",
            "description": "Nobody looks at Qdrant from there, and nobody is paged. Adapt the job's name.",
            "action": "journalctl -u qdrant-exporter -n 100 || docker logs --tail 100 qdrant-exporter",
        },
    },
    {
        "alert": "EvaluationStalled",
        "expr": "time() - qdrantx_evaluation_last_timestamp_seconds > 180",
        "for": "2m",
        "labels": {"severity": "critical"},
        "annotations": {
            "summary": "qdrant-exporter has evaluated no rule for {{ $value | humanizeDuration }}",
            "description": "It answers scrapes and pages nobody. Its log says why.",
            "action": "journalctl -u qdrant-exporter -n 100 || docker logs --tail 100 qdrant-exporter",
        },
    },
)

_HEAD = "# Made from alerts/rules by `qdrant-exporter rules export`; change those, not this.\n"

_FUNCTIONS = {
    Reduce.MIN: "min_over_time",
    Reduce.MAX: "max_over_time",
    Reduce.AVG: "avg_over_time",
    Reduce.INCREASE: "increase",
    Reduce.CHANGES: "changes",
}
_OPPOSITE = {
    Operator.GREATER: Operator.AT_MOST,
    Operator.AT_LEAST: Operator.LESS,
    Operator.LESS: Operator.AT_LEAST,
    Operator.AT_MOST: Operator.GREATER,
    Operator.EQUAL: Operator.NOT_EQUAL,
    Operator.NOT_EQUAL: Operator.EQUAL,
}


def export(ruleset: RuleSet, *, holds_gaps: bool = True) -> dict[str, str]:
    """Return Prometheus rule files as text, by name: one for each file the rules came from, one group each.

    With `holds_gaps` an alert on a peer or shard goes on for ten minutes after its series went,
    about as long as ours would. The file exporter.yaml has rules about this daemon besides.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for rule in ruleset.rules:
        stem = Path(rule.source.rpartition(":")[0]).stem or OWN_FILE
        groups.setdefault(stem, []).extend(_alerts(rule, holds_gaps=holds_gaps))
    groups.setdefault(OWN_FILE, []).extend(OWN_RULES)
    return {f"{stem}.yaml": _HEAD + _yaml(stem, alerts) for stem, alerts in sorted(groups.items())}


def write_export(ruleset: RuleSet, directory: Path) -> tuple[Path, ...]:
    """Write the files of `export` into a directory and return their paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in export(ruleset).items():
        path = directory / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return tuple(written)


def expression(rule: Rule, level: Level) -> str:
    """Return the PromQL of one level of a rule."""
    text = _main(rule, level)
    if rule.otherwise is not None:
        text = f"({text}) or ({_other(rule, rule.otherwise)})"
    return text if rule.when is None else _limited(text, rule.when)


def _yaml(stem: str, alerts: list[Mapping[str, Any]]) -> str:
    tree = {"groups": [{"name": f"qdrant-exporter-{stem}", "rules": alerts}]}
    return yaml.dump(tree, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=1_000_000)


class _Plain(yaml.SafeDumper):
    """No anchors: a file that people read repeats itself instead."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _alerts(rule: Rule, *, holds_gaps: bool) -> Iterator[Mapping[str, Any]]:
    has_gaps = any(name in alert_labels(rule.condition) for name in LABELS_WITH_GAPS)
    hold = max(rule.keep_firing_for_seconds, GAP_SECONDS if holds_gaps and has_gaps else 0.0)
    for level in rule.levels:
        alert: dict[str, Any] = {"alert": rule.name, "expr": expression(rule, level)}
        if level.for_seconds:
            alert["for"] = format_duration(level.for_seconds)
        if hold:
            alert["keep_firing_for"] = format_duration(hold)
        alert["labels"] = {SEVERITY: level.severity, **dict(rule.labels)}
        alert["annotations"] = {
            name: text
            for name, written in rule.annotations
            if (text := annotation(rule, level, written, is_command=name == template.ACTION))
        }
        if rule.runbook:
            alert["annotations"]["runbook"] = _runbook(rule.runbook)
        yield alert


def _runbook(runbook: str) -> str:
    return runbook if is_address(runbook) else f"alerts/runbooks/{runbook}.md"


# --- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Expression:
    text: str
    is_compound: bool = False

    def __str__(self) -> str:
        """The text as an operand."""
        return f"({self.text})" if self.is_compound else self.text


def _main(rule: Rule, level: Level) -> str:
    condition = rule.condition
    value = _value(condition, aggregates=_aggregates(rule))
    if condition.than is None:
        assert level.threshold is not None
        return f"{value} {condition.op.value} {_number(level.threshold)}"
    than = condition.than
    join = f"on ({', '.join(than.on)}) group_left ()"
    return f"{value} {condition.op.value} {join} {_highest(than.selector, than.on)}"


def _other(rule: Rule, otherwise: Otherwise) -> str:
    names = alert_labels(rule.condition)
    value = _highest(otherwise.selector, names) if _aggregates(rule) else str(_reduced(otherwise.selector))
    return f"{value} {otherwise.op.value} {_number(otherwise.threshold)}"


def _limited(text: str, when: When) -> str:
    on = f"on ({', '.join(when.on)})"
    value = _highest(when.selector, when.on)
    if when.if_unknown:
        return f"({text}) unless {on} ({value} {_OPPOSITE[when.op].value} {_number(when.threshold)})"
    return f"({text}) and {on} ({value} {when.op.value} {_number(when.threshold)})"


def _aggregates(rule: Rule) -> bool:
    """Whether series are brought together by the alert's labels: both sides of an `or`, or neither."""
    other = rule.otherwise
    names = set(alert_labels(rule.condition))
    return is_aggregated(rule.condition) or (other is not None and set(other.selector.spec.labels) != names)


def _value(condition: Condition, *, aggregates: bool) -> _Expression:
    value = _reduced(condition.selector)
    if condition.divided_by is not None:
        value = _divided(value, condition.divided_by)
    if not aggregates:
        return value
    return _Expression(f"max by ({', '.join(alert_labels(condition))}) ({value.text})")


def _divided(value: _Expression, by: Operand) -> _Expression:
    join = f"on ({', '.join(by.on)}) group_left ()"
    return _Expression(f"{value} / {join} {_highest(by.selector, by.on)}", is_compound=True)


def _highest(selector: Selector, kept: tuple[str, ...]) -> str:
    return f"max by ({', '.join(kept)}) ({_reduced(selector).text})"


def _reduced(selector: Selector) -> _Expression:
    series = _series(selector)
    if selector.reduce is Reduce.LAST:
        return _Expression(series)
    if selector.reduce is Reduce.AGE:
        return _Expression(f"time() - {series}", is_compound=True)
    if selector.reduce is Reduce.UNTIL:
        return _Expression(f"{series} - time()", is_compound=True)
    window = f"{series}[{format_duration(selector.window_seconds)}]"
    if selector.reduce is Reduce.RATIO_TO_MAX:
        value = _Expression(f"{series} / max_over_time({window})", is_compound=True)
    else:
        value = _Expression(f"{_FUNCTIONS[selector.reduce]}({window})")
    if selector.min_samples == 1:
        return value
    enough = f"count_over_time({window}) >= {selector.min_samples}"
    return _Expression(f"{value} and {enough}", is_compound=True)


def _series(selector: Selector) -> str:
    inside = ", ".join(str(matcher) for matcher in selector.match)
    return selector.spec.series_name + (f"{{{inside}}}" if inside else "")


def _number(value: float) -> str:
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


# --- annotations ---------------------------------------------------------------------------------


def annotation(rule: Rule, level: Level, written: str, *, is_command: bool = False) -> str:
    """Return an annotation as a template of Prometheus; what it cannot know is left out with its clause.

    In a command no label can run anything in the shell that it is pasted into.
    """
    unit = unit_compared(rule.condition)
    label = _SAFE_LABEL if is_command else "{{{{ $labels.{name} }}}}"
    fields = {
        "value": _humanized("$value", unit),
        "threshold": _limit(rule, level, unit),
        "eta": "{{ $value | humanizeDuration }}",
        "url": "$QDRANT_URL",
        ALERTNAME: rule.name,
        SEVERITY: level.severity,
        **dict(rule.labels),
        **{name: label.format(name=name) for name in alert_labels(rule.condition)},
    }
    return template.fill(template.without(written, template.OURS_ALONE), fields, escape=_escaped)


def _humanized(value: str, unit: str) -> str:
    if unit == "seconds":
        return f"{{{{ {value} | humanizeDuration }}}}"
    if unit == "bytes":
        return f"{{{{ {value} | humanize1024 }}}}B"
    if unit.startswith("ratio"):
        return f"{{{{ {value} | humanizePercentage }}}}"
    if unit.startswith("seconds, Unix time"):
        return f"{{{{ {value} | humanizeTimestamp }}}}"
    word = "" if unit in ("", "1", "1 or 0") else f" {unit}"
    return f"{{{{ {value} | humanize }}}}{word}"


def _limit(rule: Rule, level: Level, unit: str) -> str:
    than = rule.condition.than
    if than is None:
        return template.said(level.threshold, unit)
    names = ", ".join(f"{name}=%q" for name in than.on)
    values = " ".join(f"$labels.{name}" for name in than.on)
    query = f"printf `max by ({', '.join(than.on)}) ({than.selector.spec.series_name}{{{names}}})` {values}"
    if than.selector.reduce in WINDOWED or than.selector.match:
        return "the limit"
    shown = _humanized(". | first | value", unit)
    return f"{{{{ with {query} | query }}}}{shown}{{{{ end }}}}"


# Prometheus quotes nothing, so what a shell could take for more than a name becomes an underscore.
_SAFE_LABEL = '{{{{ reReplaceAll "[^A-Za-z0-9_.:-]" "_" $labels.{name} }}}}'


def _escaped(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')
