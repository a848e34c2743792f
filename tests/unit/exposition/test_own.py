"""The daemon tells of its own process without touching the global registry."""

from __future__ import annotations

import platform

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition.own import OwnMetrics


def test_it_says_which_version_runs_on_which_python() -> None:
    """qdrantx_build_info is 1 with both labels."""
    families = {family.name: family for family in text_string_to_metric_families(_text())}

    (sample,) = families["qdrantx_build_info"].samples
    assert {"version": "1.2.3", "python": platform.python_version()} == sample.labels
    assert sample.value == 1.0


def test_it_tells_of_its_process() -> None:
    """Memory and CPU of the daemon are there under their usual names."""
    names = {family.name for family in text_string_to_metric_families(_text())}

    assert {"process_cpu_seconds", "process_resident_memory_bytes", "python_info"} <= names


def test_two_of_them_do_not_collide_and_leave_the_global_registry_alone() -> None:
    """Each has its own registry: a reload may build another one."""
    OwnMetrics(version="1")
    OwnMetrics(version="2")

    assert REGISTRY.get_sample_value("qdrantx_build_info", {"version": "1"}) is None
    assert "qdrantx_build_info" not in {family.name for family in REGISTRY.collect()}


def _text() -> str:
    return OwnMetrics(version="1.2.3").text().decode()
