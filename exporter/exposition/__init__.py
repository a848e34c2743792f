"""Readings to Prometheus text: rendered ahead of every scrape, off the event loop."""

from exporter.exposition.own import BUILD_INFO
from exporter.exposition.renderer import DROPPED_SERIES
from exporter.model import MetricSpec

# What this room adds to the page of its own accord, for the catalogue.
SPECS: tuple[MetricSpec, ...] = (BUILD_INFO, DROPPED_SERIES)
