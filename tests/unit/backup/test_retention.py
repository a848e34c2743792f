"""Which sets are kept: the golden table, and what holds for any history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.backup.retention import decide
from exporter.backup.words import SetKind, StoredSet
from exporter.config.backup import RetentionSettings
from tests.unit.backup.retention_case import decided, seconds, stored_set

TABLE = Path(__file__).with_name("retention_cases.yaml")
CASES: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
NOW = "2026-11-26 12:00"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_the_golden_table(case: dict[str, Any]) -> None:
    """What stays, what goes and every reason, as written in retention_cases.yaml."""
    lines, others = decided(case)

    assert lines == case["decided"]
    assert others == case["others"]


def test_the_table_is_large_and_every_case_has_its_own_name() -> None:
    """Forty cases at least."""
    names = [case["case"] for case in CASES]

    assert len(set(names)) == len(names) >= 40


MARKS = st.sampled_from(
    [
        "",
        "degraded",
        "incomplete",
        "unproven",
        "accepted",
        "bad@2026-11-20 00:00",
        "export",
        "export, unproven",
    ]
)
MOMENTS = st.integers(0, 400 * 24).map(lambda hours: f"2025-{hours % 12 + 1:02}-{hours % 28 + 1:02}")
HISTORIES = st.lists(st.tuples(MOMENTS, st.integers(0, 23), MARKS), max_size=30, unique_by=lambda it: it[:2])
POLICIES = st.builds(
    RetentionSettings,
    last=st.integers(1, 4),
    hourly=st.integers(0, 3),
    daily=st.integers(0, 3),
    weekly=st.integers(0, 3),
    monthly=st.integers(0, 3),
    yearly=st.integers(0, 3),
)


@given(history=HISTORIES, policy=POLICIES)
def test_the_newest_good_set_and_all_complete_ones_after_it_stay(
    history: list[tuple[str, int, str]], policy: RetentionSettings
) -> None:
    """Whatever the history and the rules, of each kind; and without a good set no complete one goes."""
    sets = _sets(history)

    decisions = {one.set_id: one for one in decide(sets, policy, seconds(NOW))}

    for kind in SetKind:
        alike = [one for one in sets if one.manifest.kind is kind and one.manifest.state != "incomplete"]
        newest = max((one.manifest.ended_at for one in alike if one.counts), default=0.0)
        must_stay = [one for one in alike if one.manifest.ended_at >= newest]
        assert all(decisions[one.manifest.id].keep for one in must_stay)
    assert decisions.keys() == {one.manifest.id for one in sets}


@given(history=HISTORIES, policy=POLICIES)
def test_deciding_again_on_what_was_kept_keeps_it(
    history: list[tuple[str, int, str]], policy: RetentionSettings
) -> None:
    """A second prune finds nothing to do: no rule keeps a set for the sake of one that goes."""
    sets = _sets(history)
    kept = {one.set_id for one in decide(sets, policy, seconds(NOW)) if one.keep}

    again = decide([one for one in sets if one.manifest.id in kept], policy, seconds(NOW))

    assert all(one.keep for one in again)


def _sets(history: list[tuple[str, int, str]]) -> list[StoredSet]:
    return [stored_set(f"{day} {hour:02}:00", marks) for day, hour, marks in history]
