"""What must outlive the process: one SQLite file in the state directory.

It holds the peers that were ever seen, the requests of verbs and who we are; what alerting keeps in it
is in `alerting.py`. Without a state directory there is no State at all: known peers then live in the
memory of `run` only.

Threads: a State owns one connection behind a lock, so any thread may call it and no two calls
overlap. Every function blocks on the disk; from the event loop call it by `State.in_thread`.
Processes: `run` holds StateLock for its whole life; verbs open the same file beside it.
No decision is made here.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from exporter.clock import Clock
from exporter.errors import StateError, StateFull
from exporter.state.lock import LOCK_NAME, make_directory, not_writable
from exporter.state.migrations import MIGRATIONS

DATABASE_NAME = "qdrant-exporter.sqlite3"

# Our transactions take milliseconds: who waits longer than this waits for something that hangs.
BUSY_TIMEOUT_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.01

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A peer that answered at least once. `origin` is configured, dns or discovered."""

    cluster: str
    label: str
    url: str
    address: str | None  # numeric, where a DNS name led to it
    peer_id: int | None  # None for a server without a cluster
    origin: str
    first_seen_seconds: float  # Unix time
    last_seen_seconds: float


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Somebody typed `peers forget`."""

    number: int
    cluster: str
    label: str


@dataclass(frozen=True, slots=True)
class KnownPeerChanges:
    """What differs between the peers known now and those stored for one cluster."""

    cluster: str
    remember: tuple[KnownPeer, ...] = ()
    forget: tuple[str, ...] = ()  # labels

    def __bool__(self) -> bool:
        return bool(self.remember or self.forget)


class State:
    """The open database. Every method raises StateError saying what to do about it."""

    def __init__(
        self,
        *,
        directory: Path,
        connection: sqlite3.Connection,
        clock: Clock,
        files: Mapping[Path, tuple[int, int] | None],
    ) -> None:
        self._directory = directory
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        # Not the event loop's own: its few threads may all wait for a network that says nothing.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._files = files

    @classmethod
    def open(cls, directory: Path, *, clock: Clock) -> State:
        """Open the database, creating directory (0700) and file and migrating where needed."""
        make_directory(directory)
        _make_private(directory)
        with _explained(directory):
            connection = sqlite3.connect(
                directory / DATABASE_NAME,
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,  # transactions begin and end where we say so
                check_same_thread=False,  # the lock of State keeps calls apart
            )
            try:
                _prepare(connection, directory)
            except BaseException:
                connection.close()
                raise
        # `run` holds both open, so no other file can come by the same number meanwhile.
        files = {path: _identity(path) for path in (directory / DATABASE_NAME, directory / LOCK_NAME)}
        return cls(directory=directory, connection=connection, clock=clock, files=files)

    def close(self) -> None:
        """Close the connection; the last process to do so folds the WAL into the file."""
        self._thread.shutdown()
        with self._lock:
            self._connection.close()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks on the disk, one after the other. Cancelled, it ends first: order matters."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def is_in_place(self) -> bool:
        """Whether database and lock are still the files that they were when this was opened.

        Otherwise somebody took the directory away: nothing written is found again, and another `run`
        may have begun on a new one in its place.
        """
        return all(_identity(path) == identity for path, identity in self._files.items())

    def known_peers(self, cluster: str | None = None) -> tuple[KnownPeer, ...]:
        """Return the peers seen so far, of one cluster or of all."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT cluster, peer_label, url, address, peer_id, origin, first_seen, last_seen"
                " FROM known_peers WHERE ?1 IS NULL OR cluster = ?1 ORDER BY cluster, peer_label",
                (cluster,),
            ).fetchall()
        return tuple(_known_peer(row) for row in rows)

    def save(self, changes: KnownPeerChanges) -> None:
        """Store what was learnt about the peers of one cluster: all of it or nothing."""
        with self.transaction() as connection:
            for label in changes.forget:
                _delete_peer(connection, changes.cluster, label)
            connection.executemany(
                "INSERT OR REPLACE INTO known_peers"
                " (cluster, peer_label, url, address, peer_id, origin, first_seen, last_seen)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(peer) for peer in changes.remember],
            )

    def instance_id(self) -> str:
        """Return the id of this state directory's daemon, a UUID made at the first call."""
        with self.transaction() as connection:
            row = connection.execute("SELECT id FROM instance").fetchone()
            if row is None:
                row = (str(uuid4()),)
                connection.execute("INSERT INTO instance (id) VALUES (?)", row)
            return str(row[0])

    def request_forget(self, cluster: str, label: str) -> int:
        """Remove a known peer and leave a request for a running daemon; return its number.

        Raises StateError when no such peer is known, naming those that are, and when the peer
        stands in the configuration, where alone it can be removed.
        """
        with self.transaction() as connection:
            known = dict(
                connection.execute(
                    "SELECT peer_label, origin FROM known_peers WHERE cluster = ? ORDER BY peer_label",
                    (cluster,),
                ).fetchall()
            )
            if label not in known:
                names = ", ".join(known) or "none"
                raise StateError(f"no peer {label} is known in cluster {cluster}; known are: {names}")
            if known[label] == "configured":
                raise StateError(
                    f"peer {label} of cluster {cluster} stands in the configuration: remove it there"
                )
            _delete_peer(connection, cluster, label)
            request = connection.execute(
                "INSERT INTO forget_requests (cluster, peer_label, requested_at) VALUES (?, ?, ?)",
                (cluster, label, self._clock.now()),
            )
            return int(request.lastrowid or 0)

    def forget_requests(self) -> tuple[ForgetRequest, ...]:
        """Return what verbs asked for and nobody answered. Cheap: the daemon asks each second."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT number, cluster, peer_label FROM forget_requests ORDER BY number"
            ).fetchall()
        return tuple(ForgetRequest(*row) for row in rows)

    def answer(self, requests: Sequence[ForgetRequest]) -> None:
        """Take requests off the list, with the rows that the daemon may have written meanwhile."""
        with self.transaction() as connection:
            for request in requests:
                _delete_peer(connection, request.cluster, request.label)
                connection.execute("DELETE FROM forget_requests WHERE number = ?", (request.number,))

    def is_answered(self, number: int) -> bool:
        """Whether a daemon has acted on this request. Without a daemon it never will have."""
        with self.reading() as connection:
            row = connection.execute("SELECT 1 FROM forget_requests WHERE number = ?", (number,)).fetchone()
        return row is None

    @property
    def directory(self) -> Path:
        """Where the database lies."""
        return self._directory

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one statement that reads, to the other modules of this room."""
        # One statement needs no transaction: it waits for no writer and works on a full disk.
        with self._lock, _explained(self._directory):
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one transaction, to the other modules of this room."""
        with self._lock, _explained(self._directory), _committed(self._connection):
            yield self._connection


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: a reader that turns writer midway fails at once instead of waiting its turn.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk rolls back by itself
            connection.execute("ROLLBACK")
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of a file; None where there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _make_private(directory: Path) -> None:
    """Make the file 0600 before anything is in it: it may come to hold the keys of receivers."""
    path = directory / DATABASE_NAME
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise not_writable(directory, error.strerror) from error
    # SQLite gives -wal and -shm the mode of the file; those of an older version may lie around.
    for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm"):
        # Not ours to change where another user owns it, who then decided who may read.
        with suppress(FileNotFoundError, PermissionError):
            (directory / name).chmod(0o600)


def _prepare(connection: sqlite3.Connection, directory: Path) -> None:
    # FULL: what a verb was told is stored must survive a power cut; WAL alone loses the last writes.
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _damaged(directory, verdict)
    if _schema_version(connection) == len(MIGRATIONS):
        return  # almost always; a verb that only reads must not wait for what the daemon writes
    with _committed(connection):
        version = _schema_version(connection)
        if version > len(MIGRATIONS):
            raise StateError(
                f"{directory / DATABASE_NAME} was written by a newer qdrant-exporter (schema {version}, "
                f"this one knows {len(MIGRATIONS)}): run that version, or give this one another --state.dir"
            )
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT")
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute("DELETE FROM schema_version")
            connection.execute("INSERT INTO schema_version VALUES (?)", (len(MIGRATIONS),))


def _schema_version(connection: sqlite3.Connection) -> int:
    """Return how many migrations the file has seen; 0 where it is new."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'").fetchone() is None:
        return 0
    row = connection.execute("SELECT version FROM schema_version").fetchone()
    return int(row[0]) if row is not None else 0


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Take the file over to WAL; SQLite's own patience does not hold for that, so this waits itself."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(LOOK_AGAIN_SECONDS)
        else:
            return


def _known_peer(row: tuple[Any, ...]) -> KnownPeer:
    cluster, label, url, address, peer_id, origin, first_seen, last_seen = row
    known_id = int(peer_id) if peer_id is not None else None
    return KnownPeer(cluster, label, url, address, known_id, origin, first_seen, last_seen)


def _row(peer: KnownPeer) -> tuple[str | float | None, ...]:
    peer_id = str(peer.peer_id) if peer.peer_id is not None else None
    return (
        *(peer.cluster, peer.label, peer.url, peer.address, peer_id, peer.origin),
        *(peer.first_seen_seconds, peer.last_seen_seconds),
    )


def _delete_peer(connection: sqlite3.Connection, cluster: str, label: str) -> None:
    connection.execute("DELETE FROM known_peers WHERE cluster = ? AND peer_label = ?", (cluster, label))


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn SQLite's errors into StateErrors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the kind, the rest its variety.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(directory, str(error)) from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise not_writable(directory, str(error)) from error
        if code == sqlite3.SQLITE_FULL:
            raise StateFull(
                f"no space left for {directory / DATABASE_NAME}: free some, or move --state.dir elsewhere"
            ) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StateError(
                f"{directory / DATABASE_NAME} stayed locked for {BUSY_TIMEOUT_SECONDS:.0f} s: "
                "look for another program that holds it open, a backup perhaps"
            ) from error
        # a quota that is used up is an error like a broken disk's
        kind = StateFull if code == sqlite3.SQLITE_IOERR else StateError
        raise kind(
            f"{directory / DATABASE_NAME} cannot be used ({error}): check the disk under it"
        ) from error


def _damaged(directory: Path, reason: str) -> StateError:
    path = directory / DATABASE_NAME
    return StateError(
        f"{path} is damaged ({reason}): stop the daemon, move it away with its -wal and -shm files "
        "and start again; peers that answer are found anew, peers that are down now are no longer "
        "remembered; alerts, waiting notifications and silences are forgotten too: what still fires is "
        "told once more, what ended is not, and silences must be made anew"
    )
