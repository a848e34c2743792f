"""Jobs of kind vacuum: which collections in which order, what is skipped and why, what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exporter.backup.calling import Limits
from exporter.backup.survey import PeerAt
from exporter.backup.words import FieldChange, Purpose, ThresholdIntent
from exporter.board import Board
from exporter.config.backup import BackupSettings
from exporter.config.jobs import JobSettings, WindowSettings
from exporter.errors import JobLocked
from exporter.jobs.bodies.means import RECLAIMABLE, Means
from exporter.jobs.bodies.vacuum import VacuumBody, part_of, terms_of
from exporter.jobs.intent_records import intent_producer
from exporter.jobs.locks import Locks
from exporter.jobs.published import Published
from exporter.jobs.told_intents import TellingShelf
from exporter.jobs.words import Outcome, Part, Reason
from exporter.model import ProducerKey, Reading
from exporter.observe.derived.collections import RECLAIMABLE as RECLAIMABLE_SPEC
from exporter.operations.vacuum.words import (
    VacuumOutcome,
    VacuumPlan,
    VacuumReport,
    VacuumTerms,
    Weight,
)
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from tests.kit.patience import LoopClock, patient
from tests.kit.scripted_store import ScriptedStore
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.jobs.asked import job

CLUSTER = "prod"
LABELS = ("a", "b", "c")
PLENTY = 1 << 40


class Clock(LoopClock):
    """The loop's clock; what the calendar says stands still where a test says so."""

    stands_at: float | None = None

    def now(self) -> float:
        return super().now() if self.stands_at is None else self.stands_at


class Room:
    """Three peers with a collection of which a sixth is deleted, and what a body works with."""

    def __init__(self, cluster: SnapshotCluster) -> None:
        self.cluster = cluster
        self.clock = Clock()
        self.store = ScriptedStore(self.clock)
        self.board = Board(clock=self.clock)
        self.disks = dict.fromkeys(LABELS, PLENTY)
        published = Published(board=self.board, clock=self.clock)
        self.means = Means(
            settings=BackupSettings(),
            shelf=TellingShelf(self.store, self.clock, published.intents),
            locks=Locks(store=self.store, owner="this daemon", clock=self.clock),
            peers_of=lambda _: self.peers(),
            published=published,
            turns={},
            board=self.board,
            clock=self.clock,
            limits=Limits(),
            engine=None,
            disks_of=lambda _: self.disks,
        )
        self.body = VacuumBody(self.means)
        self.create("docs")

    def peers(self) -> list[PeerAt]:
        """Ways to the peers."""
        return [
            PeerAt(label, url, Courier(Door(url=url), self.clock))
            for label, url in zip(LABELS, self.cluster.urls, strict=True)
        ]

    def create(self, name: str) -> None:
        """Create a collection whose thresholds do not care for what is deleted in it."""
        self.cluster.create(name, points(900), shard_number=3)
        self.cluster.optimizers.add_deleted(name, 60, vector_bytes=100_000)

    def patches(self) -> list[Any]:
        """What was sent to change something."""
        return [seen.body for seen in self.cluster.requests if seen.method == "PATCH"]

    def told(self) -> list[str]:
        """The collections of which it is told that their thresholds are changed."""
        return [one.labels[1] for one in self.board.view().standing.get(intent_producer(CLUSTER), ())]

    async def done(self, wanted: JobSettings | None = None) -> list[Part]:
        """Do a run, and return what came of each collection."""
        async with self.body.opened(wanted or vacuum(), CLUSTER) as chore:
            return [await chore.do(name) for name in chore.collections]


def vacuum(**changed: Any) -> JobSettings:
    """A vacuum job that finds a MiB worth its while."""
    return job("weekly", kind="vacuum", **{"min_reclaim_bytes": 1 << 20} | changed)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    with patient(asyncio.get_running_loop()):
        async with SnapshotCluster() as cluster:
            yield Room(cluster)


def test_a_job_that_says_nothing_wants_what_a_person_gets_who_says_nothing() -> None:
    """The defaults of both are the same."""
    assert terms_of(job(kind="vacuum")) == VacuumTerms()


def test_a_limit_of_nothing_switches_a_gate_off() -> None:
    """0 seconds is no search's p95."""
    assert terms_of(vacuum(p95_limit_seconds=0.0)).p95_limit_seconds is None


async def test_a_vacuum_is_done_and_told_with_its_figures(room: Room) -> None:
    """Thresholds are changed for it, which is told until they are put back."""
    await room.means.published.intents.read(room.means.shelf, [CLUSTER])
    seen: list[list[str]] = []

    async def look(_: int, method: str, path: str) -> None:
        seen.append(room.told())

    room.cluster.knobs.on_request = look
    (part,) = await room.done()

    assert (part.collection, part.outcome) == ("docs", Outcome.OK)
    assert part.figures["vacuum"] == "done"
    assert (part.figures["deleted_before"], part.figures["deleted_after"]) == (180, 0)
    assert part.figures["reclaimable_after"] == 0
    assert part.figures["thresholds"] == "put back"
    assert {"segments_before", "segments_after", "took", "p95_before"} <= set(part.figures)
    assert ["docs"] in seen
    assert room.told() == []
    assert await room.means.shelf.thresholds() == []


async def test_while_a_vacuum_goes_nobody_begins_another_in_the_cluster(room: Room) -> None:
    """Also no person on another machine."""
    person = Locks(store=room.store, owner="a person", clock=room.clock)

    async with room.body.opened(vacuum(), CLUSTER):
        with pytest.raises(JobLocked, match="locked by this daemon"):
            async with person.vacuum(CLUSTER):
                pass
        async with person.vacuum("other"):
            pass


async def test_backups_wait_for_one_collection_and_never_for_a_run(room: Room) -> None:
    """Between two collections who waited has the turn, and is not waited for with a lock in hand."""
    order: list[str] = []

    async def backup() -> None:
        async with room.means.turns[CLUSTER]:
            order.append("backup")

    async with room.body.opened(vacuum(), CLUSTER) as chore:
        async with chore.turn():
            waiting = asyncio.create_task(backup())
            await asyncio.sleep(1.0)
            order.append("first")
        async with chore.turn():
            order.append("second")
    await waiting

    assert order == ["first", "backup", "second"]


async def test_where_there_is_nothing_to_do_is_seen_for_all_collections_at_once(room: Room) -> None:
    """Each peer is asked once for all that are left alone, and they are told as success."""
    for number in range(20):
        room.cluster.create(f"clean{number}", points(30), shard_number=3)

    parts = {part.collection: part for part in await room.done(vacuum(dry_run=True))}

    assert {part.outcome for part in parts.values()} == {Outcome.OK}
    assert parts["docs"].figures["vacuum"] == "planned"
    assert parts["clean7"].figures["vacuum"] == "nothing"
    assert parts["clean7"].detail == "no segment has 10% of its points deleted"
    looks = room.cluster.lines().count("GET /telemetry?details_level=4")
    assert looks == 3 * (1 + 2)  # at all of them, and at docs before its searches and after


async def test_a_collection_whose_gates_are_closed_is_skipped_with_all_that_stands_against_it(
    room: Room,
) -> None:
    """A skip is no success; nothing is sent."""
    room.cluster.replica("docs", 0, 0).queue_length = 500

    (part,) = await room.done()

    assert (part.outcome, part.reason) == (Outcome.SKIPPED, Reason.REFUSED)
    assert "500" in part.detail
    assert part.figures["victims"] == 3
    assert room.patches() == []


async def test_a_collection_whose_thresholds_are_not_put_back_yet_is_skipped(room: Room) -> None:
    """A killed vacuum lowered them, and the server takes nothing now."""
    docs = room.cluster.world.named("docs")
    change = FieldChange("deleted_threshold", 0.2, 0.1, 0.2)
    known = ("20270115T080000Z-00000a", CLUSTER, "docs", docs.uuid, Purpose.VACUUM)
    intent = ThresholdIntent(*known, 1.0, "it", (change,))
    await room.means.shelf.save_thresholds(intent)
    docs.config["optimizer_config"]["deleted_threshold"] = 0.1
    room.cluster.knobs.fail("PATCH", "/collections/docs", 400, text="not now")

    (part,) = await room.done()

    assert (part.outcome, part.reason) == (Outcome.SKIPPED, Reason.REFUSED)
    assert "not now" in part.detail
    assert await room.means.shelf.thresholds() == [intent]


async def test_without_a_word_about_the_disk_thresholds_are_not_lowered(room: Room) -> None:
    """It says what to configure."""
    room.disks.clear()

    (part,) = await room.done()

    assert (part.outcome, part.reason) == (Outcome.SKIPPED, Reason.REFUSED)
    assert "storage_path" in part.detail
    assert room.patches() == []


@pytest.mark.parametrize(("start", "end", "done"), [("07:00", "09:00", True), ("09:00", "07:00", False)])
async def test_outside_of_its_window_a_collection_is_skipped(
    room: Room, start: str, end: str, done: bool
) -> None:
    """By the clock of the schedule's time zone; here it is eight o'clock in UTC."""
    room.clock.stands_at = 1_800_000_000.0
    window = WindowSettings(start=start, end=end)

    (part,) = await room.done(vacuum(window=window, dry_run=True))

    assert part.outcome is (Outcome.OK if done else Outcome.SKIPPED)
    assert done or f"{start} to {end} (UTC)" in part.detail


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(room: Room) -> None:
    """It is a success: it did what it was asked for."""
    (part,) = await room.done(vacuum(dry_run=True))

    assert (part.outcome, part.figures["vacuum"], part.figures["victims"]) == (Outcome.OK, "planned", 3)
    assert room.patches() == []


async def test_the_collection_that_frees_the_most_comes_first(room: Room) -> None:
    """As far as polls told it; the others follow by their names. Nothing of ours is touched."""
    for name in ("alpha", "images", "_qdrantx_canary"):
        room.create(name)
    readings = [Reading(RECLAIMABLE_SPEC, (CLUSTER, "docs", ""), 5e6)]
    readings += [Reading(RECLAIMABLE_SPEC, (CLUSTER, "images", ""), 9e6)]
    room.board.post(ProducerKey(CLUSTER, "", "derived"), readings)

    async with room.body.opened(vacuum(), CLUSTER) as chore:
        assert chore.collections == ("images", "docs", "alpha")
    assert RECLAIMABLE_SPEC.name == RECLAIMABLE


@pytest.mark.parametrize(
    ("outcome", "thresholds", "expected"),
    [
        (VacuumOutcome.NOTHING, "unchanged", Outcome.OK),
        (VacuumOutcome.DONE, "put back", Outcome.OK),
        (VacuumOutcome.DONE, "open: shard 1 is yellow", Outcome.PARTLY),
        (VacuumOutcome.PARTLY, "put back", Outcome.PARTLY),
        (VacuumOutcome.UNTOUCHED, "put back", Outcome.FAILED),
        (VacuumOutcome.FAILED, "open: shard 1 is yellow", Outcome.FAILED),
        (VacuumOutcome.LOST, "open: c does not answer", Outcome.FAILED),
    ],
)
def test_what_came_of_a_vacuum_is_no_success_while_anything_is_left(
    outcome: VacuumOutcome, thresholds: str, expected: Outcome
) -> None:
    """Also thresholds; what is open is told in words."""
    plan = VacuumPlan("docs", (), (), (), {}, {}, {}, "")
    weight = Weight(6, 900, 180, 1e6, 5_000_000)
    report = VacuumReport(
        "docs", outcome, "it was so", plan, weight, weight, 9.5, 0.004, None, 0, 3, 0, thresholds
    )

    part = part_of(report)

    assert part.outcome is expected
    is_open = thresholds.startswith("open")
    assert part.detail == (f"it was so; thresholds are {thresholds}" if is_open else "it was so")
    assert (part.figures["p95_before"], "p95_meanwhile" in part.figures) == (0.004, False)
