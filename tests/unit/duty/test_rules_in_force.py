"""Which rules a configuration puts in force, and all that is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.alerting import AlertingSettings, LevelOverride, RuleOverride
from exporter.duty.rules_in_force import rules_in_force
from exporter.errors import ConfigError
from tests.unit.config.writing import settings_of

OWN = """\
rules:
  - name: TooManyCollections
    metric: qdrantx_collections
    op: ">"
    levels: {warning: {threshold: 1000, for: 5m}}
    annotations: {summary: "{value} in {qdrant_cluster}", action: "none"}
"""


def test_without_a_word_the_shipped_rules_are_in_force() -> None:
    """One receiver is all that it takes."""
    names = {rule.name for rule in rules_in_force(AlertingSettings()).rules}

    assert {"PeerDown", "QuorumLost", "IndexingLag", "SearchSlow", "DiskUsed"} <= names


def test_a_preset_a_file_and_changes_are_laid_over_them(tmp_path: Path) -> None:
    """In this order: what is written for one rule in the configuration wins."""
    own = tmp_path / "own.yaml"
    own.write_text(OWN, encoding="utf-8")
    changed = RuleOverride(levels={"critical": LevelOverride(for_seconds=90)})

    rules = rules_in_force(
        AlertingSettings(
            preset="guide",
            rule_files=(own,),
            rules={"SearchSlow": changed, "PeerDown": RuleOverride(enabled=False)},
        )
    ).rules

    by_name = {rule.name: rule for rule in rules}
    worst = by_name["SearchSlow"].levels[0]
    assert "PeerDown" not in by_name
    assert by_name["TooManyCollections"].levels[0].threshold == 1000
    assert (worst.severity, worst.threshold, worst.for_seconds) == ("critical", 0.1, 90)


def test_what_is_wrong_in_the_configuration_is_told_with_its_line(tmp_path: Path) -> None:
    """Next to what is wrong in a file of rules."""
    (tmp_path / "own.yaml").write_text(OWN.replace("qdrantx_collections", "qdrantx_colections"))
    text = (
        "clusters: [{peers: [http://a]}]\n"
        "alerting:\n"
        "  rule_files: [own.yaml]\n"
        "  rules:\n"
        "    PeerDwon: {enabled: false}\n"
    )
    alerting = settings_of(tmp_path, text).alerting

    with pytest.raises(ConfigError) as caught:
        rules_in_force(alerting, file=tmp_path / "config.yaml")

    told = [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]
    assert len(told) == 2
    assert told[0].startswith("own.yaml:3: rules.0.metric: ")
    assert told[1].startswith("config.yaml:5: alerting.rules.PeerDwon: ")
    assert "did you mean PeerDown?" in told[1]
