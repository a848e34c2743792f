"""`catalog`: every source, metric and alert rule as Markdown, for the documents and for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from exporter.catalogue import SOURCES, SPECS, SourceEntry
from exporter.config.alerting import AlertingSettings
from exporter.duty.rule_words import level_in_words, waits_in_words
from exporter.duty.rules_in_force import rules_in_force
from exporter.exposition import SPECS as EXPOSITION_SPECS
from exporter.model import Evidence, MetricSpec
from exporter.qdrant.versions import FIRST_VERSION

ALL_SPECS: tuple[MetricSpec, ...] = (*SPECS, *EXPOSITION_SPECS)


def markdown() -> str:
    """Return all tables: sources, metrics, rules."""
    return f"{metrics_markdown()}\n{rules_markdown()}"


def metrics_markdown() -> str:
    """Return the tables of sources and metrics."""
    return "\n".join([*_sources(), "", *_metrics(), ""])


def rules_markdown() -> str:
    """Return the table of the shipped rules, a row for each level."""
    return "\n".join([*_rules(), ""])


# What stands between two such lines of a document is written by `make catalog`.
PARTS: Mapping[str, Callable[[], str]] = {"catalog": metrics_markdown, "rules": rules_markdown}


def written_into(document: str) -> str:
    """Return the document with the tables between its marks. Raises ValueError where it has none."""
    found = False
    for name, made in PARTS.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        if begin in document and end in document:
            found = True
            head, _, rest = document.partition(begin)
            document = f"{head}{begin}{made()}{end}{rest.partition(end)[2]}"
    if not found:
        raise ValueError("the document lacks the lines <!-- NAME --> and <!-- /NAME --> around a table")
    return document


def _sources() -> Iterator[str]:
    yield "| source | asks | pace | speaks for | servers |"
    yield "|---|---|---|---|---|"
    for entry in SOURCES:
        yield f"| `{entry.name}` | {_cell(entry.asks)} | {entry.pace} | {entry.reach} | {_servers(entry)} |"


def _servers(entry: SourceEntry) -> str:
    first = FIRST_VERSION.get(entry.name)
    since = "all from 1.10" if first is None else f"from {first}"
    return since if entry.evidence is Evidence.SEEN else f"{since}; {entry.evidence.value}"


def _metrics() -> Iterator[str]:
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for spec in ALL_SPECS:
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        seen = "" if spec.evidence is Evidence.SEEN else f" *{spec.evidence.value.capitalize()}.*"
        yield f"| `{spec.name}` | {spec.kind} | {labels} | {_cell(spec.help)}{seen} |"


def _rules() -> Iterator[str]:
    yield "| rule | severity | fires when | for | |"
    yield "|---|---|---|---|---|"
    for rule in rules_in_force(AlertingSettings()).rules:
        for level in rule.levels:
            condition, waits = _cell(level_in_words(rule, level)), _cell(waits_in_words(rule, level))
            runbook = f"[runbook](runbooks/{rule.runbook}.md)"
            yield f"| `{rule.name}` | {level.severity} | {condition} | {waits} | {runbook} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(written_into(path.read_text(encoding="utf-8")), encoding="utf-8")
