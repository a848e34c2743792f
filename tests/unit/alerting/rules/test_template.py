"""Templates of annotations: what they may hold, and how they are filled."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerting.rules.template import Facts, annotations_of, check, fill, without
from exporter.alerting.words import Condition, Level, Operator, Rule, Selector
from tests.unit.alerting.rules.metrics import LAG


def rule(**annotations: str) -> Rule:
    """Return a rule with these annotations."""
    condition = Condition(Selector(LAG), Operator.GREATER)
    return Rule("Trouble", condition, (Level("warning", 10.0),), annotations=tuple(annotations.items()))


def test_fields_are_filled_with_numbers_that_have_their_unit() -> None:
    """At 3 a.m. nobody should have to count zeros."""
    one = rule(
        summary="{collection}: {value} (limit {threshold})",
        description="since {since}; changed: {changed}",
        action="curl {url}/collections/{collection}",
    )
    facts = Facts(
        labels=(("collection", "docs"),), value=12_345.0, limit=10_000.0, unit="points",
        since=1_800_000_000.0, changes=("peer a restarted", "version 1.17 to 1.18"), url="http://a:6333",
    )  # fmt: skip

    assert dict(annotations_of(one, facts)) == {
        "summary": "docs: 12,345 points (limit 10,000 points)",
        "description": "since 2027-01-15 08:00:00 UTC; changed: peer a restarted; version 1.17 to 1.18",
        "action": "curl http://a:6333/collections/docs",
    }


def test_the_time_until_a_moment_is_a_duration() -> None:
    """And what is not known says so."""
    one = rule(summary="full in {eta}", description="{value}, {changed}")

    known = annotations_of(one, Facts((), 5_400.0, None, "seconds", 0.0))
    unknown = annotations_of(one, Facts((), None, None, "seconds", 0.0))

    assert dict(known)["summary"] == "full in 1 h 30 min"
    assert dict(unknown) == {"summary": "full in unknown", "description": "unknown, nothing known"}


def test_double_braces_are_braces() -> None:
    """The body of a request has many."""
    assert fill("-d '{{\"exact\": {{}}}}' {url}", {"url": "x"}) == "-d '{\"exact\": {}}' x"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{valeu}", "there is no field {valeu}; did you mean {value}?"),
        ("{nothing}", "there is no field {nothing}; known here: value, threshold, since, changed, url, peer"),
        ("{value.real}", "a field is a plain name such as {value}; write {{ and }} for braces that are text"),
        ("{value:,}", "a field is a plain name such as {value}; write {{ and }} for braces that are text"),
        ("{0}", "a field is a plain name such as {value}; write {{ and }} for braces that are text"),
        ("{}", "a field is a plain name such as {value}; write {{ and }} for braces that are text"),
        ("a { b", "a brace has no partner; write {{ or }} for a brace that is text"),
        ("a } b", "a brace has no partner; write {{ or }} for a brace that is text"),
        ("{restore}", "there is no field {restore}; known here: value, threshold, since, changed, url, peer"),
        ("{eta}", "{eta} is the time until a moment; only a rule with reduce: until has it"),
    ],
)
def test_a_bad_template_is_refused_with_what_to_write(template: str, message: str) -> None:
    """When it is loaded, and not when the alert fires."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check(template, ("peer",), has_eta=False)


def test_the_time_until_a_moment_is_a_field_of_rules_that_have_one() -> None:
    """Nothing is raised."""
    check("{eta} {peer} {{}}", ("peer",), has_eta=True)


@pytest.mark.parametrize(
    ("template", "rest"),
    [
        ("{peer} is down, since {since}", "{peer} is down"),
        ("{peer} is down (changed: {changed})", "{peer} is down (changed"),
        ("{changed}", ""),
        ("First. Since {since}. Last.", "First. Last."),
        ("{value} is too much", "{value} is too much"),
    ],
)
def test_a_clause_can_be_left_out(template: str, rest: str) -> None:
    """Prometheus does not know since when, nor what changed."""
    assert without(template, ("since", "changed")) == rest


@given(st.text())
def test_no_label_value_is_taken_for_a_template(text: str) -> None:
    """Names of collections are chosen by others."""
    assert fill("{collection}", {"collection": text}) == text


@given(st.text())
def test_any_text_is_a_template_or_refused(text: str) -> None:
    """Nothing else is raised."""
    try:
        check(text, (), has_eta=False)
    except ValueError:
        return
    assert isinstance(fill(text, {}), str)
