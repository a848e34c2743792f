"""Alerting's tables: what is stored comes back, all or nothing, and does not grow without end."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.errors import StateError
from exporter.state import (
    DATABASE_NAME,
    AlertingBatch,
    AlertingStore,
    State,
    StoredAlerting,
    StoredRow,
    StoredSilence,
)
from exporter.state.alerting import (
    FINISHED_ROWS,
    FINISHED_SECONDS,
    HISTORY_ROWS,
    HISTORY_SECONDS,
)

NOW = 1_800_000_000.0


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(tmp_path / "state", clock=SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def store(state: State) -> AlertingStore:
    return AlertingStore(state)


def row(id: int, *, finished_at: float | None = None) -> StoredRow:
    state = "pending" if finished_at is None else "done"
    return StoredRow(id, "hook-1", "k", state, finished_at, b"{}")


def test_what_was_written_is_read_after_a_restart(tmp_path: Path) -> None:
    """Alerts, groups, the outbox in order, receivers that are owed, and when it was evaluated."""
    first = State.open(tmp_path, clock=SystemClock())
    AlertingStore(first).write(
        AlertingBatch(
            now=NOW,
            evaluated_at=NOW - 5,
            alerts={"a1": b'{"a":1}'},
            groups={("hook-1", "k"): b'{"g":1}'},
            rows=(row(2), row(1)),
            receivers={"hook-1": b'{"url":"secret"}'},
        )
    )
    first.close()

    with closing(State.open(tmp_path, clock=SystemClock())) as second:
        assert AlertingStore(second).load() == StoredAlerting(
            alerts=(b'{"a":1}',),
            groups=(b'{"g":1}',),
            rows=(row(1), row(2)),
            receivers={"hook-1": b'{"url":"secret"}'},
            evaluated_at=NOW - 5,
        )


def test_none_as_a_document_drops_it(store: AlertingStore) -> None:
    """Alerts, groups and receivers go when they are over."""
    kept = AlertingBatch(NOW, alerts={"a": b"1"}, groups={("r", "k"): b"1"}, receivers={"r": b"1"})
    store.write(kept)

    store.write(AlertingBatch(NOW, alerts={"a": None}, groups={("r", "k"): None}, receivers={"r": None}))

    assert store.load() == StoredAlerting()


def test_a_batch_that_cannot_be_written_whole_is_not_written_at_all(store: AlertingStore) -> None:
    """A change of state without its notification would be a page that nobody sends."""
    bad = StoredRow(1, "r", "k", "pending", None, None)  # type: ignore[arg-type]

    with pytest.raises(StateError):
        store.write(AlertingBatch(NOW, alerts={"a": b"1"}, rows=(bad,)))

    assert store.load() == StoredAlerting()


def test_a_whole_batch_replaces_what_is_open(store: AlertingStore) -> None:
    """After a full disk memory is the truth; what was finished before stays to be read."""
    store.write(AlertingBatch(NOW, alerts={"a": b"1"}, rows=(row(1), row(2, finished_at=NOW))))

    store.write(AlertingBatch(NOW, alerts={"b": b"2"}, rows=(row(3),), whole=True))

    loaded = store.load()
    assert loaded.alerts == (b"2",)
    assert loaded.rows == (row(2, finished_at=NOW), row(3))


def test_finished_notifications_are_kept_for_a_day_and_a_thousand_of_them(store: AlertingStore) -> None:
    """What waits is kept in any case."""
    store.write(AlertingBatch(NOW, rows=(row(1), row(2, finished_at=NOW))))
    later = NOW + FINISHED_SECONDS + 1
    many = tuple(row(id, finished_at=later) for id in range(10, 10 + FINISHED_ROWS + 5))

    store.write(AlertingBatch(later, rows=many))

    ids = [row.id for row in store.load().rows]
    assert ids == [1, *range(15, 15 + FINISHED_ROWS)]


def test_what_was_given_up_and_still_counts_is_kept_however_old_and_many_others_are(
    store: AlertingStore,
) -> None:
    """A resolve that comes days later must know that its trigger was never taken."""
    given_up = StoredRow(1, "hook-1", "k", "dead", NOW, b"{}")
    store.write(AlertingBatch(NOW, rows=(given_up, row(2, finished_at=NOW)), lost=frozenset({1})))
    later = NOW + 3 * FINISHED_SECONDS

    store.write(AlertingBatch(later, rows=(row(3, finished_at=later),), lost=frozenset({1})))
    assert [row.id for row in store.load().rows] == [1, 3]
    store.write(AlertingBatch(later, rows=(row(4, finished_at=later),)))

    assert [row.id for row in store.load().rows] == [3, 4]


def test_a_whole_batch_says_itself_what_was_given_up(store: AlertingStore) -> None:
    """What was given up before may have been made good while nothing could be stored."""
    dead = StoredRow(1, "hook-1", "k", "dead", NOW, b"{}")
    store.write(AlertingBatch(NOW, rows=(dead,), lost=frozenset({1})))

    store.write(AlertingBatch(NOW + 60, rows=(replace(dead, id=2),), lost=frozenset({2}), whole=True))

    assert [row.id for row in store.load().rows] == [2]


def test_history_is_read_newest_first_and_kept_for_a_month(store: AlertingStore) -> None:
    """It answers "was this not there last week"."""
    store.write(AlertingBatch(NOW, ended=((NOW - HISTORY_SECONDS + 5, b"old"), (NOW, b"new"))))
    assert store.history(limit=10) == (b"new", b"old")
    assert store.history(limit=1) == (b"new",)

    store.write(AlertingBatch(NOW + 60, ended=((NOW + 60, b"newer"),)))

    assert store.history(limit=10) == (b"newer", b"new")


def test_history_holds_so_many_rows_at_most(store: AlertingStore) -> None:
    """A cluster that flaps for days fills no disk."""
    store.write(AlertingBatch(NOW, ended=tuple((NOW, b"%d" % number) for number in range(HISTORY_ROWS + 3))))

    history = store.history(limit=2 * HISTORY_ROWS)
    assert len(history) == HISTORY_ROWS
    assert history[-1] == b"3"


def test_a_silence_of_another_process_changes_the_version_and_ours_does_not(
    store: AlertingStore, state: State
) -> None:
    """The daemon asks for that number each second and reads silences only then."""
    version = store.version()
    store.write(AlertingBatch(NOW, alerts={"a": b"1"}))
    assert store.version() == version

    with closing(State.open(state.directory, clock=SystemClock())) as verb:
        AlertingStore(verb).put_silence(StoredSilence("s1", NOW + 60, b"{}"), now=NOW)

    assert store.version() != version
    assert store.silences() == (b"{}",)


def test_a_silence_that_ended_a_month_ago_is_forgotten(store: AlertingStore) -> None:
    """Until then `silence list` can show it."""
    store.put_silence(StoredSilence("s1", NOW, b"1"), now=NOW)
    store.put_silence(StoredSilence("s2", NOW + 60, b"2"), now=NOW + HISTORY_SECONDS)
    assert store.silences() == (b"1", b"2")

    store.put_silence(StoredSilence("s2", NOW + 90, b"3"), now=NOW + HISTORY_SECONDS + 1)

    assert store.silences() == (b"3",)


def test_only_its_owner_may_read_the_database(tmp_path: Path) -> None:
    """It may hold the keys of receivers; also where an older version made it readable for all."""
    previous = os.umask(0o022)
    try:
        path = tmp_path / DATABASE_NAME
        with closing(sqlite3.connect(path)) as old:
            old.execute("PRAGMA journal_mode = WAL")
        path.chmod(0o644)
        with closing(State.open(tmp_path, clock=SystemClock())) as state:
            AlertingStore(state).write(AlertingBatch(NOW, alerts={"a": b"1"}))

            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(previous)

    names = (DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm")
    assert modes == dict.fromkeys(names, 0o600)
