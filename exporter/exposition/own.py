"""The daemon's own process, told through prometheus_client in a registry of its own.

What the daemon learns of Qdrant, and what it costs Qdrant, are Readings and not here.
"""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from exporter.model import Kind, MetricSpec

BUILD_INFO = MetricSpec(
    name="qdrantx_build_info",
    kind=Kind.GAUGE,
    what="Always 1; the labels say which exporter runs on which Python",
    unit="1",
    source="this daemon",
    labels=("version", "python"),
)


class OwnMetrics:
    """process_*, python_info and qdrantx_build_info as text; the global registry is left alone."""

    def __init__(self, *, version: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        build_info = Gauge(BUILD_INFO.name, BUILD_INFO.help, BUILD_INFO.labels, registry=self._registry)
        build_info.labels(version=version, python=platform.python_version()).set(1)

    def text(self) -> bytes:
        """Return the present values in text format 0.0.4. Reads /proc."""
        return generate_latest(self._registry)
