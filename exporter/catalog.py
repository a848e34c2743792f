"""`catalog`: every metric and every source as Markdown, for the README and for people."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.exposition import SPECS as EXPOSITION_SPECS
from exporter.model import Evidence, MetricSpec
from exporter.observe.catalogue import SOURCES, SPECS, SourceEntry
from exporter.qdrant.versions import FIRST_VERSION

ALL_SPECS: tuple[MetricSpec, ...] = (*SPECS, *EXPOSITION_SPECS)


def markdown() -> str:
    """Return both tables, sources first."""
    return "\n".join([*_sources(), "", *_metrics(), ""])


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


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
