"""What was due and did not come about while nothing ran here. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.config.jobs import JobSettings
from exporter.jobs.ledger import Record
from exporter.jobs.schedule import fires_between, previous_fire
from exporter.jobs.words import Outcome, Reason, Verdict

_COUNTED = 1_000  # beyond that "over 1000" says enough


@dataclass(frozen=True, slots=True)
class Overdue:
    """Times at which a job was due and nothing came of it."""

    newest_at: float  # Unix seconds
    number: int
    in_time: bool  # within `catch_up`: one run makes up for all of them

    @property
    def verdict(self) -> Verdict:
        """What is written down where it is too late."""
        times = f"over {_COUNTED - 1} times" if self.number == _COUNTED else f"{self.number} times"
        detail = "it was due" if self.number == 1 else f"it was due {times}"
        return Verdict(
            Outcome.MISSED,
            Reason.MISSED,
            f"{detail} while nothing ran here, and it is too late to make up for it",
        )


def overdue(job: JobSettings, record: Record, now: float) -> Overdue | None:
    """Return what a job missed until now; None: nothing. What was due before it was known is not missed."""
    after = max(record.since, record.done_until)
    newest = previous_fire(job.schedule, now)
    if newest is None or newest <= after:
        return None
    return Overdue(
        newest_at=newest,
        number=len(fires_between(job.schedule, after, newest, _COUNTED)),
        in_time=now - newest <= job.catch_up_seconds,
    )
