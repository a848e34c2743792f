"""`rules list`, `rules check` and `rules export`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from exporter.alert_verbs.alerts import Output
from exporter.alert_verbs.rules import check_files, export_rules, show_rules
from exporter.config.alerting import AlertingSettings, RuleOverride
from exporter.config.clusters import ClusterSettings
from exporter.config.settings import Settings
from exporter.errors import ConfigError
from tests.unit.duty.test_rules_in_force import OWN

SETTINGS = Settings(clusters=(ClusterSettings(),))


def shown(settings: Settings | None, output: Output = Output.TABLE) -> str:
    """Return what `rules list` prints."""
    written = io.StringIO()
    show_rules(settings, output, Console(file=written, width=400))
    return written.getvalue()


def row_of(rule: str, table: str) -> list[str]:
    """Return the cells of a rule's row."""
    line = next(line for line in table.splitlines() if f" {rule} " in line)
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_rules_are_listed_with_their_levels_and_what_they_see() -> None:
    """A blind one says what to switch on."""
    table = shown(SETTINGS)

    assert row_of("PeerDown", table) == ["PeerDown", "critical 2m", "active", ""]
    assert row_of("WriteNotVisible", table)[2] == "blind"
    assert row_of("WriteNotVisible", table)[3].startswith("the write canary is off; write probes:")


def test_without_a_configuration_nothing_is_said_of_what_they_see() -> None:
    """A guess would be worse."""
    table = shown(None)

    assert len(row_of("PeerDown", table)) == 2
    assert "Give --config.file or --qdrant.url" in table


def test_a_rule_that_is_switched_off_is_not_listed() -> None:
    """What is listed is in force."""
    alerting = AlertingSettings(rules={"PeerDown": RuleOverride(enabled=False)})

    assert " PeerDown " not in shown(SETTINGS.model_copy(update={"alerting": alerting}))


def test_as_json_they_are_what_the_api_shows() -> None:
    """One shape for both."""
    document = json.loads(shown(SETTINGS, Output.JSON))

    rules = [rule for group in document["data"]["groups"] for rule in group["rules"]]
    assert {"PeerDown", "IndexingLag"} <= {rule["name"] for rule in rules}
    assert {rule["health"] for rule in rules} == {"ok", "unknown"}


def test_a_good_file_says_which_rules_it_has_and_which_it_replaces(tmp_path: Path) -> None:
    """Replacing one by accident should show."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(OWN, encoding="utf-8")
    second.write_text(OWN.replace("TooManyCollections", "VersionSkew"), encoding="utf-8")

    assert check_files([first, second]) == [
        f"{first}: good; rules: TooManyCollections",
        f"{second}: good; rules: VersionSkew; in place of the shipped VersionSkew",
    ]


def test_bad_files_are_explained_all_at_once(tmp_path: Path) -> None:
    """With file, line, path and what to write."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(OWN.replace("op:", "opp:"), encoding="utf-8")
    second.write_text(OWN.replace("threshold: 1000", "threshold: many"), encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        check_files([first, second])

    places = [(Path(problem.file).name, problem.line) for problem in caught.value.problems]
    assert ("a.yaml", 4) in places
    assert ("b.yaml", 5) in places


def test_the_rules_in_force_are_written_for_prometheus(tmp_path: Path) -> None:
    """Those of the configuration, with its changes; the directory is made."""
    own = tmp_path / "own.yaml"
    own.write_text(OWN, encoding="utf-8")
    alerting = AlertingSettings(rule_files=(own,), rules={"PeerDown": RuleOverride(enabled=False)})

    written = export_rules(alerting, tmp_path / "out" / "rules")

    trees = [yaml.safe_load(Path(file).read_text(encoding="utf-8")) for file in written]
    names = {rule["alert"] for tree in trees for group in tree["groups"] for rule in group["rules"]}
    assert "TooManyCollections" in names
    assert "PeerHung" in names
    assert "PeerDown" not in names
