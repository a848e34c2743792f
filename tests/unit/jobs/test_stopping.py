"""How long the daemon may take to stop, over all its rooms."""

from __future__ import annotations

from exporter.backup.calling import Limits
from exporter.duty.watch import DRAIN_SECONDS
from exporter.jobs.room import GRACE_SECONDS, TIDY_SECONDS
from exporter.web.server import STOP_SECONDS

KILLED_AFTER_SECONDS = 30.0  # Kubernetes' terminationGracePeriodSeconds, where nothing else is written


def test_jobs_alerts_and_the_web_face_end_one_after_the_other_before_kubernetes_kills() -> None:
    """Each of them may need all of its time in the same stop, and two seconds are for the rest."""
    jobs_seconds = GRACE_SECONDS + TIDY_SECONDS

    assert jobs_seconds + DRAIN_SECONDS + STOP_SECONDS <= KILLED_AFTER_SECONDS - 2.0


def test_a_cancelled_run_has_the_time_that_it_takes_to_clean_up() -> None:
    """Else it is cut off in the middle of deleting what it left on servers."""
    assert Limits().cleanup_seconds < TIDY_SECONDS
