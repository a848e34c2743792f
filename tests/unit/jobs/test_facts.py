"""What is told of jobs, and which collections wait for a backup, from settings and ledger."""

from __future__ import annotations

import time

import pytest

from exporter.backup.words import Level
from exporter.config.jobs import JobCollections, ScheduleSettings
from exporter.jobs.facts import cluster_of, covered, job_facts, level_of, max_age_seconds
from exporter.jobs.ledger import Record
from exporter.jobs.words import Cause, JobRun, Outcome, Part, Reason
from tests.unit.jobs.asked import job

NOW = 1_800_000_000.0
WEEKLY = ScheduleSettings(cron="0 3 * * 0")


def record_of(*names: str, outcome: Outcome = Outcome.OK) -> Record:
    """A job that ran once, over these collections."""
    record = Record(since=1.0)
    parts = tuple(Part(name, outcome) for name in names)
    record.take(
        JobRun(
            1, "nightly", "eu", "backup", Cause.SCHEDULE, NOW - 90, NOW - 80, NOW, NOW, outcome, parts=parts
        )
    )
    return record


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.OK, 0),
        (Outcome.PARTLY, 2),
        (Outcome.FAILED, 1),
        (Outcome.INTERRUPTED, 1),
        (Outcome.SKIPPED, None),
        (Outcome.CANCELLED, None),
    ],
)
def test_the_status_is_that_of_the_last_run_that_was_let_end(outcome: Outcome, status: int | None) -> None:
    """A skip and a stop say nothing of how the job does."""
    facts = job_facts(job(), "eu", record_of("docs", outcome=outcome), NOW, cannot=False)

    assert facts.last_status == status
    assert facts.last_duration_seconds == 80.0


def test_a_job_whose_key_may_not_is_failing_before_it_is_due() -> None:
    """Whatever its last run was."""
    facts = job_facts(job(), "eu", Record(), NOW, cannot=True)

    assert facts.last_status == 1
    assert facts.next_run_at == NOW // 3_600 * 3_600 + 3_600


def test_a_backup_may_be_as_old_as_its_schedule_lets_it_become() -> None:
    """Unless a person says otherwise."""
    assert max_age_seconds(job(schedule=WEEKLY)) == 7 * 86_400.0
    assert max_age_seconds(job(schedule=WEEKLY, max_age_seconds=90_000.0)) == 90_000.0


def test_what_a_job_last_worked_on_and_what_it_names_is_covered() -> None:
    """With the strictest demand; one that was deleted before the last run is waited for no more."""
    nightly = job(collections=JobCollections(include=("docs*", "named")))
    weekly = job(
        "weekly", schedule=WEEKLY, max_age_seconds=60.0, collections=JobCollections(include=("docs",))
    )
    records = {"nightly": record_of("docs", "docs_eu"), "weekly": Record()}

    found = {one.collection: one for one in covered([nightly, weekly], records)}

    assert set(found) == {"docs", "docs_eu", "named"}
    assert {name: one.max_age_seconds for name, one in found.items()} == {
        "docs": 60.0,
        "docs_eu": 3_600.0,
        "named": 3_600.0,
    }


def test_a_name_that_was_added_to_a_job_is_due_once_a_run_came_to_it() -> None:
    """A reload in the afternoon pages nobody for a backup of the night."""
    nightly = job(collections=JobCollections(include=("docs", "added")))

    found = {one.collection: one for one in covered([nightly], {"nightly": record_of("docs")})}

    assert (found["docs"].due, found["added"].due) == (True, False)


def test_a_job_that_never_came_as_far_as_a_collection_is_due_for_all_it_names() -> None:
    """It failed each time before that: there should be backups, and there are none."""
    nightly = job(collections=JobCollections(include=("docs",)))
    failed = record_of(outcome=Outcome.FAILED)
    empty = record_of(outcome=Outcome.SKIPPED)  # nothing was there to be backed up

    (found,) = covered([nightly], {"nightly": failed})
    (nothing,) = covered([nightly], {"nightly": empty})

    assert (found.due, nothing.due) == (True, False)


def test_a_run_that_ended_in_waiting_for_its_turn_changes_nothing_of_what_is_covered() -> None:
    """What it was about nobody knows; the run before says it."""
    record = record_of("docs")
    late = (Part("", Outcome.FAILED, Reason.DEADLINE),)
    record.take(
        JobRun(2, "nightly", "eu", "backup", Cause.SCHEDULE, NOW, NOW, NOW, NOW, Outcome.FAILED, parts=late)
    )

    assert [one.collection for one in covered([job()], {"nightly": record})] == ["docs"]


def test_successes_are_told_of_what_a_job_works_on_now() -> None:
    """A collection's series goes with it, though the ledger knows when it was last backed up."""
    record = record_of("docs")
    record.successes |= {("docs", ""): NOW, ("docs", "2"): NOW, ("deleted", ""): NOW - 90}

    facts = job_facts(job(), "eu", record, NOW, cannot=False)
    (one,) = covered([job()], {"nightly": record})

    assert facts.last_success_by_collection == {"docs": NOW}
    assert one.done_at == NOW


def test_a_backup_is_not_due_before_its_first_run_is_over() -> None:
    """A job that is new has nothing to show, and that alarms nobody."""
    named = job(collections=JobCollections(include=("docs",)))

    (one,) = covered([named], {"nightly": Record(since=NOW)})

    assert not one.due


def test_proofs_are_due_at_the_levels_of_the_verify_jobs_that_ran() -> None:
    """And those that were made are known, though their sets are gone."""
    proof = job("proof", kind="verify", level=3, collections=JobCollections(include=("docs",)))
    done = record_of("docs")
    done.successes["docs", "3"] = NOW
    records = {"nightly": record_of("docs", "images"), "proof": done}

    found = {one.collection: one for one in covered([job(), proof], records)}

    assert found["docs"].levels_due == {Level.LISTED, Level.SIZED, Level.HASHED, Level.OPENED}
    assert found["docs"].proven_at == {Level.OPENED: NOW}
    assert found["docs"].levels_asked == found["docs"].levels_due
    assert found["images"].levels_asked == found["images"].levels_due == frozenset()


def test_a_proof_of_a_new_collection_is_not_due_before_a_verify_job_came_to_it() -> None:
    """It was made on Monday, and proofs are on Sundays; nor is any where there was nothing to prove yet."""
    proof = job("proof", kind="verify", level=4)
    for record in (record_of("docs"), record_of(outcome=Outcome.SKIPPED)):
        (one,) = covered([job(), proof], {"nightly": record_of("new"), "proof": record})

        assert Level.RESTORED in one.levels_asked
        assert one.levels_due == frozenset()


def test_thousands_of_collections_do_not_hold_up_the_loop() -> None:
    """What is worked out of a job is so once, and not for each of them: that took 10 s here."""
    record = record_of(*(f"c{number}" for number in range(2_000)))
    began = time.process_time()

    found = list(covered([job()], {"nightly": record}))

    assert len(found) == 2_000
    assert time.process_time() - began < 2.0


def test_a_job_without_a_cluster_is_for_the_only_one() -> None:
    """And one of kind verify without a level reads the hashes."""
    assert cluster_of(job(), ("eu",)) == "eu"
    assert cluster_of(job(cluster="us"), ("eu", "us")) == "us"
    assert level_of(job(kind="verify")) is Level.HASHED
