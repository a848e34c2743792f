"""The stand-in for a cluster with snapshots behaves as a real one, so that tests may rely on it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from exporter.errors import SourceAuth, SourceRefused, SourceTimeout, SourceUnreachable
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Request
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.patience import LoopClock
from tests.kit.recordings import recording
from tests.kit.snapshot_cluster import SnapshotAnswer, SnapshotCluster, points
from tests.kit.snapshot_cluster.archives import open_collection_archive

DOCS: dict[str, Any] = {"shard_number": 6, "replication_factor": 2}


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[SnapshotCluster]:
    """Three peers with a collection `docs`: 60 points in six shards of two replicas."""
    async with SnapshotCluster() as made:
        made.create("docs", points(60), **DOCS)
        yield made


class Client:
    """Couriers to every peer."""

    def __init__(self, cluster: SnapshotCluster, api_key: str | None = None) -> None:
        self.couriers = [Courier(Door(url, api_key=api_key), LoopClock()) for url in cluster.urls]

    async def __call__(self, asked: Asked, peer: int = 0, *, deadline_seconds: float = 5.0) -> bytes:
        return await self.couriers[peer].call(asked, deadline_seconds=deadline_seconds)

    async def take(self, name: str, peer: int = 0) -> keeping.SnapshotDescription:
        """Take a snapshot."""
        return keeping.read_snapshot(await self(keeping.create_snapshot(name), peer))

    async def download(self, name: str, file: str, peer: int = 0, **headers: str) -> tuple[int, bytes]:
        """Return status and bytes of a snapshot."""
        path = keeping.snapshot_path(name, file)
        courier = self.couriers[peer]
        async with courier.stream(path, endpoint=keeping.SNAPSHOT, stall_seconds=5.0, headers=headers) as got:
            return got.status, b"".join([chunk async for chunk in got])

    async def upload(self, name: str, shard: int, data: bytes, peer: int = 0) -> None:
        """Upload a shard's archive."""

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 1000):
                yield data[start : start + 1000]

        await self.couriers[peer].upload(
            keeping.shard_upload_path(name, shard),
            endpoint=keeping.SHARD_UPLOAD,
            file_name="shard.snapshot",
            size_bytes=len(data),
            chunks=chunks(),
            stall_seconds=5.0,
            answer_seconds=5.0,
        )


@pytest_asyncio.fixture
async def client(cluster: SnapshotCluster) -> AsyncIterator[Client]:
    """A client of the cluster."""
    made = Client(cluster)
    yield made
    for courier in made.couriers:
        await courier.close()


def cut(archive: bytes, shard: int) -> bytes:
    """Return one shard's archive out of a collection's, by Python's tarfile."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as whole,
        tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for member in whole:
            folder, _, rest = member.name.partition("/")
            if folder == str(shard) and member.isreg() and not member.issparse():
                content = whole.extractfile(member)
                member.name = rest
                tar.addfile(member, content)
    return made.getvalue()


async def until(settled: Callable[[], bool]) -> None:
    """Wait for the peers to fill replicas."""
    async with asyncio.timeout(5.0):
        while not settled():
            await asyncio.sleep(0.01)


async def test_a_snapshot_is_listed_downloaded_resumed_and_deleted(client: Client) -> None:
    """Its bytes have the size and checksum that the lists say, from any offset."""
    taken = await client.take("docs")
    listed = keeping.read_snapshots(await client(keeping.list_snapshots("docs")))
    status, whole = await client.download("docs", taken.name)
    resumed = await client.download("docs", taken.name, Range="bytes=1000-")

    assert listed == [taken]
    assert (status, len(whole), hashlib.sha256(whole).hexdigest()) == (200, taken.size, taken.checksum)
    assert resumed == (206, whole[1000:])
    assert await client(keeping.delete_snapshot("docs", taken.name))
    assert keeping.read_snapshots(await client(keeping.list_snapshots("docs"))) == []
    with pytest.raises(SourceRefused, match=r"404: Not found: Snapshot .* not found"):
        await client(keeping.delete_snapshot("docs", taken.name))


async def test_an_archive_holds_the_shards_of_its_peer_and_traces_of_the_others(
    cluster: SnapshotCluster, client: Client
) -> None:
    """As a real one: segments that are tars, logs that are sparse, the files of the root last."""
    taken = await client.take("docs")
    _, archive = await client.download("docs", taken.name)

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    own = {shard for shard, held in cluster.counts("docs").items() if 0 in held}
    opened = open_collection_archive(archive)
    assert {shard for shard, held in opened.shards.items() if held is not None} == own
    assert set(opened.shards) == set(range(6))
    assert opened.config["uuid"] == cluster.world.named("docs").uuid
    logs = [member for member in members if member.name.endswith("wal/open-1")]
    assert {(member.issparse(), member.size) for member in logs} == {(True, 33_554_432)}
    root = ["version.info", "config.json", "shard_key_mapping.json", "payload_index.json"]
    assert [member.name for member in members][-4:] == root


async def test_a_shard_that_is_uploaded_fills_every_replica_of_it(
    cluster: SnapshotCluster, client: Client
) -> None:
    """The one that took it is Active at once; the others are Dead and then filled from it."""
    cluster.create("target", **DOCS)
    archive = cluster.archive("docs", 0)
    cluster.knobs.recovery_seconds = 0.2

    await client.upload("target", 0, cut(archive, 0))
    at_once = {peer: cluster.replica("target", 0, peer).state for peer in cluster.counts("target")[0]}
    await until(
        lambda: cluster.states("target") == {"Active"} and not cluster.world.named("target").transfers
    )

    assert at_once == {0: "Active", 1: "Dead"}
    assert cluster.counts("target")[0] == cluster.counts("docs")[0]
    assert cluster.replica("target", 0, 1).points == cluster.replica("docs", 0, 1).points


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda archive: archive, 400),  # of a whole collection: no segments at its root
        (lambda _: b"x" * 2048, 500),
        (lambda archive: cut(archive, 0)[:1500], 500),
        (lambda archive: cut(archive, 1), 400),  # remote on that peer
    ],
)
async def test_what_is_no_shards_archive_is_refused_and_changes_nothing(
    cluster: SnapshotCluster, client: Client, spoil: Callable[[bytes], bytes], status: int
) -> None:
    """A target keeps what it had."""
    with pytest.raises(SourceRefused) as raised:
        await client.upload("docs", 0, spoil(cluster.archive("docs", 0)))

    assert raised.value.status == status
    assert cluster.counts("docs")[0] == {0: 10, 1: 10}


async def test_a_wrong_checksum_is_refused_before_anything_is_unpacked(cluster: SnapshotCluster) -> None:
    """The server hashes what came; a right one is taken."""
    archive = cut(cluster.archive("docs", 0), 0)
    statuses = []
    async with aiohttp.ClientSession() as session:
        for checksum in ("0" * 64, hashlib.sha256(archive).hexdigest()):
            form = aiohttp.FormData()
            form.add_field("snapshot", archive, filename="s.snapshot")
            url = f"{cluster.urls[0]}{keeping.shard_upload_path('docs', 0)}&checksum={checksum}"
            async with session.post(url, data=form) as response:
                statuses.append(response.status)

    assert statuses == [400, 200]


async def test_custom_keys_get_the_next_ids_and_a_standalone_server_has_none(
    cluster: SnapshotCluster, client: Client
) -> None:
    """The first shard of a key is 1; a deleted key leaves a gap."""
    cluster.create("keyed", sharding_method="custom", shard_number=1)
    for key in ("a", "b", "c"):
        await client(keeping.create_key("keyed", {"shard_key": key, "shards_number": 2 if key == "c" else 1}))
    await client(keeping.delete_key("keyed", "a"))

    placed = keeping.read_placement(await client(keeping.placement("keyed")))
    assert placed.keys == {"b": (2,), "c": (3, 4)}
    async with SnapshotCluster(standalone=True) as alone:
        alone.create("keyed", sharding_method="custom")
        with pytest.raises(SourceRefused, match="Distributed mode disabled"):
            await _once(alone, keeping.create_key("keyed", {"shard_key": "a"}))
        seen = keeping.read_telemetry(await _once(alone, keeping.telemetry()), "keyed")
        assert seen is not None
        assert seen.uuid is None


async def _once(cluster: SnapshotCluster, asked: Asked) -> bytes:
    courier = Courier(Door(cluster.urls[0]), LoopClock())
    try:
        return await courier.call(asked, deadline_seconds=5.0)
    finally:
        await courier.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (SnapshotAnswer.ERROR, SourceRefused),
        (SnapshotAnswer.TIMEOUT, SourceRefused),
        (SnapshotAnswer.SILENCE, SourceTimeout),
    ],
)
async def test_a_snapshot_may_be_there_though_its_answer_was_bad(
    cluster: SnapshotCluster, client: Client, answer: SnapshotAnswer, kind: type[Exception]
) -> None:
    """Once as told, then well again."""
    cluster.knobs.snapshot_answer, cluster.knobs.snapshot_answers = answer, 1

    with pytest.raises(kind):
        await client(keeping.create_snapshot("docs"), deadline_seconds=0.3)
    await until(lambda: len(cluster.snapshots("docs")[0]) == 1)

    assert await client.take("docs")
    assert len(cluster.snapshots("docs")[0]) == 2


async def test_a_snapshot_that_runs_is_seen_and_dies_with_its_peer(
    cluster: SnapshotCluster, client: Client
) -> None:
    """Telemetry counts it; a kill leaves nothing in the list."""
    cluster.knobs.snapshot_seconds = 60.0

    with pytest.raises(SourceTimeout):
        await client(keeping.create_snapshot("docs"), deadline_seconds=0.1)
    seen = keeping.read_telemetry(await client(keeping.telemetry()), "docs")
    await cluster.kill(0)
    with pytest.raises(SourceUnreachable):
        await client(keeping.collections())
    await cluster.revive(0)

    assert seen is not None
    assert seen.snapshots_running == 1
    again = keeping.read_telemetry(await client(keeping.telemetry()), "docs")
    assert again is not None
    assert again.snapshots_running == 0
    assert keeping.read_snapshots(await client(keeping.list_snapshots("docs"))) == []


async def test_downloads_are_cut_flipped_and_compressed_as_told(
    cluster: SnapshotCluster, client: Client
) -> None:
    """Once each; a client that takes gzip gets it, as from a real server."""
    taken = await client.take("docs")
    _, whole = await client.download("docs", taken.name)
    cluster.knobs.cut_downloads(1000)
    with pytest.raises(SourceUnreachable):
        await client.download("docs", taken.name)
    cluster.knobs.corrupt_download(1500)
    _, flipped = await client.download("docs", taken.name, Range="bytes=1000-")
    url = cluster.urls[0] + keeping.snapshot_path("docs", taken.name)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(url, headers={"Accept-Encoding": "gzip"}) as response,
    ):
        compressed = await response.read()

    different = [at for at in range(len(flipped)) if flipped[at] != whole[1000 + at]]
    assert different == [500]
    assert gzip.decompress(compressed) == whole
    assert (await client.download("docs", taken.name))[1] == whole


async def test_an_etag_tells_a_file_that_was_made_anew_and_if_range_does_not(
    cluster: SnapshotCluster, client: Client
) -> None:
    """Qdrant 1.18.3 answers 206 whatever If-Range says: seen live."""
    cluster.lay_snapshot(0, "docs", "s.snapshot", b"a" * 100)
    etags = []
    for data in (b"a" * 100, b"b" * 100):
        cluster.lay_snapshot(0, "docs", "s.snapshot", data)
        path = keeping.snapshot_path("docs", "s.snapshot")
        headers = {"Range": "bytes=50-", "If-Range": '"old"'}
        courier = client.couriers[0]
        async with courier.stream(path, endpoint=keeping.SNAPSHOT, stall_seconds=5.0, headers=headers) as got:
            assert got.status == 206
            etags.append(got.headers["ETag"])

    assert len(set(etags)) == 2


async def test_a_failure_strikes_as_often_as_told_and_may_do_what_was_asked(
    cluster: SnapshotCluster, client: Client
) -> None:
    """By method, route and peer."""
    cluster.knobs.fail("POST", "/snapshots", 429, peer=0, headers={"Retry-After": "3"})
    cluster.knobs.fail("DELETE", "^/collections/docs$", 500, done=True)

    with pytest.raises(SourceRefused) as raised:
        await client.take("docs")
    assert (raised.value.status, raised.value.retry_after_seconds) == (429, 3.0)
    assert await client.take("docs")
    with pytest.raises(SourceRefused):
        await client(keeping.delete_collection("docs"))
    assert "docs" not in cluster.world.collections


async def test_keys_hold_out_whoever_has_none(cluster: SnapshotCluster) -> None:
    """Without a key 401, to read only 403 for what writes."""
    cluster.knobs.api_key, cluster.knobs.read_only_key = "full", "reader"
    reader = Client(cluster, api_key="reader")
    nobody = Client(cluster)

    with pytest.raises(SourceAuth, match="403: Forbidden"):
        await reader(keeping.create_snapshot("docs"))
    assert keeping.read_count(await reader(keeping.count("docs"))) == 60
    with pytest.raises(SourceAuth, match="401: Must provide an API key"):
        await nobody(keeping.collections())
    assert await nobody(Asked(Request("/"), "/"))
    for courier in (*reader.couriers, *nobody.couriers):
        await courier.close()


async def test_a_hook_moves_a_shard_between_two_requests(cluster: SnapshotCluster, client: Client) -> None:
    """What happens at a moment happens before that request is answered."""

    def on_request(peer: int, method: str, path: str) -> None:
        if peer == 1 and method == "POST" and path.startswith("/collections/docs/snapshots"):
            cluster.move_shard("docs", 0, 0, 2)

    cluster.knobs.on_request = on_request
    await client.take("docs", 0)
    before = keeping.read_placement(await client(keeping.placement("docs"))).replicas
    await client.take("docs", 1)
    after = keeping.read_placement(await client(keeping.placement("docs"))).replicas

    assert before != after
    assert set(after[0]) == {cluster.ids[1], cluster.ids[2]}
    assert cluster.lines(1) == ["POST /collections/docs/snapshots?wait=true"]


async def test_a_writer_writes_between_requests(cluster: SnapshotCluster, client: Client) -> None:
    """Every look sees more points and a later operation."""
    cluster.knobs.writer("docs", points_a_request=6)

    first = keeping.read_telemetry(await client(keeping.telemetry()), "docs")
    second = keeping.read_telemetry(await client(keeping.telemetry()), "docs")

    assert first is not None
    assert second is not None
    for earlier, later in zip(first.shards, second.shards, strict=True):
        if earlier.local:
            assert (later.points or 0) == (earlier.points or 0) + 1
            assert (later.op_num or 0) == (earlier.op_num or 0) + 1


async def test_a_write_makes_the_replicas_of_a_dead_peer_dead_until_it_is_back(
    cluster: SnapshotCluster,
) -> None:
    """Before the write they say Active, as real ones do."""
    await cluster.kill(2)
    assert cluster.states("docs") == {"Active"}
    cluster.world.upsert("docs", points(6, start=100))
    assert cluster.states("docs") == {"Active", "Dead"}
    await cluster.revive(2)
    await until(lambda: cluster.states("docs") == {"Active"})

    assert all(len(set(held.values())) == 1 for held in cluster.counts("docs").values())


async def test_a_collection_made_anew_has_another_uuid_and_keeps_the_old_snapshots(
    cluster: SnapshotCluster, client: Client
) -> None:
    """The folder of snapshots outlives its collection."""
    taken = await client.take("docs")
    first = cluster.world.named("docs").uuid
    cluster.recreate("docs", points(10))

    seen = keeping.read_telemetry(await client(keeping.telemetry()), "docs")
    assert seen is not None
    assert seen.uuid not in (None, first)
    assert keeping.read_snapshots(await client(keeping.list_snapshots("docs"))) == [taken]


async def test_a_shard_that_did_not_load_says_green_and_can_not_be_archived(
    cluster: SnapshotCluster, client: Client
) -> None:
    """Only the variant and the failure of a snapshot tell."""
    cluster.replica("docs", 0, 0).loaded = False

    seen = keeping.read_telemetry(await client(keeping.telemetry()), "docs")
    assert seen is not None
    assert (seen.shards[0].local, seen.shards[0].loaded, seen.shards[0].status) == (True, False, "green")
    with pytest.raises(SourceRefused) as raised:
        await client.take("docs")
    assert raised.value.status == 500


async def test_a_frozen_peer_answers_when_it_is_thawed(cluster: SnapshotCluster, client: Client) -> None:
    """It accepts and stays silent."""
    cluster.freeze(1)
    with pytest.raises(SourceTimeout):
        await client(keeping.collections(), 1, deadline_seconds=0.1)
    cluster.thaw(1)

    assert await client(keeping.collections(), 1)


async def test_an_upload_into_an_alias_replaces_what_is_behind_it(cluster: SnapshotCluster) -> None:
    """As the real one answers 200; and the file stays on its disk."""
    cluster.create("other", points(6, start=500), **DOCS)
    cluster.world.aliases["live"] = "other"
    form = aiohttp.FormData()
    form.add_field("snapshot", cluster.archive("docs", 0), filename="mine.snapshot")
    url = f"{cluster.urls[0]}/collections/live/snapshots/upload?priority=snapshot"

    async with aiohttp.ClientSession() as session, session.post(url, data=form) as response:
        assert response.status == 200
    await until(lambda: cluster.states("other") == {"Active"})

    assert cluster.counts("other")[0] == cluster.counts("docs")[0]
    assert cluster.snapshots("live")[0] == ["mine.snapshot"]


async def test_one_peers_whole_archive_is_refused_by_a_server_without_a_cluster(
    cluster: SnapshotCluster,
) -> None:
    """It lacks the shards that were remote."""
    form = aiohttp.FormData()
    form.add_field("snapshot", cluster.archive("docs", 0), filename="mine.snapshot")
    async with SnapshotCluster(standalone=True) as alone:
        url = f"{alone.urls[0]}/collections/docs/snapshots/upload?priority=snapshot"
        async with aiohttp.ClientSession() as session, session.post(url, data=form) as response:
            said = await response.json()

        assert response.status == 500
        assert "Can't restore snapshot in local mode with missing data at shard" in said["status"]["error"]
        assert not alone.world.collections


@pytest.mark.parametrize("version", ["1.12.6", "1.16.3", "1.18.3"])
async def test_telemetry_has_what_its_version_has(version: str) -> None:
    """Points by segment, then by shard; the queue last; metadata from 1.16."""
    async with SnapshotCluster(standalone=True, version=version) as alone:
        alone.create("docs", points(9))
        seen = keeping.read_telemetry(await _once(alone, keeping.telemetry()), "docs")
        assert seen is not None
        (shard,) = seen.shards
        await _once(alone, keeping.patch_collection("docs", {"metadata": {"mark": 1}}))
        described = keeping.read_description(await _once(alone, keeping.describe("docs")))

    numbers = tuple(int(part) for part in version.split("."))
    assert (shard.points, seen.server.version) == (9, version)
    assert (shard.op_num is None) == (numbers < (1, 17))
    assert (seen.snapshots_running is None) == (numbers < (1, 14))
    assert ("metadata" in described.config) == (numbers >= (1, 16))


@pytest.mark.parametrize(
    ("path", "recorded"),
    [
        ("/cluster", "cluster"),
        ("/collections", "collections"),
        ("/collections/custom", "collection.custom"),
        ("/collections/custom/cluster", "collection_cluster.custom"),
        ("/collections/custom/shards", "shard_keys.custom"),
        ("/collections/rf2/shards", "shard_keys.rf2"),
        ("/aliases", "aliases"),
        ("/snapshots", "snapshots_full"),
    ],
)
async def test_answers_have_the_fields_of_recorded_ones(path: str, recorded: str) -> None:
    """What a real peer names, this one names."""
    async with SnapshotCluster() as cluster:
        for name in ("rf1", "rf2", "rf3"):
            cluster.create(name, **DOCS)
        cluster.create("custom", sharding_method="custom", shard_number=1, replication_factor=2)
        cluster.create_keys("custom", {key: points(5) for key in ("de", "en", "fr")})
        async with aiohttp.ClientSession() as session, session.get(cluster.urls[0] + path) as response:
            said = await response.json()

    expected = recording(f"v1.18.3/cluster/02_healthy/peer0/{recorded}").json
    assert _fields(said["result"]) == _fields(expected["result"])


def _fields(value: Any) -> Any:
    """Return the names of an answer, of the first of a list, and of peers under one name."""
    if isinstance(value, list):
        return [_fields(value[0])] if value else []
    if not isinstance(value, dict):
        return None
    if value and all(name.isdigit() for name in value):
        return {"peer": _fields(next(iter(value.values())))}
    return {name: _fields(one) for name, one in value.items() if name != "config"}
