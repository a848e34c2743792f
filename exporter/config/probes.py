"""The settings of the probes: what is searched for, how often, and what that may cost.

A bound or a default has its reason beside it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from exporter.config.fields import Count, Ratio, Seconds, Section, Size, Text, within
from exporter.config.quantities import format_duration, format_size
from exporter.config.queries_file import QueriesFile, checked_filter
from exporter.config.secret import Secret

_MEBIBYTE = 1 << 20

Filter = Annotated[dict[str, Any], BeforeValidator(checked_filter)]


class RecallSettings(Section):
    """The same query once approximate and once exact, compared."""

    enabled: bool = True
    # Recall moves with the index, over hours, and an exact search costs more than any other: fifty
    # queries, enough to tell 0.95 from 0.9, are together after four hours.
    interval_seconds: Annotated[
        Seconds, within(1, 86_400, show=format_duration, reason="recall is told over a day at the most")
    ] = Field(default=300.0, validation_alias="interval", serialization_alias="interval")
    # An exact search reads every vector: 100,000 of 1,536 floats are 600 MB, some 50 ms of one core.
    max_points: Annotated[Count, within(0, 10**10, reason="an exact search compares with every point")] = (
        100_000
    )
    # Recall moves with the index, slowly. Under a minute there would be too few queries.
    window_seconds: Annotated[
        Seconds, within(10, 86_400, show=format_duration, reason="it holds a few dozen queries")
    ] = Field(default=3_600.0, validation_alias="window", serialization_alias="window")
    # The p95 of searches above which users wait: an exact search would make them wait longer.
    latency_target_seconds: Annotated[
        Seconds, within(0.001, 60, show=format_duration, reason="it is the p95 of a search")
    ] = Field(default=0.1, validation_alias="latency_target", serialization_alias="latency_target")


class ProbeSettings(Section):
    """How the collections of one pattern are probed. The pattern is a shell glob, case matters."""

    match: Text = "*"
    enabled: bool = True
    # Ten samples in the ten minutes of the percentiles; a thousand collections are 17 searches a second.
    interval_seconds: Annotated[
        Seconds, within(1, 3_600, show=format_duration, reason="a p95 needs twenty searches")
    ] = Field(default=60.0, validation_alias="interval", serialization_alias="interval")
    # Ours, whatever the server does with its own: one that waits for a frozen peer takes 9.4 s.
    deadline_seconds: Annotated[
        Seconds, within(0.1, 60, show=format_duration, reason="a search that takes longer failed its user")
    ] = Field(default=5.0, validation_alias="deadline", serialization_alias="deadline")
    vector: str | None = None  # None: each of the collection's in turn
    limit: Annotated[Count, within(1, 1_000, reason="ids are compared by it, and it is the k of recall")] = 10
    filter: Filter | None = None
    # 100,000: Qdrant's own searches stay far below, and more would visit whole segments.
    hnsw_ef: Annotated[Count, within(1, 100_000, reason="it is what Qdrant may visit")] | None = None
    exact: bool = False
    indexed_only: bool = False
    queries_file: QueriesFile | None = None
    recall: RecallSettings = RecallSettings()

    @property
    def measures_recall(self) -> bool:
        """Whether there is something to compare: an exact search would be compared with itself."""
        return self.enabled and self.recall.enabled and not self.exact


class CanarySettings(Section):
    """Points of our own, written and looked for. Off: it writes to the deployment."""

    enabled: bool = False
    # As often as the searches: a rule asks for three failures within ten minutes.
    interval_seconds: Annotated[
        Seconds, within(1, 3_600, show=format_duration, reason="after an hour our points count as left over")
    ] = Field(default=60.0, validation_alias="interval", serialization_alias="interval")
    # How long a point may take to be visible everywhere; users of fresh data wait no longer.
    deadline_seconds: Annotated[
        Seconds, within(0.1, 300, show=format_duration, reason="data that late is not fresh")
    ] = Field(default=10.0, validation_alias="deadline", serialization_alias="deadline")
    api_key: Secret | None = None  # None: the cluster's own


class ProbesSettings(Section):
    """Active measurement of one cluster."""

    enabled: bool = True
    # As for polling: too little for users to notice.
    budget_ratio: Annotated[
        Ratio, within(0.0001, 0.5, reason="the share of time in which a peer may work for us")
    ] = 0.01
    # Searches of ours that a peer may have under way: a frozen one holds each for its whole deadline.
    concurrent: Annotated[Count, within(1, 256, reason="each holds a connection and a search thread")] = 8
    # Vectors to search with, as text: 12 bytes a number, so 1,536 numbers are 18 KB.
    pool_limit_bytes: Annotated[
        Size, within(0, 4_096 * _MEBIBYTE, show=format_size, reason="it is held in memory")
    ] = Field(default=32 * _MEBIBYTE, validation_alias="pool_limit", serialization_alias="pool_limit")
    collections: tuple[ProbeSettings, ...] = (ProbeSettings(),)
    canary: CanarySettings = CanarySettings()

    def of(self, collection: str) -> ProbeSettings | None:
        """Return the settings of the first pattern that matches a collection; None: it is not probed."""
        settings = self.pattern_of(collection)
        return settings if settings is not None and self.enabled and settings.enabled else None

    def pattern_of(self, collection: str) -> ProbeSettings | None:
        """Return the settings of the first pattern that matches, switched off or not; None: none does."""
        return next((one for one in self.collections if fnmatchcase(collection, one.match)), None)
