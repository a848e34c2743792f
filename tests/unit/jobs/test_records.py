"""What scheduled jobs tell of themselves."""

from __future__ import annotations

from exporter.jobs.records import OUTCOMES, REASONS, SPECS, JobFacts, job_producer, job_readings
from exporter.model import CLUSTER_LABEL


def told(*jobs: JobFacts) -> dict[tuple[str, ...], float]:
    """Return the readings by name, without its beginning, and labels."""
    return {
        (spec.name.removeprefix("qdrantx_job_"), *labels): value for spec, labels, value in job_readings(jobs)
    }


def test_every_metric_is_of_a_cluster_and_named_alike() -> None:
    """The label `job` belongs to Prometheus."""
    assert all(spec.labels[:2] == (CLUSTER_LABEL, "job_name") for spec in SPECS)
    assert all(spec.name.startswith("qdrantx_job_") for spec in SPECS)
    assert job_producer("prod").cluster == "prod"


def test_a_job_that_never_ran_tells_when_it_will() -> None:
    """Nothing is said of what did not happen; counts begin at 0."""
    found = told(JobFacts("nightly", "backup", "prod", running=False, next_run_at=1_800_000_000.0))

    assert found["next_run_timestamp_seconds", "prod", "nightly"] == 1_800_000_000
    assert found["running", "prod", "nightly"] == 0
    assert not [key for key in found if key[0].startswith("last_")]
    assert [found["runs_total", "prod", "nightly", outcome] for outcome in OUTCOMES] == [0] * len(OUTCOMES)
    assert [found["skipped_total", "prod", "nightly", why] for why in REASONS] == [0] * len(REASONS)


def test_a_job_tells_how_its_last_run_went() -> None:
    """Status, duration, and the last success of the whole and of each collection."""
    facts = JobFacts(
        "nightly",
        "backup",
        "prod",
        running=True,
        last_status=2,
        last_duration_seconds=12.5,
        last_success_at=10.0,
        last_success_by_collection={"docs": 20.0},
        runs={"ok": 3, "partly": 1},
        skipped={"overlap": 2},
    )

    found = told(facts)

    assert found["running", "prod", "nightly"] == 1
    assert found["last_status", "prod", "nightly"] == 2
    assert found["last_duration_seconds", "prod", "nightly"] == 12.5
    assert found["last_success_timestamp_seconds", "prod", "nightly", ""] == 10
    assert found["last_success_timestamp_seconds", "prod", "nightly", "docs"] == 20
    assert found["runs_total", "prod", "nightly", "ok"] == 3
    assert found["runs_total", "prod", "nightly", "partly"] == 1
    assert found["skipped_total", "prod", "nightly", "overlap"] == 2


def test_an_outcome_of_another_version_is_told_too() -> None:
    """The ledger outlives the program that wrote it."""
    found = told(JobFacts("nightly", "backup", "prod", running=False, runs={"odd": 1}))

    assert found["runs_total", "prod", "nightly", "odd"] == 1
