"""Snapshots: made, listed, sent, deleted and loaded again, as our jobs need them."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.archives import cut_shard
from tests.contract.ground import DIMENSION, Qdrant, path_of, real_urls

POINTS = 40
METADATA = {"owner": "a test", "tries": 2}
NO_SHA256 = "0" * 64
INDEXES = {"colour": "keyword", "stock": {"type": "integer", "lookup": True, "range": False}}


@pytest_asyncio.fixture
async def node(qdrant: Qdrant) -> Qdrant:
    """A server of its own: a peer of a cluster makes and loads a part of a collection only."""
    if qdrant.embedded is None and len(real_urls()) > 1:
        pytest.skip("the snapshots of a cluster are another matter")
    return qdrant


async def filled(node: Qdrant, suffix: str = "docs") -> str:
    """Create a collection with points, two payload indexes and metadata."""
    name = await node.create(suffix, metadata=METADATA)
    for field, schema in INDEXES.items():
        index = {"field_name": field, "field_schema": schema}
        await node.result("PUT", f"{path_of(name)}/index?wait=true", index)
    await node.write(name, POINTS)
    return name


async def made(node: Qdrant, name: str) -> tuple[dict[str, Any], bytes]:
    """Make a snapshot of a collection and download it."""
    described = await node.result("POST", f"{path_of(name)}/snapshots?wait=true")
    return described, (await node.fetch("GET", f"{path_of(name)}/snapshots/{described['name']}")).body


async def shown(node: Qdrant, name: str) -> dict[str, Any]:
    """What must be the same of a collection and of one restored from it."""
    info = await node.info(name)
    every = {"limit": POINTS * 2, "with_payload": True, "with_vector": True}
    page = await node.result("POST", f"{path_of(name)}/points/scroll", every)
    return {
        "points": page["points"],
        "indexes": info["payload_schema"],
        "params": info["config"]["params"],
        "metadata": info["config"].get("metadata"),
    }


async def test_a_snapshot_is_listed_as_it_was_told_and_is_sent_with_its_own_checksum(node: Qdrant) -> None:
    """Name, size and SHA-256 are those of the file; it is counted once; its alias lists it too."""
    name = await filled(node)
    alias = {"create_alias": {"collection_name": name, "alias_name": f"{name}-alias"}}
    await node.result("POST", "/collections/aliases", {"actions": [alias]})

    described, file = await made(node, name)

    assert await node.result("GET", f"{path_of(name)}/snapshots") == [described]
    assert await node.result("GET", f"{path_of(f'{name}-alias')}/snapshots") == [described]
    assert described["name"].startswith(f"{name}-")
    assert described["name"].endswith(".snapshot")
    assert (len(file), hashlib.sha256(file).hexdigest()) == (described["size"], described["checksum"])
    counted = {one["id"]: one for one in (await node.telemetry(2))["collections"]["snapshots"]}
    assert counted[name] == {
        "id": name,
        "running_snapshots": 0,
        "running_snapshot_recovery": 0,
        "total_snapshot_creations": 1,
    }


async def test_a_snapshot_comes_packed_without_a_length_unless_it_is_asked_for_as_it_is(node: Qdrant) -> None:
    """gzip on the wire, which unpacks to the same; identity has a Content-Length."""
    name = await filled(node)
    described, file = await made(node, name)
    path = f"{path_of(name)}/snapshots/{described['name']}"

    packed = await node.fetch("GET", path, {"Accept-Encoding": "gzip"})
    plain = await node.fetch("GET", path)

    assert (packed.headers["Content-Encoding"], "Content-Length" in packed.headers) == ("gzip", False)
    assert gzip.decompress(packed.body) == file
    assert plain.headers["Content-Length"] == str(described["size"])
    assert plain.headers["Content-Type"] == "application/octet-stream"
    assert plain.headers["Accept-Ranges"] == "bytes"
    assert packed.headers["ETag"] == plain.headers["ETag"]


@pytest.mark.parametrize(
    ("headers", "first", "last"),
    [
        ({"Range": "bytes=1000-1999"}, 1000, 1999),
        ({"Range": "bytes=0-0,5-6"}, 0, 0),
        ({"Range": "bytes=1000-1999", "Accept-Encoding": "gzip"}, 1000, 1999),
        # heeded by nobody: whether it is the same file is for the client to see, by the ETag of the 206
        ({"Range": "bytes=1000-1999", "If-Range": '"another"'}, 1000, 1999),
    ],
)
async def test_a_range_is_sent_plain(node: Qdrant, headers: dict[str, str], first: int, last: int) -> None:
    """206 with the bytes asked for, the whole size and the file's ETag."""
    name = await filled(node)
    described, file = await made(node, name)
    path = f"{path_of(name)}/snapshots/{described['name']}"
    whole = await node.fetch("GET", path)

    part = await node.fetch("GET", path, headers)

    assert (part.status, part.body) == (206, file[first : last + 1])
    assert part.headers["Content-Range"] == f"bytes {first}-{last}/{described['size']}"
    assert part.headers["Content-Encoding"] == "identity"
    assert part.headers["ETag"] == whole.headers["ETag"]


async def test_the_last_bytes_are_sent_however_they_are_asked_for(node: Qdrant) -> None:
    """Open at the end, beyond the end, or counted from the end."""
    name = await filled(node)
    described, file = await made(node, name)
    path, size = f"{path_of(name)}/snapshots/{described['name']}", described["size"]

    ranges = (f"bytes={size - 7}-", f"bytes={size - 7}-{size + 100}", "bytes=-7")
    parts = [await node.fetch("GET", path, {"Range": asked}) for asked in ranges]

    assert [(part.status, part.body) for part in parts] == [(206, file[-7:])] * 3


async def test_a_range_that_cannot_be_sent_is_refused_with_the_size(node: Qdrant) -> None:
    """416 from the end on, backwards, or in other units; 412 where If-Match names another file."""
    name = await filled(node)
    described, _ = await made(node, name)
    path, size = f"{path_of(name)}/snapshots/{described['name']}", described["size"]

    ranges = (f"bytes={size}-", "bytes=9-3", "lines=1-2")
    parts = [await node.fetch("GET", path, {"Range": asked}) for asked in ranges]
    other = await node.fetch("GET", path, {"If-Match": '"another"'})
    head = await node.fetch("HEAD", path)

    assert [(one.status, one.headers["Content-Range"]) for one in parts] == [(416, f"bytes */{size}")] * 3
    assert (other.status, other.body) == (412, b"")
    assert head.status == 404


async def test_a_deleted_snapshot_is_gone_and_a_missing_one_is_refused(node: Qdrant) -> None:
    """True once, then 404: in JSON where it is deleted, in plain text where it is downloaded."""
    name = await filled(node)
    described, _ = await made(node, name)
    path = f"{path_of(name)}/snapshots/{described['name']}"

    deleted = await node.result("DELETE", path)
    again = await node.ask("DELETE", path)
    download = await node.ask("GET", path)

    text = f"Not found: Snapshot {described['name']} not found"
    assert deleted is True
    assert await node.result("GET", f"{path_of(name)}/snapshots") == []
    assert (again.status, again.json["status"]["error"]) == (404, text)
    assert (download.status, download.text) == (404, text)
    assert download.content_type.startswith("text/plain")


@pytest.mark.parametrize("snapshot", ["..%2F..%2Fserver.json", "..", ".", "a%2Fb"])
async def test_a_snapshots_name_leads_nowhere_else(node: Qdrant, snapshot: str) -> None:
    """A path in place of a name is a snapshot that is not there."""
    name = await filled(node)

    answers = [
        await node.fetch(method, f"{path_of(name)}/snapshots/{snapshot}") for method in ("GET", "DELETE")
    ]

    assert [one.status for one in answers] == [404, 404]


async def test_a_snapshot_of_a_missing_collection_is_refused_and_counted_all_the_same(node: Qdrant) -> None:
    """404; telemetry has a line for the name from then on."""
    name = node.prefix + "nosuch"

    refused = await node.ask("POST", f"{path_of(name)}/snapshots", {})
    download = await node.ask("GET", f"{path_of(name)}/snapshots/x")

    text = f"Not found: Collection `{name}` doesn't exist!"
    assert (refused.status, refused.json["status"]["error"]) == (404, text)
    assert (download.status, download.text) == (404, text)
    counted = {one["id"]: one for one in (await node.telemetry(2))["collections"]["snapshots"]}
    assert counted[name]["total_snapshot_creations"] == 1


async def test_whoever_does_not_wait_finds_the_snapshot_in_the_list(node: Qdrant) -> None:
    """202 at once for its creation and for its deletion, and some time later it is so."""
    name = await filled(node)
    path = f"{path_of(name)}/snapshots"

    async def listed() -> Any:
        return [one for one in await node.result("GET", path) if "checksum" in one]

    async def none_listed() -> bool:
        return not await node.result("GET", path)

    begun = await node.ask("POST", f"{path}?wait=false", {})
    (described,) = await node.until(listed, what="the snapshot is listed")
    ended = await node.ask("DELETE", f"{path}/{described['name']}?wait=false")
    await node.until(none_listed, what="the snapshot is gone")

    assert [(one.status, one.json["status"]) for one in (begun, ended)] == [(202, "accepted")] * 2


async def test_a_missing_collection_is_made_of_its_snapshot(node: Qdrant) -> None:
    """Points, vectors, payload indexes, configuration and metadata; the file is listed without checksum."""
    name, copy = await filled(node), node.name("copy")
    described, file = await made(node, name)
    path = f"{path_of(copy)}/snapshots"

    answered = await node.upload(
        f"{path}/upload?priority=snapshot&wait=true&checksum={described['checksum']}", file
    )

    assert (answered.status, answered.json["result"]) == (200, True)
    assert await shown(node, copy) == await shown(node, name)
    (held,) = await node.result("GET", path)
    assert (held["name"], held["size"], "checksum" in held) == ("made.snapshot", len(file), False)


async def test_a_restored_collection_goes_on(node: Qdrant) -> None:
    """An old point is overwritten, a new one is added, and both are found by their payload."""
    name, copy = await filled(node), node.name("copy")
    _, file = await made(node, name)
    await node.upload(f"{path_of(copy)}/snapshots/upload?priority=snapshot", file)
    vector = [1.0] * DIMENSION

    points = [{"id": one, "vector": vector, "payload": {"colour": "new"}} for one in (3, POINTS)]
    await node.result("PUT", f"{path_of(copy)}/points?wait=true", {"points": points})

    new = {"filter": {"must": [{"key": "colour", "match": {"value": "new"}}]}, "exact": True}
    assert await node.result("POST", f"{path_of(copy)}/points/count", new) == {"count": 2}
    assert await node.result("POST", f"{path_of(copy)}/points/count", {}) == {"count": POINTS + 1}


async def test_a_snapshot_uploaded_to_an_alias_replaces_the_collection_behind_it(node: Qdrant) -> None:
    """200, and the old points are gone: why we refuse to restore into an alias."""
    name, other = await filled(node), await node.create("other", metadata={"mine": 1})
    await node.write(other, POINTS + 9)
    alias = node.name("alias")
    action = {"create_alias": {"collection_name": other, "alias_name": alias}}
    await node.result("POST", "/collections/aliases", {"actions": [action]})
    _, file = await made(node, name)

    answered = await node.upload(f"{path_of(alias)}/snapshots/upload?priority=snapshot", file)

    assert (answered.status, answered.json["result"]) == (200, True)
    now, then = await shown(node, other), await shown(node, name)
    assert now["points"] == then["points"]
    assert (now["indexes"], now["metadata"]) == (then["indexes"], {"mine": 1})


async def test_a_shard_is_loaded_from_its_part_of_the_archive(node: Qdrant) -> None:
    """Into an empty collection that has an index of its own: it has those of the archive then too."""
    name, target = await filled(node), await node.create("target", metadata={"mine": 1})
    index = {"field_name": "price", "field_schema": "float"}
    await node.result("PUT", f"{path_of(target)}/index?wait=true", index)
    _, file = await made(node, name)
    path = f"{path_of(target)}/shards/0/snapshots/upload?priority=snapshot&wait=true"

    answered = await node.upload(path, await cut_shard(file, 0))

    assert (answered.status, answered.json["result"]) == (200, None)
    now, then = await shown(node, target), await shown(node, name)
    assert now["points"] == then["points"]
    assert now["indexes"] == {**then["indexes"], "price": {"data_type": "float", "points": POINTS}}
    assert now["metadata"] == {"mine": 1}
    assert await node.result("GET", f"{path_of(target)}/snapshots") == []


async def test_a_damaged_archive_leaves_no_collection(node: Qdrant) -> None:
    """400 for another checksum, 500 for a file cut short, no tar, or a shard's tar; nothing is created."""
    name, copy = await filled(node), node.name("copy")
    _, file = await made(node, name)
    path = f"{path_of(copy)}/snapshots/upload?priority=snapshot"

    other_sum = await node.upload(f"{path}&checksum={NO_SHA256}", file)
    damaged = [await node.upload(path, one) for one in (file[:20_000], b"no tar" * 1_000)]
    shard = await node.upload(path, await cut_shard(file, 0))

    expected = f"Checksum mismatch: expected {hashlib.sha256(file).hexdigest()}, actual {NO_SHA256}"
    assert (other_sum.status, other_sum.json["status"]["error"]) == (400, expected)
    broken = "Service internal error: File IO error: "
    assert [one.status for one in (*damaged, shard)] == [500, 500, 500]
    assert damaged[0].json["status"]["error"].startswith(f"{broken}failed to unpack `")
    assert damaged[1].json["status"]["error"].startswith(f"{broken}Malformed tar archive")
    assert shard.json["status"]["error"].startswith(f"{broken}failed to open file `")
    assert (await node.ask("GET", path_of(copy))).status == 404


async def test_a_damaged_shard_leaves_the_collection_as_it_was(node: Qdrant) -> None:
    """400 or 500 with the reason, and every point is still there."""
    name, target = await filled(node), await node.create("target")
    await node.write(target, 5)
    _, file = await made(node, name)
    shard = await cut_shard(file, 0)
    path = f"{path_of(target)}/shards/0/snapshots/upload?priority=snapshot"

    other_sum = await node.upload(f"{path}&checksum={NO_SHA256}", shard)
    short = await node.upload(path, shard[:20_000])
    whole = await node.upload(path, file)

    assert [one.status for one in (other_sum, short, whole)] == [400, 500, 500]
    missing = "Service internal error: Can't restore snapshot in local mode with missing data at shard: "
    assert whole.json["status"]["error"].startswith(missing)
    assert await node.result("POST", f"{path_of(target)}/points/count", {}) == {"count": 5}


async def test_an_archive_of_other_vectors_is_refused(node: Qdrant) -> None:
    """400, and the collection stays as it was."""
    name = await filled(node)
    other = await node.create("other", vectors={"size": 8, "distance": "Dot"})
    _, file = await made(node, name)

    refused = await node.upload(f"{path_of(other)}/snapshots/upload?priority=snapshot", file)

    words = "Wrong input: Snapshot is not compatible with existing collection: Collection vectors: "
    assert refused.status == 400
    assert refused.json["status"]["error"].startswith(words)
    assert await node.result("POST", f"{path_of(other)}/points/count", {}) == {"count": 0}


async def test_an_upload_to_what_is_not_there_is_refused(node: Qdrant) -> None:
    """404 for a missing collection and a missing shard, 400 for no number, 422 for a name nobody may have."""
    name = await filled(node)
    _, file = await made(node, name)
    paths = (
        f"{path_of(node.prefix + 'nosuch')}/shards/0/snapshots/upload",
        f"{path_of(name)}/shards/5/snapshots/upload",
        f"{path_of(name)}/shards/x/snapshots/upload",
        f"{path_of('a/b')}/snapshots/upload",
    )

    refused = [await node.upload(path, file) for path in paths]

    assert [one.status for one in refused] == [404, 404, 400, 422]
    assert refused[1].json["status"]["error"] == "Not found: shard 5 not found"


async def test_a_query_that_is_not_understood_is_refused(node: Qdrant) -> None:
    """400 for another word, 422 for what is no SHA-256; nothing is made."""
    name = await filled(node)
    path = f"{path_of(name)}/snapshots"

    refused = [
        await node.ask("POST", f"{path}?wait=maybe", {}),
        await node.upload(f"{path}/upload?priority=nope", b""),
        await node.upload(f"{path}/upload?checksum=00", b""),
    ]

    assert [one.status for one in refused] == [400, 400, 422]
    assert "unknown variant `nope`" in refused[1].json["status"]["error"]
    assert await node.result("GET", path) == []


async def test_what_is_no_form_with_a_snapshot_is_refused_in_plain_text(node: Qdrant) -> None:
    """415 for JSON, 400 for a form without the field."""
    name = await filled(node)
    path = f"{path_of(name)}/snapshots/upload"

    json = await node.ask("POST", path, {})
    other = await node.upload(path, b"x", field="file")

    assert (json.status, json.text) == (415, "ContentTypeIncompatible")
    assert (other.status, other.text) == (400, "Required field is missing: snapshot")


async def test_snapshots_outlive_their_collection(node: Qdrant) -> None:
    """404 while it is gone; one made anew under its name lists the old snapshot."""
    name = await filled(node)
    described, file = await made(node, name)
    path = f"{path_of(name)}/snapshots"

    await node.result("DELETE", path_of(name))
    gone = await node.ask("GET", path)
    await node.result("PUT", path_of(name), {"vectors": {"size": 4, "distance": "Dot"}})

    assert gone.status == 404
    assert await node.result("GET", path) == [described]
    assert (await node.fetch("GET", f"{path}/{described['name']}")).body == file


async def test_metadata_is_merged_key_by_key(qdrant: Qdrant) -> None:
    """A PATCH changes the keys it names, null removes one, and an inner object is replaced whole."""
    name = await qdrant.create(metadata={"a": 1, "inner": {"x": 1, "y": 2}})
    seen = []
    for change in ({"b": 2}, {"inner": {"z": 3}}, {"a": None}, {}, {"b": None, "inner": None}):
        await qdrant.result("PATCH", path_of(name), {"metadata": change})
        seen.append((await qdrant.info(name))["config"]["metadata"])
    refused = await qdrant.ask("PATCH", path_of(name), {"metadata": [1]})

    assert seen == [
        {"a": 1, "inner": {"x": 1, "y": 2}, "b": 2},
        {"a": 1, "inner": {"z": 3}, "b": 2},
        {"inner": {"z": 3}, "b": 2},
        {"inner": {"z": 3}, "b": 2},
        {},
    ]
    assert refused.status == 400


async def test_a_collection_without_metadata_shows_none_until_it_gets_some(qdrant: Qdrant) -> None:
    """The key is absent, and there after a PATCH, in telemetry too."""
    name = await qdrant.create()

    before = (await qdrant.info(name))["config"]
    await qdrant.result("PATCH", path_of(name), {"metadata": {"q": [1, None]}})
    after = (await qdrant.info(name))["config"]

    assert ("metadata" in before, after["metadata"]) == (False, {"q": [1, None]})
    (told,) = (await qdrant.telemetry(3))["collections"]["collections"]
    assert told["config"]["metadata"] == {"q": [1, None]}
