"""Jobs as people write them: what is understood, what is refused, what is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.checks import warnings_of
from exporter.config.redaction import redacted_yaml
from tests.unit.config.writing import problems_of, settings_of

CLUSTERS = "clusters:\n- name: eu\n  peers: [https://a]\n"
STORE = "backup: {store: {url: /backups}}\n"
JOB = "jobs:\n- name: nightly\n  kind: backup\n  schedule: {cron: '30 2 * * *'}\n"
VACUUM = JOB.replace("backup", "vacuum")


def test_a_job_is_read_with_its_defaults(tmp_path: Path) -> None:
    """Of the only cluster, all collections, half a day at the most, made up for within six hours."""
    settings = settings_of(tmp_path, CLUSTERS + STORE + JOB)

    (job,) = settings.jobs
    assert (job.name, job.kind, job.cluster) == ("nightly", "backup", None)
    assert job.collections.selects("docs")
    assert (job.deadline_seconds, job.catch_up_seconds) == (43_200.0, 21_600.0)
    assert job.schedule.timezone == "UTC"


def test_a_vacuum_is_read_with_its_defaults(tmp_path: Path) -> None:
    """It rebuilds what is worth it, at any time, where searches are fast and writers few."""
    (job,) = settings_of(tmp_path, CLUSTERS + STORE + VACUUM).jobs

    assert (job.min_deleted_ratio, job.min_reclaim_bytes) == (0.1, 64 << 20)
    assert (job.p95_limit_seconds, job.queue_limit) == (0.1, 100)
    assert (job.window, job.dry_run) == (None, False)


def test_what_a_person_wants_of_a_vacuum_is_read(tmp_path: Path) -> None:
    """Sizes and durations with their units, hours of the day over midnight."""
    wanted = (
        "  min_deleted_ratio: 0.3\n  min_reclaim: 1GiB\n  p95_limit: 0s\n  queue_limit: 0\n"
        "  window: {from: '22:00', to: '05:30'}\n  dry_run: true\n"
    )

    (job,) = settings_of(tmp_path, CLUSTERS + STORE + VACUUM + wanted).jobs

    assert (job.min_deleted_ratio, job.min_reclaim_bytes) == (0.3, 1 << 30)
    assert (job.p95_limit_seconds, job.queue_limit, job.dry_run) == (0.0, 0, True)
    assert job.window is not None
    assert (job.window.start, job.window.end) == ("22:00", "05:30")


def test_a_backup_may_be_an_export(tmp_path: Path) -> None:
    """A snapshot it is where nothing is written."""
    (plain,) = settings_of(tmp_path, CLUSTERS + STORE + JOB).jobs
    wanted = "  format: export\n  encoding: jsonl\n  allow_lossy: true\n"
    (export,) = settings_of(tmp_path, CLUSTERS + STORE + JOB + wanted).jobs

    assert plain.format == "snapshot"
    assert (export.format, export.encoding, export.allow_lossy) == ("export", "jsonl", True)


def test_collections_are_chosen_by_globs_over_the_whole_name(tmp_path: Path) -> None:
    """Some include matches and no exclude does; case matters."""
    written = JOB + "  collections: {include: ['docs*', img], exclude: ['*_tmp']}\n"

    (job,) = settings_of(tmp_path, CLUSTERS + STORE + written).jobs

    chosen = [
        name
        for name in ("docs", "docs_eu", "docs_tmp", "img", "img2", "Docs")
        if job.collections.selects(name)
    ]
    assert chosen == ["docs", "docs_eu", "img"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLUSTERS + JOB, "jobs: jobs need a store of backups; write backup: with store: and its url:"),
        (
            CLUSTERS + STORE + JOB + JOB.removeprefix("jobs:\n"),
            "jobs.1.name: another job has this name already; write another",
        ),
        (
            CLUSTERS + STORE + JOB + "  cluster: us\n",
            "jobs.0.cluster: there is no such cluster; write one of eu",
        ),
        (
            CLUSTERS + "- name: us\n  peers: [https://b]\n" + STORE + JOB,
            "jobs.0.cluster: there are several clusters; write one of eu, us",
        ),
        (CLUSTERS + STORE + JOB + "  level: 3\n", "jobs.0: level is for jobs of kind verify"),
        (
            CLUSTERS + STORE + JOB.replace("backup", "prune") + "  max_age: 1d\n",
            "jobs.0: max_age is for jobs of kind backup",
        ),
        (CLUSTERS + STORE + JOB + "  dry_run: true\n", "jobs.0: dry_run is for jobs of kind vacuum"),
        (CLUSTERS + STORE + JOB + "  min_reclaim: 1GiB\n", "jobs.0: min_reclaim is for jobs of kind vacuum"),
        (CLUSTERS + STORE + VACUUM + "  format: export\n", "jobs.0: format is for jobs of kind backup"),
        (CLUSTERS + STORE + JOB + "  encoding: jsonl\n", "jobs.0: encoding is for format: export"),
        (
            CLUSTERS + STORE + VACUUM + "  window: {from: '22:00', to: '22:00'}\n",
            "jobs.0.window: from and to are the same time; write two, or leave window out",
        ),
        (
            CLUSTERS + STORE + VACUUM + "  min_deleted_ratio: 0\n",
            "jobs.0.min_deleted_ratio: write 0.01 to 0.99: below a hundredth a rewrite costs more than what"
            " it frees",
        ),
        (
            CLUSTERS + STORE + JOB.replace("cron: '30 2 * * *'", "cron: '30 2 * * *', every: 1d"),
            "jobs.0.schedule: write either cron or every",
        ),
        (
            CLUSTERS + STORE + JOB.replace("cron: '30 2 * * *'", "timezone: UTC"),
            "jobs.0.schedule: write either cron or every",
        ),
        (
            CLUSTERS + STORE + JOB.replace("cron: '30 2 * * *'", "every: 1d, timezone: Europe/Berlin"),
            "jobs.0.schedule: timezone is for cron, and every is counted in UTC; take it out",
        ),
        (
            CLUSTERS + STORE + JOB.replace("cron: '30 2 * * *'", "every: 10s"),
            "jobs.0.schedule.every: write 1m to 366d: less than a minute is a loop, not a chore",
        ),
        (
            CLUSTERS + STORE + JOB.replace("30 2 * * *'", "30 2 * * *', timezone: Mars/Olympus"),
            "jobs.0.schedule.timezone: there is no such time zone on this machine;"
            " write UTC or a name such as Europe/Berlin",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With its place and what to write instead, and nothing else."""
    problems = problems_of(tmp_path, text)

    assert [problem.split(": ", 1)[1] for problem in problems] == [said]


def test_jobs_without_a_state_directory_are_warned_of(tmp_path: Path) -> None:
    """What was missed while no daemon ran could not be known."""
    text = CLUSTERS + STORE + JOB

    assert [one for one in warnings_of(settings_of(tmp_path, text)) if one.startswith("jobs: ")]
    kept = settings_of(tmp_path, text + "state: {dir: state}\n")
    assert warnings_of(kept) == ()


@pytest.mark.parametrize(
    ("backup", "said"),
    [
        (
            "backup: {store: {url: /b, s3: {region: eu}}}",
            "backup.store.s3: has no effect, because the store is a directory",
        ),
        (
            "backup: {store: {url: 's3://bucket', s3: {endpoint: 'http://minio',"
            " access_key_id: a, secret_access_key: b}}}",
            "backup.store.s3.endpoint: backups go over plain http, readable on the way; use https",
        ),
        (
            "backup: {store: {url: /b}, verify: {target: {url: 'http://scratch', api_key: k}}}",
            "backup.verify.target.api_key: goes over plain http, readable on the way; use https",
        ),
        (
            "backup: {store: {url: /b}, verify: {target: {url: 'https://s'}, allow_same_cluster: true}}",
            "backup.verify.allow_same_cluster: has no effect, because there is a target",
        ),
        ("backup: {retention: {last: 3}}", "backup: has no effect, because it has no store"),
    ],
)
def test_what_works_and_should_not_stay_so_is_warned_of(tmp_path: Path, backup: str, said: str) -> None:
    """Each with its path."""
    assert warnings_of(settings_of(tmp_path, CLUSTERS + backup)) == (said,)


def test_the_key_of_jobs_is_a_secret_and_goes_over_https_only(tmp_path: Path) -> None:
    """It may do more than the one for polling: never shown, and its way is watched over."""
    settings = settings_of(tmp_path, "clusters:\n- peers: [http://a]\n  jobs: {api_key: open-sesame}\n")

    assert [secret.reveal() for secret in settings.secrets()] == ["open-sesame"]
    assert "open-sesame" not in redacted_yaml(settings)
    assert warnings_of(settings) == (
        "clusters.0.jobs.api_key: goes over plain http to a:6333, readable on the way; use https",
    )
