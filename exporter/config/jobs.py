"""The settings of scheduled jobs: what is done, of which collections, and when.

A bound or a default has its reason beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from exporter.config.alerting_fields import Clock, Location
from exporter.config.fields import (
    ClusterName,
    Count,
    Ratio,
    Seconds,
    Section,
    Size,
    Text,
    short_name,
    within,
)
from exporter.config.quantities import format_duration, format_size
from exporter.config.schedules import CronText

_HOUR = 3_600.0
_DAY = 86_400.0
_MEBIBYTE = 1 << 20


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


class WindowSettings(Section):
    """Hours of the day, by the time zone of the job's schedule; over midnight where they end first."""

    start: Clock = Field(validation_alias="from", serialization_alias="from")
    end: Clock = Field(validation_alias="to", serialization_alias="to")  # not included

    @model_validator(mode="after")
    def _two_times(self) -> Self:
        if self.start == self.end:
            raise ValueError("from and to are the same time; write two, or leave window out")
        if self.start == "24:00":
            raise ValueError('a window cannot begin at 24:00; write "00:00"')
        return self


# Keys that are for jobs of one kind; those that are not here are for all.
_KIND_OF_KEY: Mapping[str, str] = {
    "level": "verify",
    "max_age_seconds": "backup",
    "format": "backup",
    "encoding": "backup",
    "allow_lossy": "backup",
    "min_deleted_ratio": "vacuum",
    "min_reclaim_bytes": "vacuum",
    "p95_limit_seconds": "vacuum",
    "queue_limit": "vacuum",
    "window": "vacuum",
    "dry_run": "vacuum",
}
_OF_EXPORTS = ("encoding", "allow_lossy")


class JobSettings(Section):
    """One scheduled job."""

    name: Annotated[Text, short_name("a job")]
    kind: Literal["backup", "verify", "prune", "vacuum"]
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
    # backup: what is stored. A snapshot is fast and exact, for the same minor version of Qdrant and the next;
    # an export is the points themselves, for any version and any number of shards.
    format: Literal["snapshot", "export"] = "snapshot"
    # Of an export: msgpack is the smallest and fastest, jsonl is for people and other programs.
    encoding: Literal["msgpack", "jsonl"] = "msgpack"
    # Of an export: also where an import could not bring back the very same points.
    allow_lossy: bool = False
    # vacuum: which segments are worth it. A tenth: half of what makes the server itself rewrite one.
    min_deleted_ratio: Annotated[
        Ratio,
        within(0.01, 0.99, reason="below a hundredth a rewrite costs more than what it frees"),
    ] = 0.1
    # vacuum: what all of them together must free. To rewrite a segment for less is not worth its reads.
    min_reclaim_bytes: Annotated[
        Size,
        within(_MEBIBYTE, 1 << 50, show=format_size, reason="nobody notices what less than that frees"),
    ] = Field(default=64 * _MEBIBYTE, validation_alias="min_reclaim", serialization_alias="min_reclaim")
    # vacuum: not where searches are this slow already; a rewrite takes CPU and reads from them. 0: whatever.
    p95_limit_seconds: Annotated[
        Seconds,
        within(0, 60, show=format_duration, reason="a search that takes longer has timed out"),
    ] = Field(default=0.1, validation_alias="p95_limit", serialization_alias="p95_limit")
    # vacuum: not where more operations wait on a replica: its writers have the machine.
    queue_limit: Annotated[
        Count,
        within(0, 1_000_000, reason="that many waiting operations are hours of work"),
    ] = 100
    window: WindowSettings | None = None  # vacuum: None: whenever it is due
    dry_run: bool = False  # vacuum: say what would be done, and do nothing
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
        written = [name for name in self.model_fields_set if getattr(self, name) is not None]
        for name in sorted(written):
            kind = _KIND_OF_KEY.get(name, self.kind)
            if kind != self.kind:
                raise ValueError(f"{_key_of(name)} is for jobs of kind {kind}")
            if name in _OF_EXPORTS and self.format != "export":
                raise ValueError(f"{_key_of(name)} is for format: export")
        return self


def _key_of(name: str) -> str:
    """Return a field's name as a person writes it."""
    alias = JobSettings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else name
