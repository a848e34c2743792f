"""The ledger: stored before told, and told all the same when nothing can be stored."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.alerting import stored
from exporter.alerting.ledger import SAVE_AGAIN_SECONDS, Ledger, Restored
from exporter.alerting.outbox import Row, RowState
from exporter.alerting.verdicts import GiveUp, Hold, Send
from exporter.alerting.words import Changes, Ended, Group, Matcher, Silence
from exporter.errors import StateError
from exporter.state import DATABASE_NAME, RESERVE_NAME, AlertingStore, State
from tests.kit.calls import calls_of
from tests.kit.clock import ManualClock
from tests.kit.notifications import (
    CRITICAL,
    NOW,
    RESOLVE,
    TRIGGER,
    alert,
    fires,
    group,
    notification,
    resolves,
)
from tests.kit.small_disk import SmallDisk, small_disk

HOOK = "hook-1"
SETTINGS = {HOOK: b'{"url": "https://example.com/secret"}'}


def send(row: Row) -> Send:
    return Send()


class Kept:
    """A ledger on a state directory, which can be opened anew as after a crash."""

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        self.directory = directory
        self.clock = clock
        self.state = State.open(directory, clock=clock)
        self.store = AlertingStore(self.state)
        self.ledger = Ledger(store=self.store, clock=clock)

    async def restarted(self, configured: dict[str, bytes] | None = None) -> tuple[Ledger, Restored]:
        """Return another ledger on what this one stored."""
        self.state.close()
        self.__init__(self.directory, self.clock)  # type: ignore[misc]
        return self.ledger, await self.ledger.load(SETTINGS if configured is None else configured)

    def forbid_growth(self) -> None:
        """Let SQLite refuse every new page, as on a full disk."""
        with self.state.reading() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

    def allow_growth(self) -> None:
        with self.state.reading() as connection:
            connection.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def kept(tmp_path: Path, clock: ManualClock) -> Iterator[Kept]:
    kept = Kept(tmp_path / "state", clock)
    yield kept
    kept.state.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def many(count: int) -> Changes:
    """Return a step that needs about half a kilobyte for each alert."""
    alerts = tuple(alert(number) for number in range(1, count + 1))
    return replace(fires(), alerts=alerts)


async def test_a_restart_finds_what_was_committed(kept: Kept, clock: ManualClock) -> None:
    """Alerts, groups, notifications and when it was last evaluated."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())

    ledger, restored = await kept.restarted()

    assert restored == Restored((alert(),), (group(alert()),), (), NOW)
    (row,) = ledger.outbox.rows()
    assert (row.state, row.notification) == (RowState.PENDING, notification(TRIGGER))
    assert ledger.fires(HOOK, "k")


async def test_what_is_over_is_not_found_again(kept: Kept) -> None:
    """Dropped alerts and groups go from the disk as well."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())
    dropped = Changes(NOW + 5, alerts_dropped=(alert().fingerprint,), groups_dropped=((HOOK, "k"),))

    await kept.ledger.commit(dropped)

    _, restored = await kept.restarted()
    assert restored == Restored(evaluated_at=NOW + 5)


async def test_a_row_that_was_being_sent_may_have_arrived(kept: Kept) -> None:
    """It is marked on disk before anything is sent."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())
    taken = await kept.ledger.take(HOOK, send)

    ledger, _ = await kept.restarted()

    assert taken is not None
    (row,) = ledger.outbox.rows()
    assert (row.state, row.attempts, row.maybe_delivered) == (RowState.PENDING, 1, True)
    assert row.idempotency_key == taken.idempotency_key


async def test_what_was_delivered_is_not_sent_after_a_restart(kept: Kept) -> None:
    """Its outcome was stored."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())
    row = await kept.ledger.take(HOOK, send)
    assert row is not None
    await kept.ledger.settle(lambda outbox: outbox.delivered(row, now=NOW, drops_repeats=True))

    ledger, _ = await kept.restarted()

    assert await ledger.take(HOOK, send) is None
    assert [(row.id, row.state) for row in kept.store.load().rows] == [(1, "done")]


async def test_nothing_is_handed_out_before_it_is_stored(kept: Kept) -> None:
    """Another process holds the database for a moment: who asks for a row waits as long."""
    await kept.ledger.load(SETTINGS)
    with closing(sqlite3.connect(kept.directory / DATABASE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        committing = asyncio.create_task(kept.ledger.commit(fires()))
        await asyncio.sleep(0)  # the step is in memory now
        taking = asyncio.create_task(kept.ledger.take(HOOK, send))
        _, waiting = await asyncio.wait([committing, taking], timeout=0.2)
        assert waiting == {committing, taking}
        other.execute("ROLLBACK")

        await committing
        row = await taking

    assert row is not None
    assert row.state is RowState.INFLIGHT


async def test_a_cancelled_commit_reaches_the_disk_before_the_next(kept: Kept) -> None:
    """At a shutdown the step is whole, and what follows it is stored after it."""
    await kept.ledger.load(SETTINGS)
    with closing(sqlite3.connect(kept.directory / DATABASE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        committing = asyncio.create_task(kept.ledger.commit(fires()))
        await asyncio.sleep(0.1)
        committing.cancel()
        await asyncio.sleep(0.1)
        assert not committing.done()
        other.execute("ROLLBACK")
        with pytest.raises(asyncio.CancelledError):
            await committing

    await kept.ledger.commit(replace(resolves(at=NOW + 5), notifications=()))

    _, restored = await kept.restarted()
    assert restored.alerts == (alert(firing=False),)


async def test_a_row_that_is_held_is_asked_about_later_and_one_that_is_given_up_never(
    kept: Kept, clock: ManualClock
) -> None:
    """Who takes rows decides about each."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())

    assert await kept.ledger.take(HOOK, lambda row: Hold(NOW + 30)) is None
    assert await kept.ledger.take(HOOK, send) is None
    clock.advance(30)
    assert await kept.ledger.take(HOOK, lambda row: GiveUp("too old")) is None

    assert [(row.id, row.state) for row in kept.store.load().rows] == [(1, "dead")]


async def test_without_a_state_directory_all_of_it_lives_in_memory(clock: ManualClock) -> None:
    """By choice, so nothing is unsaved."""
    ledger = Ledger(store=None, clock=clock)

    assert await ledger.load(SETTINGS) == Restored()
    await ledger.commit(fires())

    row = await ledger.take(HOOK, send)
    assert row is not None
    assert row.kind == TRIGGER
    assert not ledger.unsaved
    assert not await ledger.step()


async def test_an_evaluation_that_changed_nothing_is_written_every_five_seconds(kept: Kept) -> None:
    """Several a second would only wear the disk."""
    await kept.ledger.load(SETTINGS)
    for seconds, written in ((1, 1), (2, 1), (5, 1), (6, 6), (7, 6)):
        await kept.ledger.commit(Changes(NOW + seconds))
        assert kept.store.load().evaluated_at == NOW + written


async def test_what_ended_goes_into_the_history(kept: Kept) -> None:
    """For people, with the reason."""
    await kept.ledger.load(SETTINGS)
    ended = Ended("1", "PeerDown", CRITICAL, NOW - 60, NOW, "recovered", 1.0)

    await kept.ledger.commit(Changes(NOW, ended=(ended,)))
    await kept.ledger.commit(fires())

    assert stored.history(kept.store, limit=10) == (ended,)


async def test_a_silence_that_a_verb_wrote_is_seen_at_the_next_look(kept: Kept) -> None:
    """So is its end; a look without news says so."""
    await kept.ledger.load(SETTINGS)
    silence = Silence("5ad1", (Matcher("peer", "a"),), "ada", "disk swap", NOW, NOW + 600, NOW)
    with closing(State.open(kept.directory, clock=kept.clock)) as verb:
        stored.put_silence(AlertingStore(verb), silence, now=NOW)
        assert await kept.ledger.step()
        assert kept.ledger.silences == (silence,)
        assert not await kept.ledger.step()

        ended = stored.expire_silence(AlertingStore(verb), "5a", now=NOW + 60)

    assert ended == replace(silence, ends_at=NOW + 60)
    assert await kept.ledger.step()
    assert kept.ledger.silences == (ended,)


async def test_only_one_silence_that_still_runs_is_expired(kept: Kept) -> None:
    """The beginning of an id that two have names neither; one that is over cannot end."""
    for id in ("5ad1", "5ad2"):
        silence = Silence(id, (), "ada", "", NOW, NOW + 600, NOW)
        stored.put_silence(kept.store, silence, now=NOW)

    assert stored.expire_silence(kept.store, "5ad", now=NOW) is None
    assert stored.expire_silence(kept.store, "5ad1", now=NOW + 600) is None
    assert stored.expire_silence(kept.store, "5ad1", now=NOW) is not None
    assert stored.expire_silence(kept.store, "", now=NOW) is None  # a variable that was not set


async def test_a_silence_that_cannot_be_held_against_a_label_is_left_out(kept: Kept) -> None:
    """Another version may have taken its expression; it must not keep every step from its end."""
    good = Silence("5ad1", (Matcher("peer", "a"),), "ada", "", NOW, NOW + 600, NOW)
    bad = replace(good, id="5ad2", matchers=(Matcher("peer", "(?=a)", regex=True),))
    for silence in (good, bad):
        stored.put_silence(kept.store, silence, now=NOW)

    assert stored.silences(kept.store) == (good,)


async def test_a_document_of_another_version_costs_itself(kept: Kept) -> None:
    """The rest is restored."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())
    with kept.state.transaction() as connection:
        connection.execute("INSERT INTO alerts (fingerprint, document) VALUES ('f', ?)", (b'{"x": 1}',))

    _, restored = await kept.restarted()

    assert restored.alerts == (alert(),)


async def test_settings_of_a_receiver_are_kept_while_it_is_owed_a_message_and_not_longer(
    kept: Kept, clock: ManualClock
) -> None:
    """It left the configuration while it had heard of an alert; then its resolve was delivered."""
    await kept.ledger.load({**SETTINGS, "idle-1": b"{}"})
    assert kept.store.load().receivers == {}
    await kept.ledger.commit(fires())
    assert kept.store.load().receivers == SETTINGS
    assert kept.ledger.owed_and_gone() == {}

    ledger, _ = await kept.restarted({})
    assert ledger.owed_and_gone() == SETTINGS
    row = await ledger.take(HOOK, send)
    assert row is not None
    await ledger.settle(lambda outbox: outbox.delivered(row, now=NOW, drops_repeats=True))
    await ledger.commit(resolves(at=NOW + 5))
    assert ledger.owed_and_gone() == SETTINGS
    row = await ledger.take(HOOK, send)
    assert row is not None
    await ledger.settle(lambda outbox: outbox.delivered(row, now=NOW, drops_repeats=True))

    assert ledger.owed_and_gone() == {}
    assert kept.store.load().receivers == {}


class SlowGroup(Group):
    """A group that calls a function to say what it heard."""

    def __getattribute__(self, name: str) -> object:
        return super().__getattribute__(name)


async def test_who_is_owed_is_known_without_looking_at_every_group_and_row(clock: ManualClock) -> None:
    """Each write asks twice, and a storm is ten thousand groups."""

    async def calls(groups: int) -> int:
        ledger = Ledger(store=None, clock=clock)
        await ledger.load(SETTINGS)
        step = [fires(key=f"k{number}") for number in range(groups)]
        heard = tuple(
            SlowGroup(each.receiver, each.key, each.labels, each.severity, heard=each.heard)
            for changes in step
            for each in changes.groups
        )
        told = tuple(each for changes in step for each in changes.notifications)
        await ledger.commit(replace(step[0], groups=heard, notifications=told))
        return calls_of(ledger.owed_and_gone)

    assert await calls(2) == await calls(200)


async def test_a_receiver_is_owed_until_its_last_group_is_over(kept: Kept) -> None:
    """Whether the group says so, or is forgotten."""
    await kept.ledger.load(SETTINGS)
    for key in ("a", "b"):
        await kept.ledger.commit(replace(fires(key=key), notifications=()))
    await kept.ledger.configure({})
    assert kept.ledger.owed_and_gone() == SETTINGS

    await kept.ledger.commit(replace(resolves(key="a"), notifications=()))
    assert kept.ledger.owed_and_gone() == SETTINGS
    ledger, _ = await kept.restarted({})
    assert ledger.owed_and_gone() == SETTINGS
    await ledger.commit(Changes(NOW, groups_dropped=((HOOK, "b"), (HOOK, "never known"))))

    assert ledger.owed_and_gone() == {}


async def test_a_receiver_that_leaves_at_a_reload_is_still_owed(kept: Kept) -> None:
    """Without a restart in between, and while nothing can be stored."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())

    await kept.ledger.configure({})
    await kept.ledger.configure({"other-1": b"{}"})

    assert kept.ledger.owed_and_gone() == SETTINGS


async def test_what_cannot_be_stored_is_told_all_the_same(kept: Kept, clock: ManualClock) -> None:
    """SQLite refuses the step: it goes on in memory, says so, and writes it all when it can."""
    await kept.ledger.load(SETTINGS)
    kept.forbid_growth()

    await kept.ledger.commit(many(2_000))

    assert kept.ledger.unsaved
    row = await kept.ledger.take(HOOK, send)
    assert row is not None
    await kept.ledger.settle(lambda outbox: outbox.delivered(row, now=NOW, drops_repeats=True))
    await kept.ledger.step()
    clock.advance(SAVE_AGAIN_SECONDS)
    await kept.ledger.step()
    assert kept.ledger.unsaved
    await kept.ledger.commit(Changes(NOW + 40, ended=(Ended("1", "R", (), NOW, NOW + 40, "recovered"),)))

    kept.allow_growth()
    clock.advance(SAVE_AGAIN_SECONDS)
    await kept.ledger.step()

    assert not kept.ledger.unsaved
    _, restored = await kept.restarted()
    assert len(restored.alerts) == 2_000
    assert restored.evaluated_at == NOW + 40
    assert len(stored.history(kept.store, limit=10)) == 1
    assert list(kept.ledger.outbox.rows()) == []


async def give_up_next(ledger: Ledger) -> None:
    row = await ledger.take(HOOK, send)
    assert row is not None
    await ledger.settle(lambda outbox: outbox.give_up(row, now=NOW, reason="400"))


@pytest.mark.parametrize("hours", [1.0, 30.0])
async def test_a_restart_knows_of_a_trigger_that_was_given_up_while_it_fires(
    kept: Kept, clock: ManualClock, hours: float
) -> None:
    """Also when all else of that day is forgotten: its resolve is owed to nobody."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())
    await give_up_next(kept.ledger)
    clock.advance(hours * 3_600)
    await kept.ledger.commit(fires(key="other", at=clock.now()))
    row = await kept.ledger.take(HOOK, send)
    assert row is not None
    await kept.ledger.settle(lambda outbox: outbox.delivered(row, now=clock.now(), drops_repeats=True))

    ledger, _ = await kept.restarted()

    assert [row.key for row in ledger.outbox.lost()] == ["k"]
    await ledger.commit(resolves(at=clock.now()))
    assert list(ledger.outbox.rows()) == []


async def test_what_was_given_up_while_nothing_could_be_stored_is_stored_later(
    kept: Kept, clock: ManualClock
) -> None:
    """And what was given up before and made good meanwhile counts no more."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires(key="good"))
    await give_up_next(kept.ledger)
    kept.forbid_growth()
    await kept.ledger.commit(many(2_000))
    assert kept.ledger.unsaved
    await give_up_next(kept.ledger)
    await kept.ledger.commit(resolves(key="good", at=NOW + 5))

    kept.allow_growth()
    clock.advance(SAVE_AGAIN_SECONDS)
    await kept.ledger.step()

    assert not kept.ledger.unsaved
    ledger, _ = await kept.restarted()
    assert [row.key for row in ledger.outbox.lost()] == ["k"]


async def test_a_full_disk_takes_the_next_step_from_the_reserve(disk: SmallDisk, clock: ManualClock) -> None:
    """Nothing is unsaved; the reserve is taken again when there is room."""
    kept = Kept(disk.path / "state", clock)
    reserve = kept.directory / RESERVE_NAME
    with closing(kept.state):
        await kept.ledger.load(SETTINGS)
        assert reserve.exists()
        disk.fill()

        await kept.ledger.commit(many(2_000))

        assert not kept.ledger.unsaved
        assert not reserve.exists()
        assert len(kept.store.load().alerts) == 2_000
        disk.empty()
        clock.advance(SAVE_AGAIN_SECONDS)
        await kept.ledger.step()
        assert reserve.exists()


async def test_a_disk_that_stays_full_is_written_when_it_has_room_again(
    disk: SmallDisk, clock: ManualClock
) -> None:
    """The reserve is used up as well, while alerts go on changing."""
    kept = Kept(disk.path / "state", clock)
    with closing(kept.state):
        await kept.ledger.load(SETTINGS)
        disk.fill()
        await kept.ledger.commit(many(100))
        disk.fill()
        await kept.ledger.commit(many(8_000))
        assert kept.ledger.unsaved
        row = await kept.ledger.take(HOOK, send)
        assert row is not None
        await kept.ledger.settle(lambda outbox: outbox.delivered(row, now=NOW, drops_repeats=True))
        await kept.ledger.commit(resolves(at=NOW + 5))

        disk.empty()
        clock.advance(SAVE_AGAIN_SECONDS)
        await kept.ledger.step()

        assert not kept.ledger.unsaved
        assert (kept.directory / RESERVE_NAME).exists()
        ledger, restored = await kept.restarted()
        assert len(restored.alerts) == 8_000
        assert [row.kind for row in ledger.outbox.rows()] == [RESOLVE]
        kept.state.close()


async def test_a_disk_that_is_full_at_the_start_is_an_error(disk: SmallDisk, clock: ManualClock) -> None:
    """Somebody looks on at a start; a reserve of the last run is used first."""
    kept = Kept(disk.path / "state", clock)
    with closing(kept.state):
        disk.fill()

        with pytest.raises(StateError, match="no space left"):
            await kept.ledger.load(SETTINGS)


async def test_a_state_directory_that_was_taken_away_is_noticed_and_left_alone(
    kept: Kept, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite writes on into a file that nobody finds again; what stands in its place is another's."""
    await kept.ledger.load(SETTINGS)
    await kept.ledger.step()
    assert not kept.ledger.unsaved
    shutil.rmtree(kept.directory)

    await kept.ledger.step()

    assert kept.ledger.unsaved
    with closing(State.open(kept.directory, clock=clock)):
        await kept.ledger.commit(fires())
        for _ in range(2):
            clock.advance(SAVE_AGAIN_SECONDS)
            await kept.ledger.step()
        assert kept.ledger.unsaved
        assert not (kept.directory / RESERVE_NAME).exists()
    assert await kept.ledger.take(HOOK, send) is not None
    assert "".join(capsys.readouterr()).count("the state directory was taken away") == 1


async def test_a_database_that_another_program_locks_leaves_the_reserve_alone(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is not what lacks, and a second wait would be as long as the first."""
    monkeypatch.setattr("exporter.state.database.BUSY_TIMEOUT_SECONDS", 0.1)
    await kept.restarted()
    with closing(sqlite3.connect(kept.directory / DATABASE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        await kept.ledger.commit(fires())

        assert kept.ledger.unsaved
        assert (kept.directory / RESERVE_NAME).exists()


async def test_what_fills_the_event_loops_own_threads_does_not_keep_the_ledger_from_storing(
    kept: Kept,
) -> None:
    """A few look-ups of names that hang are enough to fill them."""
    go_on, loop = threading.Event(), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    hanging = loop.run_in_executor(None, go_on.wait)
    loop.call_later(1.5, go_on.set)  # whoever waits for it fails below, and does not hang

    await kept.ledger.load(SETTINGS)
    await kept.ledger.commit(fires())
    await kept.ledger.step()

    assert not go_on.is_set()
    assert len(kept.store.load().alerts) == 1
    go_on.set()
    await hanging
