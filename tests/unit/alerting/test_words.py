"""Words that stand in two places say the same."""

from __future__ import annotations

from typing import get_args

from exporter.alerting.words import SEVERITIES, severity_rank
from exporter.config.alerting_fields import Severity


def test_the_levels_are_those_that_the_configuration_knows() -> None:
    """In the same order."""
    assert get_args(Severity) == SEVERITIES


def test_a_level_that_is_none_is_the_least() -> None:
    """A rule of a person's own may have any label."""
    ranked = sorted(["page", "info", "critical", "warning", "error"], key=severity_rank)

    assert ranked == ["critical", "error", "warning", "info", "page"]
