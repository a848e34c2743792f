"""Documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from exporter.catalog import ALL_SPECS, written_into
from exporter.catalogue import SOURCES
from exporter.config.clusters import SOURCES as CONFIGURABLE
from exporter.model import CLUSTER_LABEL, Evidence

ROOT = Path(__file__).resolve().parent.parent


def test_the_readmes_tables_are_those_of_the_catalogue() -> None:
    """`make catalog` writes them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert written_into(readme) == readme


def test_the_table_of_rules_is_that_of_the_shipped_rules() -> None:
    """`make catalog` writes it; every runbook that it links to is there."""
    table = (ROOT / "alerts" / "README.md").read_text(encoding="utf-8")

    assert written_into(table) == table
    links = re.findall(r"\]\((runbooks/[^)]+)\)", table)
    assert links
    assert [link for link in links if not (ROOT / "alerts" / link).is_file()] == []


def test_every_metric_is_declared_once_and_named_by_the_rules() -> None:
    """Prometheus's naming, our namespace, never the labels that Prometheus's users own."""
    names = [spec.name for spec in ALL_SPECS]

    assert len(names) == len(set(names))
    for spec in ALL_SPECS:
        assert re.fullmatch(r"qdrantx_[a-z0-9_]+", spec.name), spec.name
        assert not {"cluster", "instance", "job"} & set(spec.labels), spec.name
        assert (spec.kind == "counter") == spec.name.endswith("_total"), spec.name
        ours = ((), ("version",), ("alertname",), ("state",), ("receiver",), ("outcome",))
        assert spec.labels[:1] in ((CLUSTER_LABEL,), *ours), spec.name


def test_every_source_can_be_named_in_the_configuration() -> None:
    """One list for people, one for documentation: the same names."""
    assert set(CONFIGURABLE) == {entry.name for entry in SOURCES}


def test_what_was_never_seen_on_a_real_server_says_so_in_the_catalogue() -> None:
    """Quotas came with 1.19, which was only read."""
    unseen = {spec.name for spec in ALL_SPECS if spec.evidence is Evidence.CODE}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert "qdrantx_quota_exceeded" in unseen
    for name in unseen:
        line = next(line for line in readme.splitlines() if line.startswith(f"| `{name}`"))
        assert "read in code only" in line.lower()
