"""Silences: what people write, when one is in force, and what it holds back."""

from __future__ import annotations

import pytest

from exporter.alerting.silencing import (
    SilenceState,
    active,
    matcher,
    matchers,
    next_turn,
    silenced_by,
    state_of,
)
from exporter.alerting.words import Matcher, Silence


def a_silence(*texts: str, starts_at: float = 100.0, ends_at: float = 200.0, id: str = "s") -> Silence:
    """Return a silence by ada."""
    return Silence(id, matchers(texts), "ada", "works", starts_at, ends_at, 50.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('alertname="DiskUsed"', Matcher("alertname", "DiskUsed")),
        ("alertname=DiskUsed", Matcher("alertname", "DiskUsed")),
        ('collection=~"tmp_.*"', Matcher("collection", "tmp_.*", regex=True)),
        ('peer!="a"', Matcher("peer", "a", negative=True)),
        ('peer!~"a|b"', Matcher("peer", "a|b", regex=True, negative=True)),
        (r'collection="a\"b\\c"', Matcher("collection", 'a"b\\c')),
    ],
)
def test_matchers_are_written_as_in_alertmanager(text: str, expected: Matcher) -> None:
    """With or without quotes around the value."""
    assert matcher(text) == expected


def test_a_matcher_reads_back_what_it_prints() -> None:
    """A silence is shown as it can be written."""
    odd = Matcher("collection", 'a"b\\c\nd', regex=False, negative=True)

    assert matcher(str(odd)) == odd


@pytest.mark.parametrize("text", ["DiskUsed", "=x", '"a"="b"', 'collection=~"("', "1a=b"])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    """With a word on what to write."""
    with pytest.raises(ValueError, match=r"write a matcher|regular expression"):
        matcher(text)


@pytest.mark.parametrize("texts", [(), ('collection=~".*"',), ("peer!=a", "team!=b")])
def test_a_silence_of_everything_is_refused(texts: tuple[str, ...]) -> None:
    """One of its matchers must want a label to be there, as in Alertmanager."""
    with pytest.raises(ValueError, match="every alert"):
        matchers(texts)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (99.9, SilenceState.PENDING),
        (100.0, SilenceState.ACTIVE),
        (199.9, SilenceState.ACTIVE),
        (200.0, SilenceState.EXPIRED),
    ],
)
def test_a_silence_is_in_force_from_its_start_until_before_its_end(
    now: float, expected: SilenceState
) -> None:
    """The end does not belong to it."""
    assert state_of(a_silence("peer=a"), now) is expected


def test_the_next_turn_is_the_first_start_or_end_ahead() -> None:
    """When alerts may have to be told."""
    silences = [a_silence("peer=a"), a_silence("peer=b", starts_at=150.0, ends_at=300.0)]

    assert [next_turn(silences, now) for now in (0.0, 100.0, 150.0, 250.0, 300.0)] == [
        100.0, 150.0, 200.0, 300.0, None,
    ]  # fmt: skip


def test_an_alert_is_silenced_when_every_matcher_of_one_silence_fits() -> None:
    """And by none of several that each fit in part."""
    silences = [a_silence("peer=a", "collection=docs", id="both"), a_silence("peer=c", id="c")]
    in_force = active(silences, 150.0)

    assert silenced_by({"peer": "a", "collection": "docs"}, in_force) == "both"
    assert silenced_by({"peer": "c"}, in_force) == "c"
    assert silenced_by({"peer": "a"}, in_force) is None


def test_a_label_that_is_not_there_is_empty() -> None:
    """A negative matcher fits what has no such label."""
    in_force = active([a_silence("alertname=DiskUsed", "peer!=a")], 150.0)

    assert silenced_by({"alertname": "DiskUsed"}, in_force) == "s"
    assert silenced_by({"alertname": "DiskUsed", "peer": "a"}, in_force) is None


def test_an_ended_silence_silences_nothing() -> None:
    """Nor does one that has not begun."""
    silences = [a_silence("peer=a", ends_at=120.0), a_silence("peer=a", starts_at=180.0)]

    assert active(silences, 150.0) == ()
