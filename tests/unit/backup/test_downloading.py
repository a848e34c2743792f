"""Snapshots from a peer into the store."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.backup import downloading
from exporter.backup.archive.walk import BadArchive
from exporter.backup.downloading import Source, WrongBytes, fetch
from exporter.backup.passing import Passing
from exporter.backup.progress import Silent
from exporter.backup.snapshotting import make
from exporter.backup.survey import PeerAt
from exporter.errors import BadPayload, SourceAuth, SourceRefused, SourceUnreachable, StoreFull, StoreTaken
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from exporter.qdrant.kept import SnapshotDescription
from tests.kit.servers import WireServer, answering, reply
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.ground import FAST, Ground, ground_of

PATH = "prod/docs/20270115T080000Z-00000a/a.snapshot"


class Watching(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def advance(self, done_bytes: int) -> None:
        self.seen.append(done_bytes)


@pytest.fixture
async def ground(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    """One server, a collection whose archive has some blocks of 16 KiB, and a snapshot of it."""
    monkeypatch.setattr(downloading, "BLOCK_BYTES", 16 * 1024)
    async with ground_of(SnapshotCluster(peers=1)) as made:
        made.cluster.create("docs", points(1_000), shard_number=4)
        made.cluster.knobs.padding_bytes = 100_000
        yield made


async def source_of(ground: Ground, **changed: object) -> Source:
    """Take a snapshot."""
    snapshot = await make(ground.peers[0], "docs", (), limits=FAST, clock=ground.clock)
    fields = {name: getattr(snapshot, name) for name in ("name", "size", "creation_time", "checksum")}
    return Source(ground.peers[0], "docs", SnapshotDescription(**fields | changed))  # type: ignore[arg-type]


async def fetched(ground: Ground, source: Source, watching: Watching | None = None) -> Passing:
    """Fetch it into the store."""
    return await fetch(source, ground.store, PATH, limits=FAST, progress=watching or Watching())


def downloads(ground: Ground) -> list[str | None]:
    """Return the Range of every download so far."""
    return [
        seen.headers.get("range")
        for seen in ground.cluster.requests
        if seen.method == "GET" and "/snapshots/docs-" in seen.path
    ]


async def test_a_snapshot_is_stored_as_it_is_and_known_afterwards(ground: Ground) -> None:
    """Hash, size, shards and settings are learnt while it passes."""
    source = await source_of(ground)
    watching = Watching()

    passing = await fetched(ground, source, watching)

    stored = ground.store.objects[PATH]
    assert stored == ground.cluster.archive("docs", 0)
    assert passing.sha256 == hashlib.sha256(stored).hexdigest() == source.snapshot.checksum
    assert passing.size_bytes == len(stored) == watching.seen[-1]
    assert len(watching.seen) > 1
    assert [shard.shard for shard in passing.shards] == [0, 1, 2, 3]
    assert passing.config["params"]["shard_number"] == 4


async def test_a_download_that_breaks_goes_on_where_it_was(ground: Ground) -> None:
    """By a range, at whatever byte it broke; nothing is fetched twice."""
    source = await source_of(ground)
    ground.cluster.knobs.cuts += [20_000, 1, 16_384, 30_001]

    await fetched(ground, source)

    assert ground.store.objects[PATH] == ground.cluster.archive("docs", 0)
    assert downloads(ground) == [
        None,
        "bytes=20000-",
        "bytes=20001-",
        "bytes=36385-",
        "bytes=66386-",
    ]


async def test_breaks_that_gain_nothing_end_it(ground: Ground) -> None:
    """So many in a row; the error is the last one, and nothing is stored."""
    source = await source_of(ground)
    ground.cluster.knobs.cuts += [20_000, *[0] * 10]

    with pytest.raises(SourceUnreachable):
        await fetched(ground, source)
    assert len(downloads(ground)) == 1 + FAST.breaks
    assert PATH not in ground.store.objects


async def test_a_server_without_ranges_begins_again(ground: Ground) -> None:
    """With S3 behind it there is a 200 to every range: what we have is thrown away."""
    source = await source_of(ground)
    ground.cluster.knobs.ranges = False
    ground.cluster.knobs.cut_downloads(20_000)

    await fetched(ground, source)

    assert ground.store.objects[PATH] == ground.cluster.archive("docs", 0)
    assert downloads(ground) == [None, "bytes=20000-", None]


async def test_a_server_that_always_breaks_and_always_begins_again_is_given_up(ground: Ground) -> None:
    """It would never end."""
    source = await source_of(ground)
    ground.cluster.knobs.ranges = False
    ground.cluster.knobs.cuts += [20_000, 10**9] * 10

    with pytest.raises(WrongBytes, match="broke 3 times"):
        await fetched(ground, source)


async def test_a_file_that_became_another_is_fetched_from_its_beginning(ground: Ground) -> None:
    """A real server answers a range whatever its If-Range says; the ETag tells."""
    source = await source_of(ground)
    ground.cluster.knobs.cut_downloads(20_000)
    name, right = source.snapshot.name, ground.cluster.archive("docs", 0)
    ground.cluster.lay_snapshot(0, "docs", name, right[:60_000] + b"?" + right[60_001:])

    def replace_file(peer: int, method: str, path: str) -> None:
        if len(downloads(ground)) == 2:
            ground.cluster.lay_snapshot(0, "docs", name, right)

    ground.cluster.knobs.on_request = replace_file

    await fetched(ground, source)

    assert ground.store.objects[PATH] == ground.cluster.archive("docs", 0)
    assert downloads(ground)[-1] is None


async def test_a_part_that_does_not_say_of_which_file_it_is_is_not_believed(ground: Ground) -> None:
    """All of it is fetched again, from its beginning."""
    source = await source_of(ground)
    ground.cluster.knobs.tags_parts = False
    ground.cluster.knobs.cut_downloads(20_000)

    await fetched(ground, source)

    assert ground.store.objects[PATH] == ground.cluster.archive("docs", 0)
    assert [asked is None for asked in downloads(ground)] == [True, False, True]


async def test_a_flipped_byte_is_fetched_again_and_found_when_it_stays(ground: Ground) -> None:
    """In the data, where no tar header tells."""
    source = await source_of(ground)
    ground.cluster.knobs.corrupt_download(1_000)
    await fetched(ground, source)
    del ground.store.objects[PATH]
    ground.cluster.knobs.corrupt_download(1_000, times=2)

    with pytest.raises(WrongBytes, match="SHA-256"):
        await fetched(ground, source)
    assert PATH not in ground.store.objects
    assert len(downloads(ground)) == 4


@pytest.mark.parametrize("difference", [-512, 512])
async def test_another_size_than_the_server_said_is_found(ground: Ground, difference: int) -> None:
    """More or less, before anything is published."""
    source = await source_of(ground)
    wrong = replace_snapshot(source, size=source.snapshot.size + difference, checksum=None)

    with pytest.raises(WrongBytes, match=r"the server says \d+ bytes, and"):
        await fetched(ground, wrong)
    assert PATH not in ground.store.objects


async def test_what_is_no_archive_is_refused(ground: Ground) -> None:
    """Right size, right hash, wrong thing."""
    data = b"x" * 4_096
    ground.cluster.lay_snapshot(0, "docs", "docs-1-2027-01-15-08-00-00.snapshot", data)
    described = SnapshotDescription("docs-1-2027-01-15-08-00-00.snapshot", len(data))

    with pytest.raises(BadArchive):
        await fetched(ground, Source(ground.peers[0], "docs", described))
    assert PATH not in ground.store.objects


async def test_a_refusal_ends_it_at_once(ground: Ground) -> None:
    """404: it was deleted meanwhile. 401: no other try helps."""
    source = await source_of(ground)

    with pytest.raises(SourceRefused, match="404"):
        await fetched(ground, replace_snapshot(source, name="docs-1-2027-01-15-08-00-00.snapshot"))
    ground.cluster.knobs.fail("GET", "/snapshots/docs-", 401, text="no key")
    with pytest.raises(SourceAuth):
        await fetched(ground, source)
    assert len(downloads(ground)) == 2


async def test_a_busy_server_is_asked_again(ground: Ground) -> None:
    """429 as it says, 503 after a while."""
    source = await source_of(ground)
    ground.cluster.knobs.fail("GET", "/snapshots/docs-", 429, headers={"Retry-After": "0.02"})
    ground.cluster.knobs.fail("GET", "/snapshots/docs-", 503)

    await fetched(ground, source)

    assert ground.store.objects[PATH] == ground.cluster.archive("docs", 0)


async def test_a_store_that_is_full_ends_it_and_keeps_nothing(ground: Ground) -> None:
    """No other download is tried: it would not fit either."""
    source = await source_of(ground)
    ground.store.room_bytes = 40_000

    with pytest.raises(StoreFull):
        await fetched(ground, source)
    assert PATH not in ground.store.objects
    assert len(downloads(ground)) == 1


async def test_what_is_stored_already_is_never_written_over(ground: Ground) -> None:
    """The contract of the store, kept here too."""
    source = await source_of(ground)
    await fetched(ground, source)

    with pytest.raises(StoreTaken):
        await fetched(ground, source)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(200, gzip.compress(b"x" * 900), "Content-Encoding: gzip", content_type="x/y"), BadPayload),
        (reply(206, b"x" * 512, "Content-Range: bytes 0-511/1024", content_type="x/y"), BadPayload),
        (reply(302, b"", "Location: http://elsewhere/"), SourceRefused),
    ],
    ids=["compressed", "a part unasked", "redirect"],
)
async def test_an_answer_against_our_wish_is_no_snapshot(
    tmp_path: Path, ground: Ground, answer: bytes, error: type[Exception]
) -> None:
    """What a proxy does to it is said, not stored."""
    async with WireServer(answering(answer)) as server:
        courier = Courier(Door(url=server.url), ground.clock)
        peer = PeerAt("proxy", server.url, courier)
        source = Source(peer, "docs", SnapshotDescription("docs-1-2027-01-15-08-00-00.snapshot", 1_024))

        with pytest.raises(error):
            await fetched(ground, source)
        await courier.close()
    assert PATH not in ground.store.objects


def replace_snapshot(source: Source, **changed: object) -> Source:
    """Return a source of a snapshot described otherwise."""
    fields = {name: getattr(source.snapshot, name) for name in ("name", "size", "creation_time", "checksum")}
    return replace(source, snapshot=SnapshotDescription(**fields | changed))  # type: ignore[arg-type]
