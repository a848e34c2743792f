"""`catalog`: every metric and every source as Markdown, for the README and for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from exporter.catalogue import SOURCES, SPECS, SourceEntry
from exporter.exposition import SPECS as EXPOSITION_SPECS
from exporter.model import Evidence, MetricSpec
from exporter.qdrant.versions import FIRST_VERSION

# What stands between these two lines of the README is written by `make catalog`.
BEGIN, END = "<!-- catalog -->\n", "<!-- /catalog -->\n"

ALL_SPECS: tuple[MetricSpec, ...] = (*SPECS, *EXPOSITION_SPECS)


def markdown() -> str:
    """Return both tables, sources first."""
    return "\n".join([*_sources(), "", *_metrics(), ""])


def written_into(document: str) -> str:
    """Return the document with the tables between its two marks. Raises ValueError without them."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the line {BEGIN.strip()} or {END.strip()}")
    return f"{head}{BEGIN}{markdown()}{END}{tail}"


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


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(written_into(path.read_text(encoding="utf-8")), encoding="utf-8")
