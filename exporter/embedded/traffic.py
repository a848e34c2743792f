"""The server's own request counters: how often each route answered with which status, how long it took."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from exporter.embedded.answers import to_milliseconds

# Qdrant's own buckets, in seconds.
BUCKET_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0)


@dataclass(slots=True)
class Tally:
    """All answers of one route with one status. Durations in microseconds, as telemetry has them."""

    count: int = 0
    total_micros: float = 0.0
    least_micros: float = float("inf")
    most_micros: float = 0.0
    last_seconds: float = 0.0  # Unix time
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKET_SECONDS) + 1))

    def add(self, took_seconds: float, at_seconds: float) -> None:
        """Count one answer."""
        micros = took_seconds * 1e6
        self.count += 1
        self.total_micros += micros
        self.least_micros = min(self.least_micros, micros)
        self.most_micros = max(self.most_micros, micros)
        self.last_seconds = at_seconds
        self.buckets[bisect_left(BUCKET_SECONDS, took_seconds)] += 1

    def answer(self, *, full: bool) -> dict[str, Any]:
        """Return it as telemetry shows it; level 0 has only count and average."""
        brief = {"count": self.count, "avg_duration_micros": self.total_micros / self.count}
        if not full:
            return brief
        return brief | {
            "min_duration_micros": self.least_micros,
            "max_duration_micros": self.most_micros,
            "total_duration_micros": round(self.total_micros),
            "last_responded": to_milliseconds(self.last_seconds),
        }


class Traffic:
    """Tallies by "METHOD /route/{template}" and status."""

    def __init__(self) -> None:
        self.tallies: dict[str, dict[int, Tally]] = {}

    def count(self, route: str, status: int, took_seconds: float, at_seconds: float) -> None:
        """Count one answer."""
        self.tallies.setdefault(route, {}).setdefault(status, Tally()).add(took_seconds, at_seconds)

    def answer(self, *, full: bool) -> dict[str, Any]:
        """Return `requests` as telemetry shows it. There is no gRPC port, so nothing came by it."""
        responses = {
            route: {str(status): tally.answer(full=full) for status, tally in by_status.items()}
            for route, by_status in self.tallies.items()
        }
        return {"rest": {"responses": responses}, "grpc": {"responses": {}}}
