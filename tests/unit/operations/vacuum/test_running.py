"""Vacuums against three scripted peers: every way in which one ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from exporter.errors import JobDenied, JobError, JobRefused
from exporter.operations.vacuum.running import VacuumRefused
from exporter.operations.vacuum.words import VacuumOutcome
from tests.kit.snapshot_cluster import Segment
from tests.unit.operations.vacuum.ground import Ground, ground

OWN = (0.2, 1_000)
PUT = {"optimizers_config": {"deleted_threshold": 0.1649, "vacuum_min_vector_number": 360}}
BACK = {"optimizers_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1_000}}
EMPTY = {"optimizers_config": {}}


@pytest.fixture
async def docs() -> AsyncIterator[Ground]:
    """Three peers, on each a replica of 360 points of which 60 are deleted: the server leaves those."""
    async with ground() as made:
        made.delete()
        yield made


async def test_a_vacuum_lowers_the_thresholds_waits_and_puts_them_back(docs: Ground) -> None:
    """One PATCH before, one after, none meanwhile; no run is cancelled."""
    docs.cluster.knobs.pace.seconds = 30.0

    report = await docs.run()

    assert (report.outcome, report.thresholds) == (VacuumOutcome.DONE, "put back")
    assert docs.patches() == [PUT, BACK]
    assert docs.cluster.optimizers.statuses("docs") == ["done", "done", "done"]
    assert docs.thresholds() == OWN
    assert await docs.shelf.thresholds() == []


async def test_a_vacuum_tells_what_came_of_it(docs: Ground) -> None:
    """Before and after, how long it took, and how searches did."""
    docs.cluster.knobs.pace.seconds = 30.0

    report = await docs.run()

    assert (report.before.deleted, report.after.deleted) == (180, 0)
    assert report.before.reclaimable_bytes > 0 == report.after.reclaimable_bytes
    assert (report.before.segments, report.after.points) == (6, 900)
    assert report.before.disk_bytes is not None
    assert report.after.disk_bytes is not None
    assert report.after.disk_bytes < report.before.disk_bytes
    assert 35.0 <= report.took_seconds < 45.0
    assert (report.runs, report.cancelled_runs, report.failed_searches) == (3, 0, 0)
    assert report.p95_before_seconds is not None
    assert report.p95_meanwhile_seconds is not None
    assert report.after.deleted == 0


async def test_the_intent_is_open_while_the_thresholds_are_lowered(docs: Ground) -> None:
    """A kill at any moment leaves what is to be put back, and by whom."""
    opened = []

    async def look() -> None:
        opened.extend(await docs.shelf.thresholds())

    docs.after_patch(look)

    await docs.run()

    (intent,) = opened
    assert (intent.collection, str(intent.purpose)) == ("docs", "vacuum")
    assert {one.field: (one.put, one.back) for one in intent.changes} == {
        "deleted_threshold": (0.1649, 0.2),
        "vacuum_min_vector_number": (360, 1_000),
    }


async def test_nothing_is_sent_where_there_is_nothing_to_do() -> None:
    """No victim, no search, no PATCH."""
    async with ground() as docs:
        report = await docs.run()

        assert report.outcome is VacuumOutcome.NOTHING
        assert report.detail == "no segment has 10% of its points deleted"
        assert docs.patches() == []
        assert not [line for line in docs.cluster.lines() if line.startswith("POST")]


async def test_a_dry_run_only_says_what_it_would_do(docs: Ground) -> None:
    """The plan is in its report."""
    report = await docs.run(dry_run=True)

    assert (report.outcome, len(report.plan.victims)) == (VacuumOutcome.PLANNED, 3)
    assert docs.patches() == []


async def test_a_closed_gate_refuses_and_says_all_that_stands_in_the_way(docs: Ground) -> None:
    """Nothing is sent; the plan comes with the refusal."""
    docs.free["b"] = None
    docs.cluster.replica("docs", 2, 2).queue_length = 101

    with pytest.raises(VacuumRefused) as refused:
        await docs.run()

    assert [gate.name for gate in refused.value.plan.refusals] == ["queue", "disk"]
    assert "101 operations wait on c" in str(refused.value)
    assert "clusters[].peers[].storage_path" in str(refused.value)
    assert docs.patches() == []


async def test_a_plan_sends_nothing_and_lists_every_gate(docs: Ground) -> None:
    """Also those that are open."""
    plan = await docs.plan()

    assert len(plan.victims) == 3
    assert dict(plan.change) == PUT["optimizers_config"]
    assert {gate.name for gate in plan.gates} >= {"peers", "disk", "window", "searches", "optimizers"}
    assert plan.refusals == ()
    assert docs.patches() == []


async def test_a_collection_whose_optimizer_runs_is_never_touched(docs: Ground) -> None:
    """A PATCH would cancel it."""
    docs.cluster.knobs.pace.held = True
    docs.cluster.optimizers.segments("docs", 0, 0).append(Segment(live=0, deleted=2_000))
    docs.cluster.optimizers.patched(docs.cluster.world.named("docs"))

    with pytest.raises(VacuumRefused, match="vacuum runs on a, shard 0"):
        await docs.run()

    assert docs.patches() == []
    assert docs.cluster.optimizers.statuses("docs") == ["optimizing"]


async def test_an_optimizer_that_begins_right_before_is_never_touched(docs: Ground) -> None:
    """Between the gates and the PATCH somebody looks once more."""
    free_bytes = docs.free_bytes

    async def slow() -> dict[str, int | None]:
        docs.cluster.knobs.pace.held = True
        docs.cluster.optimizers.segments("docs", 0, 0).append(Segment(live=0, deleted=2_000))
        docs.cluster.optimizers.patched(docs.cluster.world.named("docs"))
        return dict(await free_bytes())

    docs.free_bytes = slow  # type: ignore[method-assign]

    with pytest.raises(JobRefused, match="vacuum runs on a"):
        await docs.run()

    assert docs.patches() == []
    assert await docs.shelf.thresholds() == []
    assert docs.cluster.optimizers.statuses("docs") == ["optimizing"]


async def test_where_the_own_thresholds_suffice_it_is_only_triggered() -> None:
    """An empty PATCH, no intent; free disk may be unknown. Newer servers say that such a segment waits."""
    async with ground(version="1.16.3") as docs:
        docs.delete(1_500, says_green=True)
        docs.free = {}

        report = await docs.run()

        assert (report.outcome, report.thresholds) == (VacuumOutcome.DONE, "unchanged")
        assert docs.patches() == [EMPTY]
        assert not [call for call in docs.store.calls if call.what.startswith("put")]


async def lowered_by_a_killed_run(docs: Ground) -> None:
    """Leave thresholds as a run does that was killed right after its PATCH, once all is rewritten."""
    docs.cluster.knobs.pace.held = True
    running = asyncio.ensure_future(docs.run())
    while not docs.patches():
        await asyncio.sleep(0.5)
    await asyncio.sleep(1.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    docs.cluster.optimizers.finish("docs")
    docs.cluster.knobs.pace.held = False


async def test_what_a_killed_run_lowered_is_not_taken_for_the_owners_wish() -> None:
    """By it the next one would only be triggered, also where nobody knows of room for it."""
    async with ground(version="1.16.3") as docs:
        docs.delete()
        await lowered_by_a_killed_run(docs)
        docs.delete(says_green=True)
        docs.free = {}

        with pytest.raises(VacuumRefused, match="storage_path"):
            await docs.run()

        assert (docs.patches(), docs.thresholds()) == ([PUT, BACK], OWN)
        assert await docs.shelf.thresholds() == []


async def test_while_it_cannot_be_put_back_no_other_vacuum_begins() -> None:
    """Its plan would be made by thresholds that are nobody's."""
    async with ground(version="1.16.3") as docs:
        docs.delete()
        await lowered_by_a_killed_run(docs)
        docs.delete(says_green=True)
        docs.cluster.knobs.fail("PATCH", "/collections/docs", 400, text="not now")

        with pytest.raises(JobRefused, match=r"that an earlier run changed are not put back: .*not now"):
            await docs.run()

        assert len(await docs.shelf.thresholds()) == 1


async def test_a_look_that_takes_long_is_followed_by_a_long_rest(docs: Ground) -> None:
    """With very many collections it is felt, and must not be all that the server does."""
    docs.cluster.knobs.pace.seconds = 100.0

    async def slow(_: int, method: str, path: str) -> None:
        if "telemetry" in path:
            await asyncio.sleep(2.0)

    docs.cluster.knobs.on_request = slow

    report = await docs.run()

    triggered = docs.cluster.lines().index("PATCH /collections/docs")
    looks = docs.cluster.lines()[triggered:].count("GET /telemetry?details_level=4") / len(docs.peers)
    assert report.outcome is VacuumOutcome.DONE
    assert looks < 15  # 100 s of rewriting, each look with its rest 20 s; without one it were 25 and more


async def test_a_patch_that_no_optimizer_follows_is_told(docs: Ground) -> None:
    """After half a minute in which none began; the thresholds are put back."""
    kept = [docs.cluster.optimizers.segments("docs", number, number)[0] for number in range(3)]

    def hide(_: int, method: str, __: str) -> None:
        if method == "PATCH":
            for segment in kept:
                segment.kind = "special"

    docs.cluster.knobs.on_request = hide

    report = await docs.run()

    assert (report.outcome, report.runs) == (VacuumOutcome.UNTOUCHED, 0)
    assert report.took_seconds >= 30.0
    assert (docs.patches(), docs.thresholds()) == ([PUT, BACK], OWN)


async def test_a_victim_that_does_not_go_ends_it_once_all_is_quiet(docs: Ground) -> None:
    """What was rewritten is told, the thresholds are put back."""
    kept = docs.cluster.optimizers.segments("docs", 1, 1)[0]
    docs.cluster.knobs.on_request = lambda _, method, __: (
        setattr(kept, "kind", "special") if method == "PATCH" else None
    )

    report = await docs.run()

    assert (report.outcome, report.thresholds) == (VacuumOutcome.PARTLY, "put back")
    assert report.detail == "1 of 3 segments were not rewritten, and nothing runs any more"
    assert docs.thresholds() == OWN


async def test_an_optimizer_error_ends_it_though_more_would_wait(docs: Ground) -> None:
    """The server's words are passed on."""
    docs.cluster.knobs.pace.error = "No space left on device"

    report = await docs.run()

    assert report.outcome is VacuumOutcome.FAILED
    assert "No space left on device" in report.detail
    assert report.after.deleted == 180
    assert report.thresholds == "put back"
    assert await docs.shelf.thresholds() == []


async def test_a_peer_that_stays_away_ends_it_with_the_intent_open(docs: Ground) -> None:
    """Nobody can say whether it is rewriting; whoever reconciles puts the thresholds back later."""
    docs.cluster.knobs.pace.seconds = 30.0
    docs.after_patch(lambda: docs.cluster.kill(2))

    report = await docs.run()

    assert report.outcome is VacuumOutcome.LOST
    assert report.detail.startswith("c did not answer for 20 s")
    assert report.thresholds.startswith("open: c does not answer")
    assert [body for body in docs.patches() if body == BACK] == []
    assert len(await docs.shelf.thresholds()) == 1


async def test_a_peer_that_comes_back_grey_ends_it_and_the_thresholds_are_put_back(docs: Ground) -> None:
    """Restarted, it waits for the next update; a PATCH cancels nothing there."""
    docs.cluster.knobs.pace.seconds = 10.0

    def restart() -> None:
        docs.cluster.restart(1)

    docs.after_patch(restart)

    report = await docs.run()

    assert (report.outcome, report.thresholds) == (VacuumOutcome.PARTLY, "put back")
    assert "restarted" in report.detail
    assert docs.patches() == [PUT, BACK]
    assert docs.thresholds() == OWN


async def test_what_another_set_meanwhile_is_left(docs: Ground) -> None:
    """Our other field goes back, theirs stays, and the report says so."""

    def another() -> None:
        docs.cluster.world.named("docs").config["optimizer_config"]["deleted_threshold"] = 0.15

    docs.cluster.knobs.pace.seconds = 1.0
    docs.after_patch(lambda: None)
    running = asyncio.ensure_future(docs.run())
    while not docs.patches():
        await asyncio.sleep(0.5)
    await asyncio.sleep(1.0)
    another()
    report = await running

    assert report.outcome is VacuumOutcome.DONE
    assert report.thresholds == "put back; set by another meanwhile, and left: deleted_threshold"
    assert docs.thresholds() == (0.15, 1_000)
    assert await docs.shelf.thresholds() == []


async def test_whoever_cancels_it_sends_nothing_and_leaves_the_intent(docs: Ground) -> None:
    """The rewrite goes on, and is put back from behind by the reconciler."""
    docs.cluster.knobs.pace.held = True

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.0):
            await docs.run()

    assert docs.patches() == [PUT]
    assert docs.cluster.optimizers.statuses("docs") == ["optimizing"] * 3
    assert len(await docs.shelf.thresholds()) == 1


async def test_a_collection_deleted_meanwhile_leaves_no_intent(docs: Ground) -> None:
    """There is nothing to put back."""
    docs.cluster.knobs.pace.held = True
    running = asyncio.ensure_future(docs.run())
    while not docs.patches():
        await asyncio.sleep(0.5)
    await asyncio.sleep(1.0)
    docs.cluster.world.delete("docs")
    report = await running

    assert (report.outcome, report.thresholds) == (VacuumOutcome.GONE, "gone with the collection")
    assert await docs.shelf.thresholds() == []


async def test_a_collection_that_never_gets_quiet_keeps_the_intent_open(docs: Ground) -> None:
    """After an hour of tries the rest is the reconciler's."""
    running = asyncio.ensure_future(docs.run())
    while not docs.patches():
        await asyncio.sleep(0.5)
    await asyncio.sleep(10.0)  # the vacuum is over, and its thresholds are being put back
    docs.cluster.knobs.queued_optimizations = 1
    report = await running

    assert report.outcome is VacuumOutcome.DONE
    assert report.thresholds == "open: 1 optimizations wait"
    assert docs.patches() == [PUT]


async def test_a_peer_that_has_no_collection_yet_is_no_word_that_it_was_deleted(docs: Ground) -> None:
    """As one that joins the cluster while the others are away: the intent stays."""
    docs.cluster.knobs.pace.seconds = 30.0

    async def away() -> None:
        await docs.cluster.kill(1)
        await docs.cluster.kill(2)
        docs.cluster.world.delete("docs")  # the scripted peers have one world: peer 0 knows of none any more

    docs.after_patch(away)

    report = await docs.run()

    assert report.outcome is VacuumOutcome.LOST
    assert report.thresholds.startswith("open: ")
    assert len(await docs.shelf.thresholds()) == 1


async def test_writers_that_keep_the_optimizers_busy_do_not_keep_a_vacuum_for_ever(docs: Ground) -> None:
    """All victims are gone and something always runs: after a while the thresholds are the reconciler's."""
    running = asyncio.ensure_future(docs.run())
    while not docs.patches():
        await asyncio.sleep(0.5)
    docs.cluster.knobs.queued_optimizations = 1
    report = await running

    assert report.outcome is VacuumOutcome.DONE
    assert report.detail == "3 segments rewritten, and it was not quiet since: 1 optimizations wait"
    assert (report.thresholds, docs.patches()) == ("open: 1 optimizations wait", [PUT])
    assert 20.0 <= report.took_seconds < 40.0
    assert len(await docs.shelf.thresholds()) == 1


async def test_a_key_that_may_only_read_is_told_so(docs: Ground) -> None:
    """And no intent stays."""
    docs.cluster.knobs.fail("PATCH", "/collections/docs", 403)

    with pytest.raises(JobDenied):
        await docs.run()

    assert await docs.shelf.thresholds() == []


async def test_a_collection_that_does_not_exist_is_an_error(docs: Ground) -> None:
    """Not nothing to do."""
    with pytest.raises(JobError, match="there is no collection ghost"):
        await docs.run("ghost")


async def test_a_silent_peer_refuses_even_where_no_victim_is_seen() -> None:
    """The victims may lie there."""
    async with ground() as docs:
        await docs.cluster.kill(1)

        with pytest.raises(VacuumRefused, match="b does not answer"):
            await docs.run()


async def test_before_1_17_the_share_tells_that_it_is_done() -> None:
    """Segments have no uuid there, and nobody tells of a queue."""
    async with ground(version="1.16.3") as docs:
        docs.delete()

        report = await docs.run()

        assert (report.outcome, report.thresholds) == (VacuumOutcome.DONE, "put back")
        assert report.after.disk_bytes is None
        assert docs.thresholds() == OWN
