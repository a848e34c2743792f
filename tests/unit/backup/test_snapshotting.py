"""A snapshot on one peer, asked for once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.backup.snapshotting import NotTakenError, SnapshotLost, began_at, delete, listed, make
from exporter.errors import SourceError, SourceRefused, SourceTimeout, SourceUnreachable
from tests.kit.snapshot_cluster import SnapshotAnswer, SnapshotCluster, points
from tests.unit.backup.ground import FAST, Ground, ground_of

CREATE = r"/snapshots\?wait=true$"


async def made(ground: Ground) -> str:
    """Take one, and return its name."""
    before = [one.name for one in await listed(ground.peers[0], "docs", FAST)]
    try:
        return (await make(ground.peers[0], "docs", before, limits=FAST, clock=ground.clock)).name
    except NotTakenError as error:
        raise error.failure from None


def posts(ground: Ground) -> int:
    """Count the requests for a snapshot."""
    return sum(line.startswith("POST") for line in ground.cluster.lines())


@pytest.mark.parametrize("version", ["1.12.6", "1.18.3"])
@pytest.mark.parametrize("answer", [SnapshotAnswer.ERROR, SnapshotAnswer.TIMEOUT])
async def test_a_snapshot_without_a_good_answer_is_found(version: str, answer: SnapshotAnswer) -> None:
    """Also on an old server, which does not tell what runs."""
    async with ground_of(SnapshotCluster(peers=1, version=version)) as ground:
        ground.cluster.create("docs", points(10))
        ground.cluster.knobs.snapshot_answer = answer
        ground.cluster.knobs.snapshot_seconds = 0.1

        name = await made(ground)

        assert ground.cluster.snapshots("docs") == [[name]]
        assert posts(ground) == 1


@pytest.mark.parametrize("version", ["1.12.6", "1.18.3"])
async def test_one_that_never_comes_is_given_up_with_the_first_failure(version: str) -> None:
    """After some looks at a quiet server."""
    async with ground_of(SnapshotCluster(peers=1, version=version)) as ground:
        ground.cluster.create("docs", points(10))
        ground.cluster.knobs.fail("POST", CREATE, 408, text="took too long")

        with pytest.raises(SourceRefused, match="408: took too long"):
            await made(ground)
        assert posts(ground) == 1


async def test_a_server_that_restarts_meanwhile_is_waited_for() -> None:
    """Its snapshot was lost with it, or not: that is seen when it is back."""
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        ground.cluster.create("docs", points(10))
        ground.cluster.knobs.snapshot_answer = SnapshotAnswer.TIMEOUT
        looks = 0

        def count(peer: int, method: str, path: str) -> None:
            nonlocal looks
            looks += method == "GET"
            if looks == 2:
                ground.cluster.knobs.fail("GET", "", 503, times=4)

        ground.cluster.knobs.on_request = count

        name = await made(ground)

        assert ground.cluster.snapshots("docs") == [[name]]


async def test_a_server_that_freezes_meanwhile_is_not_waited_for_all_night() -> None:
    """The connection stays open, and no answer ever comes."""
    limits = replace(FAST, create_seconds=3_600.0, answer_seconds=0.2, call_seconds=0.1)
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        ground.cluster.create("docs", points(10))
        ground.cluster.knobs.on_request = lambda peer, method, path: (
            ground.cluster.freeze(0) if method == "POST" else None
        )

        with pytest.raises(SourceTimeout):
            await make(ground.peers[0], "docs", [], limits=limits, clock=ground.clock)


async def test_a_server_that_stays_away_is_an_error() -> None:
    """After some minutes; the next run looks what came of it."""
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        ground.cluster.create("docs", points(10))

        async def die(peer: int, method: str, path: str) -> None:
            if method == "POST":
                await ground.cluster.kill(0)

        ground.cluster.knobs.on_request = die

        with pytest.raises((SourceUnreachable, SourceTimeout)):
            await made(ground)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_a_refusal_is_not_looked_at_twice(status: int) -> None:
    """Nothing was begun."""
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        ground.cluster.create("docs", points(10))
        ground.cluster.knobs.fail("POST", CREATE, status)

        with pytest.raises(SourceError, match=str(status)):
            await made(ground)
        assert [line for line in ground.cluster.lines() if "telemetry" in line] == []


async def test_two_that_appear_are_nobody_s() -> None:
    """The names are told, for people."""
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        ground.cluster.create("docs", points(10))
        ground.cluster.knobs.snapshot_answer = SnapshotAnswer.ERROR
        foreign = ground.foreign(0, after_seconds=60)

        def appear(peer: int, method: str, path: str) -> None:
            if method == "POST":
                ground.cluster.lay_snapshot(0, "docs", foreign)

        ground.cluster.knobs.on_request = appear

        with pytest.raises(SnapshotLost, match=foreign):
            await made(ground)


async def test_one_that_appears_and_began_at_another_time_is_not_taken_for_ours() -> None:
    """Ours never came; somebody began theirs long after, while we looked."""
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        ground.cluster.create("docs", points(10))
        ground.cluster.knobs.fail("POST", CREATE, 408)
        foreign = ground.foreign(0, after_seconds=3_600)

        def appear(peer: int, method: str, path: str) -> None:
            if method == "POST":
                ground.cluster.lay_snapshot(0, "docs", foreign)

        ground.cluster.knobs.on_request = appear

        with pytest.raises(SourceRefused, match="408"):
            await made(ground)
        assert ground.cluster.snapshots("docs") == [[foreign]]


async def test_deleting_what_is_not_there_is_done() -> None:
    """Somebody else deleted it, or a first try did."""
    async with ground_of(SnapshotCluster(peers=1)) as ground:
        ground.cluster.create("docs", points(10))
        name = await made(ground)
        ground.cluster.knobs.fail("DELETE", "", 500, done=True)

        await delete(ground.peers[0], "docs", name, FAST)

        assert ground.cluster.snapshots("docs") == [[]]


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("docs-392660894735341-2027-01-15-08-00-00.snapshot", 1_800_000_000.0),
        ("docs-392660894735341-2027-13-15-08-00-00.snapshot", None),
        ("docs-2-392660894735341-2027-01-15-08-00-00.snapshot", None),  # of the collection "docs-2"
        ("docs.snapshot", None),
        ("other-392660894735341-2027-01-15-08-00-00.snapshot", None),
        ("full-snapshot-2027-01-15-08-00-00.snapshot", None),
    ],
)
def test_the_server_s_names_say_when_they_began(name: str, at: float | None) -> None:
    """And any other name says nothing."""
    assert began_at(name, "docs") == at
