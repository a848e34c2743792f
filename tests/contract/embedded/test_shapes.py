"""The embedded server answers in the shapes of the recorded server, and says what it leaves out."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.embedded.scenario import CREATED, SINGLE, Answers, play
from tests.contract.embedded.shapes import Shape, differences, missing
from tests.kit.recordings import recording

NOT_TOLD = "the engine does not tell it"
NO_SUCH_PART = "this server has no such part"
NO_ALLOCATOR = "a figure of jemalloc, which this server does not run on"
SHARD = "result.collections.collections[].shards[].local"
SEGMENT = f"{SHARD}.segments[]"
# Left out of every telemetry page.
TELEMETRY_EXCEPTIONS = {
    "result.app.features.debug": "the engine's build options are not told",
    "result.app.features.service_debug_feature": "the engine's build options are not told",
    "result.app.features.gpu": "the engine's build options are not told",
    "result.app.features.rocksdb": "the engine's build options are not told",
    "result.app.features.staging": "the engine's build options are not told",
    "result.app.runtime_features": NOT_TOLD,
    "result.app.low_memory_mode": NOT_TOLD,
    "result.app.hnsw_global_config": NOT_TOLD,
    "result.app.system.cpu_flags": NOT_TOLD,
    "result.cluster.config": "cluster settings of a server that can be clustered",
    "result.memory.active_bytes": NO_ALLOCATOR,
    "result.memory.allocated_bytes": NO_ALLOCATOR,
    "result.memory.metadata_bytes": NO_ALLOCATOR,
    "result.memory.retained_bytes": NO_ALLOCATOR,
    "result.hardware": NOT_TOLD,
    "result.search_pool": NO_SUCH_PART,
    "result.collections.collections[].config.wal_config": "the engine's write-ahead log is not adjustable",
    f"{SHARD}.async_scorer": NOT_TOLD,
    f"{SHARD}.vectors_size_bytes": "left out where a sparse or multivector has no fixed size",
    f"{SHARD}.update_queue.deferred_points": "shown with prevent_unoptimized only; the engine does not tell",
    f"{SHARD}.optimizations.optimizations.fail_count": "no optimization failed here",
    f"{SEGMENT}.info.vectors_size_bytes": "left out where a sparse or multivector has no fixed size",
    f"{SEGMENT}.info.ram_usage_bytes": NOT_TOLD,
    f"{SEGMENT}.info.disk_usage_bytes": NOT_TOLD,
    f"{SEGMENT}.info.deferred_internal_id": NOT_TOLD,
    f"{SEGMENT}.info.index_schema.*.points": NOT_TOLD,
    f"{SEGMENT}.vector_index_searches": NOT_TOLD,
    f"{SEGMENT}.payload_field_indices": NOT_TOLD,
}
COLLECTION_EXCEPTIONS = {
    "result.config.wal_config": "the engine's write-ahead log is not adjustable",
}
OPTIMIZATION_EXCEPTIONS = {
    "result.running[].progress.children": "the engine does not tell its inner steps",
    "result.completed[].progress.children": "the engine does not tell its inner steps",
}
# Which recordings say the same thing in which states, and what may be missing.
COMPARED: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "telemetry_0": (("yellow", "green"), TELEMETRY_EXCEPTIONS),
    "telemetry_1": (
        ("yellow", "green"),
        TELEMETRY_EXCEPTIONS
        | {"result.collections.collections[].params.vectors.on_disk": "no collection here asked for it"},
    ),
    "telemetry_2": (("yellow", "green"), TELEMETRY_EXCEPTIONS),
    "telemetry_3": (("small", "yellow", "green"), TELEMETRY_EXCEPTIONS),
    "telemetry_4": (("small", "yellow", "green"), TELEMETRY_EXCEPTIONS),
    "collection.docs": (("small", "yellow", "green"), COLLECTION_EXCEPTIONS),
    "collection.named": (("small", "yellow", "green"), COLLECTION_EXCEPTIONS),
    "optimizations.docs": (("yellow", "green"), OPTIMIZATION_EXCEPTIONS),
    "root": (("green",), {"commit": "this server is not built from Qdrant's repository"}),
    "cluster": (("green",), {}),
    "collections": (("green",), {}),
    "aliases": (("green",), {}),
    "issues": (("green",), {}),
    "collection_cluster.docs": (("green",), {}),
    "collection_aliases.docs": (("green",), {}),
    "snapshots.docs": (("green",), {}),
    "snapshots_full": (("green",), {}),
}
# Requests that are sent again as recorded, and must be answered alike.
REPLAYED = (
    *("create/create.docs_again_409", "create/create.bad_dim", "create/create.bad_distance"),
    *("create/create.bad_json", "create/create.bad_threshold", "create/alias.same_as_collection_409"),
    *("create/alias.delete_missing", "create/create.weird_01", "create/create.weird_02"),
    *(
        "create/create.weird_06",
        "create/create.weird_08",
        "create/create.weird_09",
    ),
    *("query/approx", "query/exact", "query/approx_ef", "query/filter", "query/indexed_only"),
    *("query/alias_query", "query/by_id", "query/by_id_missing_404", "query/bad_body_400"),
    *("query/collection_404", "query/query_404", "query/collection_by_alias", "query/count_exact"),
    *("query/count_estimate", "query/exists", "query/exists_alias", "query/exists_missing"),
    *("query/method_405", "query/no_route_404", "query/named_dense", "query/named_multi"),
    *("query/named_no_using_400", "query/named_sample", "query/named_sparse", "query/named_u8"),
    *("query/optimizations_bad_with_400", "query/sample_random", "query/scroll", "query/timeout_0_422"),
    *("query/timeout_1", "query/upsert_wait", "query/upsert_nowait", "query/upsert_wrong_dim_400"),
    *("query/retrieve", "query/wrong_dim_400", "query/wrong_vector_name_400"),
    *("vacuum/patch.bad_422", "vacuum/patch.missing_404", "vacuum/patch.empty"),
    *("vacuum/patch.lower_threshold", "vacuum/delete_15_percent"),
    *("snapshots/create", "snapshots/list", "snapshots/create_nowait", "snapshots/collection_404"),
    *("snapshots/delete_again_404", "snapshots/download_404"),
)
FILLED = ("create/create.docs", "create/create.named", "create/index.text", "create/alias.create")
# Where Rust's JSON reader counted to.
POSITION = re.compile(r" at line \d+ column \d+$")
# Families of /metrics that nobody here can fill.
METRICS_EXCEPTIONS = {
    "collection_shard_transfer_incoming": NO_SUCH_PART,
    "collection_shard_transfer_outgoing": NO_SUCH_PART,
    "collection_update_queue_deferred_points": NOT_TOLD,
    "memory_active_bytes": NO_ALLOCATOR,
    "memory_allocated_bytes": NO_ALLOCATOR,
    "memory_metadata_bytes": NO_ALLOCATOR,
    "memory_retained_bytes": NO_ALLOCATOR,
    "process_threads": "a figure of one process; this server is several",
    "process_open_mmaps": "a figure of one process; this server is several",
    "system_max_mmaps": "a figure of the machine, not of the server",
    "process_open_fds": "a figure of one process; this server is several",
    "process_max_fds": "a figure of one process; this server is several",
    "process_minor_page_faults": "a figure of one process; this server is several",
    "process_major_page_faults": "a figure of one process; this server is several",
    **{
        f"collection_hardware_metric_{name}": NOT_TOLD
        for name in (
            *("cpu", "payload_io_read", "payload_io_write", "payload_index_io_read"),
            *("payload_index_io_write", "vector_io_read", "vector_io_write"),
        )
    },
}


@pytest.fixture(scope="module")
def answers() -> Answers:
    """Every answer of one run through the recorded states."""
    return asyncio.run(play(list(REPLAYED)))


@pytest.mark.parametrize("name", COMPARED)
def test_an_answer_has_the_keys_and_types_of_the_recordings(answers: Answers, name: str) -> None:
    """Key by key and type by type; what may be missing is listed with its reason."""
    states, exceptions = COMPARED[name]
    recorded = Shape.of(_of_created(recording(f"{SINGLE}/{state}/{name}").json) for state in states)
    answered = Shape.of(one.body for one in answers.states[name])

    assert differences(answered, recorded, exceptions) == []
    assert {200} == {one.status for one in answers.states[name]}


@pytest.mark.parametrize(
    ("name", "path"),
    [("telemetry_4", path) for path in TELEMETRY_EXCEPTIONS]
    + [("optimizations.docs", path) for path in OPTIMIZATION_EXCEPTIONS]
    + [("collection.docs", path) for path in COLLECTION_EXCEPTIONS],
)
def test_a_key_that_is_excused_is_really_missing(answers: Answers, name: str, path: str) -> None:
    """An exception that nobody needs any more would hide the next mistake."""
    assert missing(Shape.of(one.body for one in answers.states[name]), path)


@pytest.mark.parametrize("name", [*FILLED, *REPLAYED])
def test_a_recorded_request_is_answered_alike(answers: Answers, name: str) -> None:
    """Status, content type, refusal text and shape are those of the recording."""
    seen, answered = recording(f"{SINGLE}/{name}"), answers.replayed[name]

    assert seen.status == answered.status
    assert seen.headers.get("content-type", "") == answered.content_type
    if seen.json is None:
        assert (seen.text or "") == answered.body
    elif seen.status in (200, 202):
        exceptions = COLLECTION_EXCEPTIONS if name == "query/collection_by_alias" else {}
        assert differences(Shape.of([answered.body]), Shape.of([seen.json]), exceptions) == []
    else:
        refusals = [POSITION.sub("", body["status"]["error"]) for body in (seen.json, answered.body)]
        assert refusals[0] == refusals[1]


@pytest.mark.parametrize("name", ["healthz", "livez", "readyz"])
def test_a_health_check_says_what_was_recorded(answers: Answers, name: str) -> None:
    """The same words, as plain text."""
    seen = recording(f"{SINGLE}/green/{name}")

    for answered in answers.states[name]:
        assert seen.text == answered.body
        assert seen.headers["content-type"] == answered.content_type


def test_the_metrics_page_has_recorded_families_only(answers: Answers) -> None:
    """Names, kinds and label names are Qdrant's, and what is left out is listed."""
    recorded = _families(recording(f"{SINGLE}/green/metrics").text or "")
    answered = _families(answers.states["metrics"][-1].body)

    assert set(METRICS_EXCEPTIONS) == recorded.keys() - answered.keys()
    assert answered == {name: recorded[name] for name in answered}


def test_the_metrics_page_is_read_by_prometheus_own_parser(answers: Answers) -> None:
    """A collection name with a newline comes through whole."""
    names = {
        sample.labels.get("id")
        for family in text_string_to_metric_families(answers.states["metrics"][-1].body)
        for sample in family.samples
    }

    assert {"docs", "named", "new\nline", "per%41cent"} <= names


def _of_created(page: Any) -> Any:
    """Keep of a recorded telemetry page the collections that the scenario creates too."""
    if "id" in page.get("result", {}):
        collections = page["result"]["collections"].get("collections", [])
        if all("id" in one for one in collections):
            collections[:] = [one for one in collections if one["id"] in CREATED]
    return page


def _families(page: str) -> dict[str, tuple[str, frozenset[str]]]:
    return {
        family.name: (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels),
        )
        for family in text_string_to_metric_families(page)
    }
