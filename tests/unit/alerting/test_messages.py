"""What a message says to whoever is woken by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.alerting.messages import DRILL, REPEAT, UNSAVED, message, place, plain, runbook_url
from exporter.alerting.spoken import units
from exporter.alerting.words import NotificationKind
from tests.unit.alerting.receivers.cases import (
    NOW,
    alert,
    labels_of,
    notification,
    notifications,
    resolved,
    sending,
)

CASES = notifications()
SUMMARY = "docs: 12,345 points not indexed (limit 10,000 points)"


def test_a_page_says_all_that_is_needed_to_act() -> None:
    """Place, value and limit with their unit, since when, what changed, what to do, and where to read on."""
    said = plain(message(*CASES["trigger"]), limit=10_000)

    for part in (
        "cluster prod, collection docs",
        "12,345 points, limit 10,000 points",
        "2027-01-15 07:35:00 UTC (25 min)",
        "version 1.17.1 -> 1.18.3",
        "first step: curl -sS",
        "https://watch.example/runbooks/IndexingLag",
        "https://watch.example/",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("case", "title"),
    [
        ("trigger", f"[WARNING] IndexingLag: {SUMMARY}"),
        ("update_25", "[WARNING, changed] IndexingLag: 25 firing, 1 resolved on prod"),
        ("reminder", "[WARNING, still firing] IndexingLag: 2 firing on prod"),
        ("resolve", "[RESOLVED] IndexingLag: cluster prod, collection docs, team search"),
        ("gone", "[RESOLVED] IndexingLag: 2 resolved on prod"),
        ("drill", f"[DRILL] [WARNING] IndexingLag: {SUMMARY}"),
    ],
)
def test_the_title_tells_how_bad_what_and_where(case: str, title: str) -> None:
    """It is all that a phone's lock screen shows."""
    assert title == message(*CASES[case]).title


def test_rules_of_one_group_are_named_up_to_three() -> None:
    """A group by cluster alone may have any number."""
    members = tuple(alert(rule=rule) for rule in ("D", "C", "B", "A"))
    said = message(notification(firing=members), sending())

    assert said.title == "[WARNING] A, B, C and 1 more rules: 4 firing on prod"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("recovered", "recovered after 24 min"),
        ("the collection is gone", "the collection is gone, after 24 min"),
        ("the rule was removed", "the rule was removed, after 24 min"),
        ("", "recovered after 24 min"),
    ],
)
def test_a_resolve_says_how_it_ended(reason: str, said: str) -> None:
    """A dropped collection has not recovered, and a removed rule says nothing about it."""
    ended = resolved(alert(), reason=reason)
    (line,) = message(notification(NotificationKind.RESOLVE, ended=(ended,)), sending()).resolved

    assert said == line.ended
    assert line.headline == f"resolved: {SUMMARY}"


def test_what_is_resolved_tells_no_first_step() -> None:
    """There is nothing to do any more."""
    said = plain(message(*CASES["resolve"]), limit=10_000)

    assert "first step" not in said
    assert "since" not in said


def test_marks_stand_above_everything() -> None:
    """A drill, a repeat, a delay and a disk that is full are told before the alerts are."""
    what = replace(CASES["drill"][0], created_at=NOW - 725)
    said = message(what, sending(maybe_repeat=True, unsaved=True))

    assert said.notes == (DRILL, REPEAT, "delayed 12 min: meant for 2027-01-15 07:47:55 UTC", UNSAVED)
    assert message(*CASES["trigger"]).notes == ()


def test_an_alert_that_cannot_be_looked_at_says_so() -> None:
    """Its value is from before, and a person must know."""
    (line,) = message(*CASES["critical"]).firing

    assert "nothing new is known since 2027-01-15 07:58:30 UTC: shown as it was then" in line.marks
    assert "it comes and goes: held until it has been good for a while" in line.marks


def test_without_an_address_of_ours_the_runbook_is_named() -> None:
    """A link to nowhere would be worse."""
    said = plain(message(*CASES["critical"]), limit=10_000)

    assert "runbook: DiskUsed" in said
    assert "http" not in said.replace("http://q-0:6333", "")


@pytest.mark.parametrize("external_url", ["", "http://monitor:10633"])
def test_a_runbook_that_is_a_page_of_somebodys_own_is_its_own_link(external_url: str) -> None:
    """Whether or not we have an address."""
    own = alert(runbook="https://wiki.example/lag")

    assert runbook_url(own, external_url) == "https://wiki.example/lag"
    assert runbook_url(alert(runbook=""), external_url) == ""


def test_places_go_from_the_whole_to_the_part() -> None:
    """Cluster, peer, collection, shard, then the rest by name."""
    labels = labels_of(
        shard="2", zone="b", collection="docs", alertname="A", severity="warning", peer="q-0:6333",
        qdrant_cluster="prod", empty="",
    )  # fmt: skip

    assert place(labels) == "cluster prod, peer q-0:6333, collection docs, shard 2, zone b"


def test_an_alert_without_a_number_or_words_still_says_what_and_where() -> None:
    """Of a rule that compares nothing, or of a state file that lost its annotations."""
    bare = alert(value=None, limit=None, annotations=(), changes=(), runbook="")
    said = plain(message(notification(firing=(bare,)), sending()), limit=10_000)

    assert "IndexingLag: cluster prod, collection docs, team search" in said
    assert "value" not in said


@pytest.mark.parametrize("limit", [40, 300, 2_000, 100_000])
@pytest.mark.parametrize("case", CASES)
def test_plain_text_fits_and_keeps_the_title(case: str, limit: int) -> None:
    """Details of the last alerts go first."""
    said = message(*CASES[case])
    text = plain(said, limit=limit)

    assert units(text) <= limit
    assert text[:30] == said.title[:30]


def test_where_room_is_short_the_first_alert_keeps_its_command() -> None:
    """The oldest is told in full, the others in a line each."""
    text = plain(message(*CASES["update_25"]), limit=3_000)

    assert text.count("first step") >= 1
    assert "tenant_19" in text
    assert "and 5 more that fire" in text
