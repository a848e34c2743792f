"""The settings of the probes: what arrives, which pattern holds for whom, and what is shown again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.clusters import ClusterSettings, PeerSettings
from exporter.config.probes import CanarySettings, ProbeSettings, ProbesSettings, RecallSettings
from exporter.config.queries_file import FILTER_KEYS, QueriesFile, WrittenQuery, checked_filter
from exporter.config.redaction import redacted_yaml
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from tests.unit.config.bad_files import PEERS
from tests.unit.config.writing import settings_of

SOME_OF_EVERYTHING = """\
  probes:
    enabled: true
    budget_ratio: 0.05
    concurrent: 3
    pool_limit: 64MiB
    canary: {enabled: true, interval: 2m, deadline: 30s, api_key: s3cr3t}
    collections:
    - match: docs*
      interval: 10s
      deadline: 800ms
      vector: title
      limit: 20
      filter: {must: [{key: lang, match: {value: de}}], must_not: [{is_empty: {key: text}}]}
      hnsw_ef: 256
      indexed_only: true
      queries_file: own.jsonl
      recall: {interval: 5m, max_points: 7, window: 2h, latency_target: 50ms}
    - {match: small, exact: true, vector: ''}
    - {match: '*', enabled: false}
"""


def test_every_option_of_the_probes_arrives(tmp_path: Path) -> None:
    """Durations as seconds, sizes as bytes, the queries of a file read."""
    (tmp_path / "own.jsonl").write_text('{"id": 7}\n')

    probes = settings_of(tmp_path, PEERS + SOME_OF_EVERYTHING).clusters[0].probes

    docs = ProbeSettings(
        match="docs*",
        interval_seconds=10.0,
        deadline_seconds=0.8,
        vector="title",
        limit=20,
        filter={
            "must": [{"key": "lang", "match": {"value": "de"}}],
            "must_not": [{"is_empty": {"key": "text"}}],
        },
        hnsw_ef=256,
        indexed_only=True,
        queries_file=QueriesFile(tmp_path / "own.jsonl", (WrittenQuery(b"7"),)),
        recall=RecallSettings(
            interval_seconds=300.0, max_points=7, window_seconds=7_200.0, latency_target_seconds=0.05
        ),
    )
    assert probes == ProbesSettings(
        budget_ratio=0.05,
        concurrent=3,
        pool_limit_bytes=64 << 20,
        canary=CanarySettings(
            enabled=True, interval_seconds=120.0, deadline_seconds=30.0, api_key=Secret("s3cr3t")
        ),
        collections=(
            docs,
            ProbeSettings(match="small", exact=True, vector=""),
            ProbeSettings(enabled=False),
        ),
    )


def test_without_a_word_every_collection_is_searched_and_nothing_is_written() -> None:
    """The canary writes to the deployment, so it has to be asked for."""
    probes = ProbesSettings()

    assert probes.of("anything") == ProbeSettings()
    assert probes.canary.enabled is False


@pytest.mark.parametrize(
    ("collection", "limit"), [("docs", 1), ("docs_2", 2), ("Docs", 3), ("new\nline", 3), ("logs", None)]
)
def test_the_first_pattern_that_matches_holds(collection: str, limit: int | None) -> None:
    """Over the whole name, case matters; one that is switched off leaves its collections to no later one."""
    probes = ProbesSettings(
        collections=(
            ProbeSettings(match="docs", limit=1),
            ProbeSettings(match="docs*", limit=2),
            ProbeSettings(match="log?", enabled=False),
            ProbeSettings(match="*", limit=3),
        )
    )

    found = probes.of(collection)

    assert (None if found is None else found.limit) == limit


def test_a_collection_that_no_pattern_matches_is_not_probed() -> None:
    """Nor any, where probes are off or no pattern is written."""
    assert ProbesSettings(collections=(ProbeSettings(match="docs"),)).of("logs") is None
    assert ProbesSettings(enabled=False).of("docs") is None
    assert ProbesSettings(collections=()).of("docs") is None


@pytest.mark.parametrize(
    ("chosen", "measured"),
    [
        ({}, True),
        ({"enabled": False}, False),
        ({"exact": True}, False),
        ({"recall": RecallSettings(enabled=False)}, False),
        ({"exact": True, "recall": RecallSettings(enabled=True)}, False),
    ],
)
def test_recall_is_measured_where_there_is_something_to_compare(
    chosen: dict[str, Any], measured: bool
) -> None:
    """An exact search compared with itself is 1 whatever the index does."""
    assert ProbeSettings(**chosen).measures_recall is measured


def test_the_canarys_key_is_a_secret_as_any_other(tmp_path: Path) -> None:
    """It may manage collections: neither shown nor logged."""
    (tmp_path / "own.jsonl").write_text('{"id": 7}\n')
    loaded = settings_of(tmp_path, PEERS + SOME_OF_EVERYTHING)

    assert Secret("s3cr3t") in loaded.secrets()
    assert "s3cr3t" not in repr(loaded) + redacted_yaml(loaded)


@pytest.mark.parametrize("text", ["  probes:\n", "  probes: {collections: , canary: }\n", "  probes: {}\n"])
def test_a_head_with_nothing_under_it_is_the_default(tmp_path: Path, text: str) -> None:
    """People comment out all of a section and leave its head."""
    assert settings_of(tmp_path, PEERS + text) == settings_of(tmp_path, PEERS)


def _durations(least: float, most: float) -> st.SearchStrategy[float]:
    return st.integers(round(least * 1_000), round(most * 1_000)).map(lambda count: count / 1_000)


# `$` begins a variable, and line ends of other worlds are not kept by YAML.
_TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp"), exclude_characters="$\ufeff"), max_size=8
)
_KEYS = st.text("abcdefgh_ ü.", min_size=1, max_size=6)
_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)
_FILTERS = st.dictionaries(st.sampled_from(FILTER_KEYS), _VALUES, min_size=1)
_RECALLS = st.builds(
    RecallSettings,
    enabled=st.booleans(),
    interval_seconds=_durations(1, 86_400),
    max_points=st.integers(0, 10**10),
    window_seconds=_durations(10, 86_400),
    latency_target_seconds=_durations(0.001, 60),
)
_PROBES = st.builds(
    ProbeSettings,
    match=_TEXTS.filter(bool),
    enabled=st.booleans(),
    interval_seconds=_durations(1, 3_600),
    deadline_seconds=_durations(0.1, 60),
    vector=st.none() | _TEXTS,
    limit=st.integers(1, 1_000),
    filter=st.none() | _FILTERS,
    hnsw_ef=st.none() | st.integers(1, 100_000),
    exact=st.booleans(),
    indexed_only=st.booleans(),
    recall=_RECALLS,
)
_SETTINGS = st.builds(
    ProbesSettings,
    enabled=st.booleans(),
    budget_ratio=st.floats(0.0001, 0.5),
    concurrent=st.integers(1, 256),
    pool_limit_bytes=st.integers(0, 4_096 << 20),
    collections=st.lists(_PROBES, max_size=3).map(tuple),
    canary=st.builds(
        CanarySettings,
        enabled=st.booleans(),
        interval_seconds=_durations(1, 3_600),
        deadline_seconds=_durations(0.1, 300),
    ),
)
_MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _shown_and_loaded(directory: Path, probes: ProbesSettings) -> ProbesSettings:
    cluster = ClusterSettings(peers=(PeerSettings(url="http://a"),), probes=probes)
    return settings_of(directory, redacted_yaml(Settings(clusters=(cluster,)))).clusters[0].probes


@_MANY
@given(probes=_SETTINGS)
def test_the_shown_settings_of_probes_load_to_the_same(tmp_path: Path, probes: ProbesSettings) -> None:
    """What GET /config shows can be copied into a file, filters and all."""
    assert probes == _shown_and_loaded(tmp_path, probes)


@settings(deadline=None)
@given(_FILTERS | _VALUES)
def test_a_filter_that_is_taken_can_be_sent(written: Any) -> None:
    """What cannot be JSON is refused before the first search."""
    try:
        chosen = checked_filter(written)
    except ValueError:
        return

    assert msgspec.json.decode(msgspec.json.encode(chosen)) == chosen


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), float("inf"), float("nan")])
def test_a_filter_that_is_no_json_is_refused(value: object) -> None:
    """Given by code, for YAML has no such values."""
    with pytest.raises(ValueError, match="a filter holds text, numbers, true, false, lists and keys only"):
        checked_filter({"must": [value]})
