"""Our readings say what the server's own API says."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest

from exporter.observe.sources.telemetry import unix_time
from exporter.qdrant.versions import FIRST_VERSION, parse_version
from tests.contract.ground import HELD, RELEASED, Qdrant, embedded_qdrant, path_of, vector
from tests.contract.look import Look, look_at, watching

POINTS = 1_200
FIELDS = {"colour": "keyword", "price": "float", "stock": "integer"}
# What the embedded server has no route for; a real one of its version has.
NOT_EMBEDDED = frozenset({"memory"})


async def indexed(qdrant: Qdrant) -> str:
    """A collection whose points are all indexed, payload too."""
    optimizers = {"indexing_threshold": 10, "default_segment_number": 1, **RELEASED}
    name = await qdrant.create(optimizers_config=optimizers)
    for field, kind in FIELDS.items():
        body = {"field_name": field, "field_schema": kind}
        await qdrant.result("PUT", f"{path_of(name)}/index?wait=true", body)
    await qdrant.write(name, POINTS)
    await qdrant.until_all_indexed(name, POINTS)
    return name


async def test_every_source_reads_its_answer_without_a_fault(qdrant: Qdrant) -> None:
    """What the version lacks is unsupported, and all else answers."""
    await indexed(qdrant)

    look = await look_at(qdrant)

    version = parse_version((await qdrant.ask("GET", "/")).json["version"])
    assert version is not None
    lacking = {source for source, first in FIRST_VERSION.items() if version < first}
    assert look.failing == []
    assert look.unsupported == lacking | (NOT_EMBEDDED if qdrant.embedded else set())
    assert set(look.of("up").values()) == {1}


async def test_points_vectors_and_segments_are_those_of_the_collection_itself(qdrant: Qdrant) -> None:
    """GET /collections/{collection} counts alike, and so do our logical numbers."""
    name = await indexed(qdrant)

    look = await look_at(qdrant)

    info = await qdrant.info(name)
    assert info["points_count"] == POINTS
    assert [info[f"{part}_count"] for part in ("points", "indexed_vectors", "segments")] == [
        look.number(f"collection_{part}", name) for part in ("points", "indexed_vectors", "segments")
    ]
    assert info["config"]["params"]["shard_number"] == look.number("collection_shards", name)
    assert look.of_collection("collection_status", name)[f"status={info['status']}"] == 1
    assert look.number("collection_complete", name) == 1
    assert look.number("collection_optimizer_ok", name) == 1


async def test_payload_index_points_are_those_of_the_payload_schema(real: Qdrant) -> None:
    """By field and type, also of a field that only some points have."""
    name = await indexed(real)
    body = {"field_name": "rare", "field_schema": "bool"}
    await real.result("PUT", f"{path_of(name)}/index?wait=true", body)
    rare = {"payload": {"rare": True}, "points": [1, 2, 3]}
    await real.result("POST", f"{path_of(name)}/points/payload?wait=true", rare)

    async def told() -> Any:
        look = await look_at(real)
        schema = (await real.info(name))["payload_schema"]
        counted = {f"field={field},type={one['data_type']}": one["points"] for field, one in schema.items()}
        return counted if counted == look.of_collection("collection_payload_index_points", name) else None

    assert {
        key: value
        for key, value in (await real.until(told, what="payload indexes told alike")).items()
        if "colour" in key or "rare" in key
    } == {"field=colour,type=keyword": POINTS, "field=rare,type=bool": 3}


async def test_payload_indexes_that_nobody_counts_have_no_reading() -> None:
    """The embedded engine does not count them by segment; 0 would be a lie."""
    async with embedded_qdrant() as qdrant:
        name = await indexed(qdrant)

        look = await look_at(qdrant)

    assert look.of_collection("collection_payload_index_points", name) == {}


async def test_aliases_are_those_of_the_server(qdrant: Qdrant) -> None:
    """All of them, and gone when deleted."""
    name = await qdrant.create()
    alias = f"{name}-alias"
    create = {"create_alias": {"collection_name": name, "alias_name": alias}}
    await qdrant.result("POST", "/collections/aliases", {"actions": [create]})

    there = await look_at(qdrant)
    told = (await qdrant.result("GET", "/aliases"))["aliases"]
    delete = {"delete_alias": {"alias_name": alias}}
    await qdrant.result("POST", "/collections/aliases", {"actions": [delete]})
    gone = await look_at(qdrant)

    labels = {f"alias={one['alias_name']},collection={one['collection_name']}" for one in told}
    assert set(there.of("alias_info")) == labels
    assert f"alias={alias},collection={name}" in labels
    assert set(gone.of("alias_info")) == labels - {f"alias={alias},collection={name}"}


async def test_no_snapshots_are_told_where_the_server_lists_none(qdrant: Qdrant) -> None:
    """0 of a collection without one, beside those of the whole storage."""
    await qdrant.create()

    look = await look_at(qdrant)

    whole = [await qdrant.result("GET", "/snapshots", url=url) for url in qdrant.urls]
    assert [len(held) for held in whole] == list(look.of("peer_snapshots").values())


async def test_a_snapshot_is_told_with_its_size(qdrant: Qdrant) -> None:
    """On the peer that made it."""
    name = await qdrant.create()
    await qdrant.write(name, 100)
    before = await look_at(qdrant)

    made = await qdrant.result("POST", f"{path_of(name)}/snapshots?wait=true")
    after = await look_at(qdrant)

    grown = [sum(after.of(one).values()) - sum(before.of(one).values()) for one in SNAPSHOT_METRICS]
    assert [1, made["size"]] == grown


SNAPSHOT_METRICS = ("peer_snapshots", "peer_snapshot_bytes")


async def test_issues_are_those_of_the_server_by_code(qdrant: Qdrant) -> None:
    """Each id once, whichever peers tell it."""
    await qdrant.create()

    look = await look_at(qdrant)

    told = [await qdrant.result("GET", "/issues", url=url) for url in qdrant.urls]
    ids = {issue["id"] for page in told for issue in page["issues"]}
    counts = Counter(one.split("/", 1)[0] for one in ids)
    assert {f"code={code}": count for code, count in counts.items()} == look.of("issues")


async def test_memory_is_what_the_server_says_of_the_collection(real: Qdrant) -> None:
    """Disk exactly; memory and page cache move by themselves. The embedded server cannot tell it."""
    name = await indexed(real)

    look = await look_at(real)

    told = (await real.result("GET", f"{path_of(name)}/memory"))["total"]
    assert told["disk_bytes"] == look.number("collection_disk_allocated_bytes", name)
    for part, key in (("ram", "ram"), ("page_cache", "cached"), ("page_cache_expected", "expected_cache")):
        assert look.number(f"collection_{part}_bytes", name) == pytest.approx(
            told[f"{key}_bytes"], rel=0.2, abs=1 << 20
        )


async def test_what_waits_for_the_optimizer_is_the_sum_of_its_plan(qdrant: Qdrant) -> None:
    """Points of all queued segments, as the server lists them."""
    name = await qdrant.create(optimizers_config={"indexing_threshold": 10, **HELD})
    await qdrant.write(name, POINTS)

    look = await look_at(qdrant)

    plan = await qdrant.result("GET", f"{path_of(name)}/optimizations?with=queued")
    listed = sum(segment["points_count"] for one in plan["queued"] for segment in one["segments"])
    assert POINTS == listed == plan["summary"]["queued_points"]
    assert look.number("collection_optimizations_queued_points", name) == POINTS


async def test_a_peer_is_told_as_it_tells_itself(qdrant: Qdrant) -> None:
    """Version, start, resident memory, machine: from its own telemetry, in base units."""
    await qdrant.create()
    look = await look_at(qdrant)

    page = await qdrant.telemetry(3)
    peer = urlsplit(qdrant.urls[0]).netloc
    version = (await qdrant.ask("GET", "/")).json["version"]
    (info,) = (labels for labels in look.of("peer_info") if f"peer={peer}" in labels)
    started = unix_time(page["app"]["startup"])
    assert f"version={version}" in info
    assert started == _of_peer(look, "peer_start_time_seconds", peer)
    assert started is not None
    assert started < time.time()
    assert page["app"]["system"]["ram_size"] * 1024 == _of_peer(look, "peer_memory_total_bytes", peer)
    assert 0 < _of_peer(look, "peer_memory_used_ratio", peer) < 1
    assert _of_peer(look, "peer_cpu_cores_used", peer) >= 0


def _of_peer(look: Look, metric: str, peer: str) -> float:
    return look.readings[f"{metric}{{peer={peer}}}"]


async def test_updates_are_counted_and_the_queue_is_empty_once_they_are_applied(qdrant: Qdrant) -> None:
    """One operation a request, on each replica of the shard."""
    name = await qdrant.create(shard_number=1)
    await qdrant.write(name, 10)
    before = await look_at(qdrant)
    for number in range(3):
        await qdrant.write(name, number + 1, first=number)
    after = await look_at(qdrant)

    grown = [sum(look.of_collection("replica_operations_total", name).values()) for look in (before, after)]
    assert grown[1] - grown[0] == 3
    assert after.number("collection_update_queue_length", name) == 0


async def test_data_routes_are_counted_by_outcome_and_nothing_else_is(qdrant: Qdrant) -> None:
    """Queries and writes good and bad; our own polls and the management of collections never."""
    name = await qdrant.create(shard_number=1)
    await qdrant.write(name, 10)
    query, good = f"{path_of(name)}/points/query", {"query": vector(random.Random(1))}
    before = await look_at(qdrant)
    for body in (good, good, good, {"query": [1.0]}):
        await qdrant.ask("POST", query, body)
    await qdrant.ask("POST", f"{path_of(name)}nosuch/points/query", good)
    await qdrant.write(name, 11, first=10)
    await qdrant.info(name)
    await qdrant.patch(name, deleted_threshold=0.3)
    after = await look_at(qdrant)
    again = await look_at(qdrant)

    metric = "server_requests_total"
    grown = Counter(after.of(metric))
    grown.subtract(before.of(metric))
    peer = f"peer={urlsplit(qdrant.urls[0]).netloc},protocol=rest,operation="
    assert {key: value for key, value in grown.items() if value} == {
        f"{peer}POST points/query,class=ok": 3,
        f"{peer}POST points/query,class=client_error": 2,
        f"{peer}PUT points,class=ok": 1,
    }
    assert after.of(metric) == again.of(metric)


async def test_a_collection_that_is_gone_takes_its_readings_with_it(qdrant: Qdrant) -> None:
    """At the next poll, while the daemon runs."""
    name = await qdrant.create()
    await qdrant.write(name, 10)
    series = f"collection_points{{collection={name}}}"
    async with watching(qdrant) as watched:
        await watched.until(lambda now: now.get(series) == 10)
        await qdrant.result("DELETE", path_of(name))

        left = await watched.until(lambda now: not any(f"collection={name}" in key for key in now))

    assert left[f"up{{peer={urlsplit(qdrant.urls[0]).netloc}}}"] == 1


async def test_the_telemetry_id_is_the_same_until_a_restart(qdrant: Qdrant) -> None:
    """At every level of every look."""
    ids = {(await qdrant.telemetry(level))["id"] for level in range(5)}

    assert len(ids) == 1
