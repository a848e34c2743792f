"""What a run came to, from what came of each collection."""

from __future__ import annotations

import pytest

from exporter.jobs.words import Outcome, Part, Reason, judge

GOOD = Part("a", Outcome.OK)
BAD = Part("b", Outcome.FAILED, Reason.STORE, "no room")
LOCKED = Part("c", Outcome.SKIPPED, Reason.LOCKED, "locked")


@pytest.mark.parametrize(
    ("parts", "outcome", "reason"),
    [
        ((), Outcome.SKIPPED, Reason.EMPTY),
        ((GOOD,), Outcome.OK, Reason.NONE),
        ((GOOD, GOOD), Outcome.OK, Reason.NONE),
        ((GOOD, BAD), Outcome.PARTLY, Reason.STORE),
        ((BAD, BAD), Outcome.FAILED, Reason.STORE),
        ((LOCKED,), Outcome.SKIPPED, Reason.LOCKED),
        ((GOOD, LOCKED), Outcome.PARTLY, Reason.LOCKED),
        ((LOCKED, BAD), Outcome.FAILED, Reason.STORE),
    ],
)
def test_a_run_is_as_good_as_its_collections(
    parts: tuple[Part, ...], outcome: Outcome, reason: Reason
) -> None:
    """A skip is no success: beside what was done it makes it partly, alone it stays a skip."""
    verdict = judge(parts)

    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_the_detail_names_what_failed_and_is_of_bounded_length() -> None:
    """Five collections; of a thousand that fail nobody reads more."""
    parts = [Part(f"c{number}", Outcome.FAILED, Reason.FAILED, "broke") for number in range(8)]

    assert judge(parts).detail == "c0: broke; c1: broke; c2: broke; c3: broke; c4: broke; and 3 more"
    assert judge((GOOD, BAD)).detail == "1 of 2 collections; b: no room"
    assert judge((GOOD, GOOD)).detail == "2 collections"
