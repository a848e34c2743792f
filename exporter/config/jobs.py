"""The settings of scheduled jobs: what is done, of which collections, and when.

A bound or a default has its reason beside it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from exporter.config.alerting_fields import Location
from exporter.config.fields import ClusterName, Count, Seconds, Section, Text, short_name, within
from exporter.config.quantities import format_duration
from exporter.config.schedules import CronText

_HOUR = 3_600.0
_DAY = 86_400.0


class ScheduleSettings(Section):
    """When a job runs: at the times of a cron line, or every so often."""

    cron: CronText | None = None  # five fields; weekdays as in cron, 0 and 7 are Sunday
    # Of the cron line. UTC has no hour twice and none that is left out.
    timezone: Location = "UTC"
    every_seconds: (
        Annotated[
            Seconds,
            within(60, 366 * _DAY, show=format_duration, reason="less than a minute is a loop, not a chore"),
        ]
        | None
    ) = Field(default=None, validation_alias="every", serialization_alias="every")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.cron is None) == (self.every_seconds is None):
            raise ValueError("write either cron or every")
        if self.every_seconds is not None and self.timezone != "UTC":
            raise ValueError("timezone is for cron, and every is counted in UTC; take it out")
        return self


class JobCollections(Section):
    """Of which collections, by shell globs over the whole name, as under a cluster's `collections`."""

    include: tuple[Text, ...] = ("*",)
    exclude: tuple[Text, ...] = ()

    def selects(self, name: str) -> bool:
        """The collection of this name is among them: some include matches and no exclude does."""
        return any(fnmatchcase(name, pattern) for pattern in self.include) and not any(
            fnmatchcase(name, pattern) for pattern in self.exclude
        )


class JobSettings(Section):
    """One scheduled job."""

    name: Annotated[Text, short_name("a job")]
    kind: Literal["backup", "verify", "prune"]
    cluster: ClusterName | None = None  # None: the only cluster
    collections: JobCollections = JobCollections()
    schedule: ScheduleSettings
    # verify: up to which level sets are proven. None: 2, which reads the store and nothing else.
    level: Annotated[Count, within(1, 4, reason="1 sizes, 2 hashes, 3 opened, 4 restored")] | None = None
    # backup: how old the newest complete set may be before somebody must know. None: the schedule's own
    # longest gap.
    max_age_seconds: (
        Annotated[
            Seconds,
            within(60, 3_660 * _DAY, show=format_duration, reason="ten years are the most"),
        ]
        | None
    ) = Field(default=None, validation_alias="max_age", serialization_alias="max_age")
    # A run that was missed, because nothing ran here then, is made up for within so long.
    catch_up_seconds: Annotated[
        Seconds,
        within(0, 31 * _DAY, show=format_duration, reason="after a month the next one is near"),
    ] = Field(default=6 * _HOUR, validation_alias="catch_up", serialization_alias="catch_up")
    # A run that takes longer is ended, in peace where it can be.
    deadline_seconds: Annotated[
        Seconds,
        within(60, 31 * _DAY, show=format_duration, reason="what takes a month hangs"),
    ] = Field(default=12 * _HOUR, validation_alias="deadline", serialization_alias="deadline")

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> Self:
        if self.level is not None and self.kind != "verify":
            raise ValueError("level is for jobs of kind verify")
        if self.max_age_seconds is not None and self.kind != "backup":
            raise ValueError("max_age is for jobs of kind backup")
        return self
