"""The shipped rules on jobs and backups, in ordinary operation and where they must not be blind."""

from __future__ import annotations

import math
from functools import cache

import pytest

from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.shipped import shipped_rules
from exporter.backup.records import Covered, backup_readings, stocks
from exporter.backup.words import Level, Proof, StoredSet
from exporter.catalogue import SPECS
from exporter.jobs.records import FAILED, OK, PARTLY, JobFacts, job_readings
from tests.kit.judging import CLUSTER, Ground
from tests.kit.sets import manifest, shard

DAY = 86_400.0
ASKED = frozenset(Level)


@cache
def pack() -> RuleSet:
    """The rules as they are shipped."""
    return load_rules(shipped_rules(), specs=SPECS, overrides={})


def ground_of(name: str) -> Ground:
    """A Board before one shipped rule."""
    return Ground(RuleSet(tuple(rule for rule in pack().rules if rule.name == name)))


def night(ago: float, ground: Ground, *levels: Level, points: int = 100) -> StoredSet:
    """A good set of so many seconds ago, proven then at these levels."""
    at = ground.clock.now() - ago
    proofs = tuple(Proof(level, at, True, (), "", 1.0) for level in (Level.HASHED, *levels))
    made = manifest(
        id=f"20270115T080000Z-{int(ago):06x}"[:23],
        ended_at=at,
        shards=(shard(points=points, points_before=None, points_after=None),),
    )
    return StoredSet(made, proofs, accepted=False)


def told(ground: Ground, *sets: StoredSet, covered: Covered | None = None) -> list[tuple[str, bool | None]]:
    """Tell of these sets, and return the levels that are in trouble."""
    stored = stocks(CLUSTER, sets, ground.clock.now())
    readings = backup_readings(CLUSTER, stored, [] if covered is None else [covered])
    ground.post("backups", *readings)
    return [(one.level.severity, one.verdict) for one in ground.findings()]


@pytest.mark.parametrize(
    ("age_days", "due", "expected"),
    [
        (1.4, True, []),
        (1.6, True, [("warning", True)]),
        (2.1, True, [("critical", True), ("warning", True)]),
        (math.nan, True, [("critical", True), ("warning", True)]),
        (math.nan, False, []),  # new, and its first night is still to come
    ],
)
def test_a_backup_is_overdue_by_its_age_or_where_none_came_about(
    age_days: float, due: bool, expected: list[tuple[str, bool]]
) -> None:
    """Of a nightly job: a day and a half warns, two days page."""
    ground = ground_of("BackupOverdue")
    sets = [] if math.isnan(age_days) else [night(age_days * DAY, ground)]

    assert told(ground, *sets, covered=Covered("docs", DAY, due=due)) == expected


def test_a_backup_of_a_collection_that_no_job_covers_any_more_is_not_overdue() -> None:
    """It was deleted on purpose, or taken out of the job: its sets grow old in peace, and the alert ends."""
    ground = ground_of("BackupOverdue")
    assert told(ground, night(9 * DAY, ground), covered=Covered("docs", DAY, due=True))

    assert told(ground, night(9 * DAY, ground)) == []
    over = ground.findings({"collection": "docs"})
    assert {one.verdict for one in over} == {False}


@pytest.mark.parametrize(
    ("covered", "expected"),
    [
        (Covered("docs", DAY, True, levels_asked=ASKED, levels_due=ASKED), [("warning", True)]),
        (Covered("docs", DAY, True, levels_asked=frozenset({Level.SIZED, Level.HASHED})), []),
        (Covered("docs", DAY, True), []),
        (None, []),
    ],
)
def test_an_old_proof_by_restoring_matters_where_a_job_promised_another(
    covered: Covered | None, expected: list[tuple[str, bool]]
) -> None:
    """Who restored a backup once by hand, or proves hashes only, is not told of it for ever."""
    ground = ground_of("BackupUnproven")

    assert told(ground, night(15 * DAY, ground, Level.RESTORED), covered=covered) == expected


@pytest.mark.parametrize(("due", "expected"), [(ASKED, [("warning", True)]), (frozenset(), [])])
def test_a_proof_that_never_was_good_is_told_once_it_was_due(
    due: frozenset[Level], expected: list[tuple[str, bool]]
) -> None:
    """Not of a collection that waits for its first Sunday."""
    ground = ground_of("BackupUnproven")
    covered = Covered("docs", DAY, True, levels_asked=ASKED, levels_due=due)

    assert told(ground, night(DAY, ground), covered=covered) == expected


@pytest.mark.parametrize(("points", "expected"), [(50, []), (49, [("critical", True)])])
def test_half_of_the_points_gone_pages(points: int, expected: list[tuple[str, bool]]) -> None:
    """And half of them does not: where prune stands still, the page comes, and nowhere else."""
    ground = ground_of("BackupShrank")

    assert told(ground, night(DAY, ground), night(0, ground, points=points)) == expected


@pytest.mark.parametrize(("status", "expected"), [(None, []), (OK, []), (FAILED, [True]), (PARTLY, [True])])
def test_a_job_is_failing_by_its_last_run(status: int | None, expected: list[bool]) -> None:
    """One that never ran has nothing to show, and that alarms nobody."""
    ground = ground_of("JobFailing")
    ground.post("jobs", *job_readings([JobFacts("nightly", "backup", CLUSTER, False, last_status=status)]))

    assert [one.verdict for one in ground.findings()] == expected


def test_the_alert_of_a_job_that_was_taken_out_ends() -> None:
    """Its series went with it."""
    ground = ground_of("JobFailing")
    other = JobFacts("other", "backup", CLUSTER, False, last_status=OK)
    ground.post(
        "jobs",
        *job_readings([other, JobFacts("nightly", "backup", CLUSTER, False, last_status=FAILED)]),
    )
    (failing,) = ground.findings()

    ground.post("jobs", *job_readings([other]))

    (over,) = ground.judged([failing.labels])
    assert over.verdict is False
