"""What alerting keeps over a restart: alerts, groups, outbox, silences, history, receivers it owes.

Documents are bytes here: what is in them belongs to alerting. As with State, every function blocks on
the disk, raises StateError, and may be called from any thread; verbs call them beside a running daemon.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from exporter.state.database import State

HISTORY_SECONDS = 30 * 86_400.0  # last month's incidents are what a review asks for
HISTORY_ROWS = 10_000  # about 10 MB
# What became of a notification is of use the next morning; a row may be 20 kB.
FINISHED_SECONDS = 86_400.0
FINISHED_ROWS = 1_000
GIVEN_UP = "dead"  # the state of a row that nobody took

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One notification of the outbox. `finished_at` is None while it waits to be delivered."""

    id: int
    receiver: str
    key: str
    state: str
    finished_at: float | None
    document: bytes


@dataclass(frozen=True, slots=True)
class StoredSilence:
    """One silence."""

    id: str
    ends_at: float
    document: bytes


@dataclass(frozen=True, slots=True)
class StoredAlerting:
    """All that a daemon reads when it starts."""

    alerts: tuple[bytes, ...] = ()
    groups: tuple[bytes, ...] = ()
    rows: tuple[StoredRow, ...] = ()  # by id
    receivers: Mapping[str, bytes] = field(default_factory=dict)  # settings by receiver id
    evaluated_at: float | None = None


@dataclass(frozen=True, slots=True)
class AlertingBatch:
    """What is written in one transaction. None as a document: it is dropped."""

    now: float
    evaluated_at: float | None = None
    alerts: Mapping[str, bytes | None] = field(default_factory=dict)
    groups: Mapping[tuple[str, str], bytes | None] = field(default_factory=dict)
    rows: tuple[StoredRow, ...] = ()
    ended: tuple[tuple[float, bytes], ...] = ()  # resolved_at and document
    receivers: Mapping[str, bytes | None] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()  # rows given up that still count, however old they are
    whole: bool = False  # it is all there is: what is stored and not in it goes first


class AlertingStore:
    """Alerting's tables in the open database."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self._state.directory

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks on the disk in the thread of the database; see `State.in_thread`."""
        return await self._state.in_thread(work)

    def is_in_place(self) -> bool:
        """Whether the state directory is still the one that was opened; see `State.is_in_place`."""
        return self._state.is_in_place()

    def load(self) -> StoredAlerting:
        """Return everything but silences and history, as of one moment."""
        with self._state.transaction() as connection:
            evaluated = connection.execute("SELECT at FROM alert_evaluation").fetchone()
            return StoredAlerting(
                alerts=_documents(connection, "SELECT document FROM alerts ORDER BY fingerprint"),
                groups=_documents(connection, "SELECT document FROM alert_groups ORDER BY receiver, key"),
                rows=tuple(
                    StoredRow(*row)
                    for row in connection.execute(
                        "SELECT id, receiver, key, state, finished_at, document FROM alert_outbox ORDER BY id"
                    )
                ),
                receivers=dict(connection.execute("SELECT id, settings FROM alert_receivers").fetchall()),
                evaluated_at=None if evaluated is None else float(evaluated[0]),
            )

    def write(self, batch: AlertingBatch) -> None:
        """Store all of it or nothing; what is too old or too much goes."""
        with self._state.transaction() as connection:
            if batch.whole:
                for table in ("alerts", "alert_groups", "alert_receivers"):
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names from above
                # What was given up may have been made good since; what was delivered stays to be read.
                connection.execute(
                    "DELETE FROM alert_outbox WHERE finished_at IS NULL OR state = ?", (GIVEN_UP,)
                )
            if batch.evaluated_at is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO alert_evaluation (only, at) VALUES (1, ?)", (batch.evaluated_at,)
                )
            _write_alerts(connection, batch)
            _write_groups(connection, batch)
            _write_rows(connection, batch)
            _write_history(connection, batch)
            _write_receivers(connection, batch)

    def alerts(self) -> tuple[bytes, ...]:
        """Return the alerts as last stored. For verbs."""
        with self._state.reading() as connection:
            return _documents(connection, "SELECT document FROM alerts ORDER BY fingerprint")

    def evaluated_at(self) -> float | None:
        """Return when rules were last evaluated, as last stored. For verbs."""
        with self._state.reading() as connection:
            evaluated = connection.execute("SELECT at FROM alert_evaluation").fetchone()
        return None if evaluated is None else float(evaluated[0])

    def history(self, *, limit: int) -> tuple[bytes, ...]:
        """Return the newest alerts that ended, newest first."""
        with self._state.reading() as connection:
            return _documents(
                connection, "SELECT document FROM alert_history ORDER BY number DESC LIMIT ?", limit
            )

    def silences(self) -> tuple[bytes, ...]:
        """Return every silence, also those that ended within the last 30 days."""
        with self._state.reading() as connection:
            return _documents(connection, "SELECT document FROM alert_silences ORDER BY ends_at, id")

    def put_silence(self, silence: StoredSilence, *, now: float) -> None:
        """Store a silence or replace it; those that ended 30 days ago go."""
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM alert_silences WHERE ends_at < ?", (now - HISTORY_SECONDS,))
            connection.execute(
                "INSERT OR REPLACE INTO alert_silences (id, ends_at, document) VALUES (?, ?, ?)",
                (silence.id, silence.ends_at, silence.document),
            )

    def version(self) -> int:
        """Return a number that changes when another process wrote. Cheap: the daemon asks each second."""
        with self._state.reading() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _documents(connection: sqlite3.Connection, query: str, *parameters: object) -> tuple[bytes, ...]:
    return tuple(row[0] for row in connection.execute(query, parameters))


def _write_alerts(connection: sqlite3.Connection, batch: AlertingBatch) -> None:
    for fingerprint, document in batch.alerts.items():
        if document is None:
            connection.execute("DELETE FROM alerts WHERE fingerprint = ?", (fingerprint,))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO alerts (fingerprint, document) VALUES (?, ?)", (fingerprint, document)
            )


def _write_groups(connection: sqlite3.Connection, batch: AlertingBatch) -> None:
    for (receiver, key), document in batch.groups.items():
        if document is None:
            connection.execute("DELETE FROM alert_groups WHERE receiver = ? AND key = ?", (receiver, key))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO alert_groups (receiver, key, document) VALUES (?, ?, ?)",
                (receiver, key, document),
            )


def _write_rows(connection: sqlite3.Connection, batch: AlertingBatch) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO alert_outbox (id, receiver, key, state, finished_at, document)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(row.id, row.receiver, row.key, row.state, row.finished_at, row.document) for row in batch.rows],
    )
    if any(row.finished_at is not None for row in batch.rows):
        connection.execute(
            "DELETE FROM alert_outbox WHERE (finished_at < ?1 OR id IN (SELECT id FROM alert_outbox"
            " WHERE finished_at IS NOT NULL ORDER BY finished_at DESC, id DESC LIMIT -1 OFFSET ?2))"
            " AND id NOT IN (SELECT value FROM json_each(?3))",
            (batch.now - FINISHED_SECONDS, FINISHED_ROWS, json.dumps(sorted(batch.lost))),
        )


def _write_history(connection: sqlite3.Connection, batch: AlertingBatch) -> None:
    if not batch.ended:
        return
    connection.executemany("INSERT INTO alert_history (resolved_at, document) VALUES (?, ?)", batch.ended)
    connection.execute(
        "DELETE FROM alert_history WHERE resolved_at < ?1"
        " OR number <= (SELECT max(number) FROM alert_history) - ?2",
        (batch.now - HISTORY_SECONDS, HISTORY_ROWS),
    )


def _write_receivers(connection: sqlite3.Connection, batch: AlertingBatch) -> None:
    for receiver, settings in batch.receivers.items():
        if settings is None:
            connection.execute("DELETE FROM alert_receivers WHERE id = ?", (receiver,))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO alert_receivers (id, settings) VALUES (?, ?)", (receiver, settings)
            )
