"""Jobs and schedules as tests want them."""

from __future__ import annotations

from typing import Any

from exporter.config.jobs import JobSettings, ScheduleSettings

HOURLY = ScheduleSettings(cron="0 * * * *")


def job(name: str = "nightly", *, kind: Any = "backup", **changed: Any) -> JobSettings:
    """A job, due every hour."""
    return JobSettings(name=name, kind=kind, **{"schedule": HOURLY} | changed)
