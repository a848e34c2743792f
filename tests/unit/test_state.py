"""What the state directory promises: nothing stored is lost, one daemon at a time, clear refusals."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from exporter.clock import SystemClock
from exporter.errors import StateError
from exporter.state import (
    DATABASE_NAME,
    LOCK_NAME,
    MIGRATIONS,
    KnownPeer,
    KnownPeerChanges,
    State,
    StateLock,
)
from exporter.state.database import BUSY_TIMEOUT_SECONDS

NOBODY = 65534

HOLD_THE_LOCK = """
import sys
from pathlib import Path
from exporter.state import StateLock
with StateLock(directory=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

WRITE_WITHOUT_END = """
import sys
from itertools import count
from pathlib import Path
from exporter.clock import SystemClock
from exporter.state import KnownPeer, KnownPeerChanges, State
state = State.open(Path(sys.argv[1]), clock=SystemClock())
for number in count(1):
    pair = tuple(
        KnownPeer("default", side, "http://a:6333", None, number, "dns", 1.0, 2.0)
        for side in ("left", "right")
    )
    state.save(KnownPeerChanges("default", remember=pair))
    print(number, flush=True)
"""

WRITE_TWENTY = """
import sys
from pathlib import Path
from exporter.clock import SystemClock
from exporter.state import KnownPeer, KnownPeerChanges, State
state = State.open(Path(sys.argv[1]), clock=SystemClock())
for number in range(20):
    peer = KnownPeer("default", f"{sys.argv[2]}-{number}", "http://a:6333", None, number, "dns", 1.0, 2.0)
    state.save(KnownPeerChanges("default", remember=(peer,)))
state.close()
"""


def peer(label: str, *, cluster: str = "default", origin: str = "discovered") -> KnownPeer:
    return KnownPeer(cluster, label, f"http://{label}:6333", None, 7, origin, 100.0, 200.0)


def start_python(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def state(directory: Path) -> Iterator[State]:
    opened = State.open(directory, clock=SystemClock())
    yield opened
    opened.close()


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may write anywhere, so root becomes nobody for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def test_a_known_peer_comes_back_after_a_restart_as_it_was_stored(directory: Path) -> None:
    """Every field survives, an id above 2^63 and an IPv6 address too."""
    known = KnownPeer("blue", "q-0:6333", "http://q:6333", "fd00::1", 2**64 - 1, "dns", 1.5, 2.5)
    lone = KnownPeer("green", "lone", "http://lone:6333", None, None, "configured", 1.0, 2.0)
    with closing(State.open(directory, clock=SystemClock())) as first:
        first.save(KnownPeerChanges("blue", remember=(known,)))
        first.save(KnownPeerChanges("green", remember=(lone,)))

    with closing(State.open(directory, clock=SystemClock())) as second:
        assert (known, lone) == second.known_peers()
        assert (lone,) == second.known_peers("green")


def test_saving_changes_replaces_and_removes_rows(state: State) -> None:
    """One call both updates a peer and drops another."""
    state.save(KnownPeerChanges("default", remember=(peer("a"), peer("b"))))

    state.save(KnownPeerChanges("default", remember=(peer("a", origin="dns"),), forget=("b",)))

    assert (peer("a", origin="dns"),) == state.known_peers()


def test_the_state_directory_is_private_to_its_user(directory: Path, state: State) -> None:
    """URLs of peers are nobody else's business."""
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / DATABASE_NAME).exists()
    assert state.known_peers() == ()


def test_the_instance_is_named_once_and_keeps_its_id(directory: Path, tmp_path: Path) -> None:
    """Over restarts and for a verb beside the daemon; another directory is another daemon."""
    with closing(State.open(directory, clock=SystemClock())) as first:
        named = first.instance_id()
        again = first.instance_id()
        with closing(State.open(directory, clock=SystemClock())) as verb:
            beside = verb.instance_id()
    with closing(State.open(directory, clock=SystemClock())) as second:
        later = second.instance_id()
    with closing(State.open(tmp_path / "elsewhere", clock=SystemClock())) as other:
        elsewhere = other.instance_id()

    assert {named} == {again, beside, later}
    assert UUID(named) != UUID(elsewhere)


def test_two_that_ask_for_the_instance_at_once_are_told_the_same(directory: Path) -> None:
    """The first makes it, the second waits and reads it."""
    states = [State.open(directory, clock=SystemClock()) for _ in range(8)]
    told: list[str] = []
    threads = [threading.Thread(target=lambda one=one: told.append(one.instance_id())) for one in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for state in states:
        state.close()

    assert len(told) == len(states)
    assert len(set(told)) == 1


def test_a_database_from_before_instances_had_ids_gets_one_and_loses_nothing(directory: Path) -> None:
    """The first version's tables and rows stay as they are."""
    directory.mkdir()
    with closing(sqlite3.connect(directory / DATABASE_NAME)) as old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute("CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT")
        old.execute("INSERT INTO schema_version VALUES (1)")
        row = ("default", "a", "http://a:6333", None, "7", "discovered", 100.0, 200.0)
        old.execute("INSERT INTO known_peers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        old.commit()

    with closing(State.open(directory, clock=SystemClock())) as state:
        assert UUID(state.instance_id())
        assert state.known_peers() == (peer("a"),)


def test_a_request_to_forget_reaches_another_open_state_at_once(directory: Path, state: State) -> None:
    """The verb writes in its process, the daemon reads the request in its own."""
    state.save(KnownPeerChanges("default", remember=(peer("a"), peer("b"))))
    with closing(State.open(directory, clock=SystemClock())) as verb:
        number = verb.request_forget("default", "a")

        requests = state.forget_requests()
        unanswered = verb.is_answered(number)
        state.answer(requests)

        assert [(request.cluster, request.label) for request in requests] == [("default", "a")]
        assert not unanswered
        assert verb.is_answered(number)
    assert state.forget_requests() == ()


def test_forgetting_works_without_a_daemon(directory: Path) -> None:
    """The row is gone before anybody answers the request."""
    with closing(State.open(directory, clock=SystemClock())) as verb:
        verb.save(KnownPeerChanges("default", remember=(peer("a"), peer("b"))))
        verb.request_forget("default", "a")

    with closing(State.open(directory, clock=SystemClock())) as later:
        assert (peer("b"),) == later.known_peers()


def test_answering_a_request_also_removes_what_was_stored_meanwhile(state: State) -> None:
    """A daemon that saved the peer once more before it read the request does not bring it back."""
    state.save(KnownPeerChanges("default", remember=(peer("a"),)))
    state.request_forget("default", "a")
    state.save(KnownPeerChanges("default", remember=(peer("a"),)))

    state.answer(state.forget_requests())

    assert state.known_peers() == ()


def test_forgetting_a_peer_that_is_not_known_names_those_that_are(state: State) -> None:
    """A typing error is answered with the right spelling."""
    state.save(KnownPeerChanges("default", remember=(peer("a"), peer("b"), peer("c", cluster="other"))))

    with pytest.raises(StateError, match=r"no peer x is known in cluster default; known are: a, b$"):
        state.request_forget("default", "x")


def test_a_configured_peer_cannot_be_forgotten_by_the_verb(state: State) -> None:
    """It would come back at the next poll, so the answer says where to remove it."""
    state.save(KnownPeerChanges("default", remember=(peer("a", origin="configured"),)))

    with pytest.raises(StateError, match="stands in the configuration: remove it there"):
        state.request_forget("default", "a")
    assert state.forget_requests() == ()


def test_a_second_run_on_one_directory_is_told_the_pid_of_the_first(directory: Path) -> None:
    """Two daemons on one file would overwrite each other; the process id says whom to stop."""
    with start_python(HOLD_THE_LOCK, directory) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        second = StateLock(directory=directory)

        with pytest.raises(StateError, match=rf"in use by another qdrant-exporter run \(pid {holder.pid}\)"):
            second.acquire()

        holder.kill()
        holder.wait(timeout=5)
        second.acquire()
        assert (directory / LOCK_NAME).read_text() == f"{os.getpid()}\n"
        second.release()


def test_verbs_open_the_database_while_a_run_holds_the_directory(directory: Path) -> None:
    """The lock keeps out a second run, never a verb."""
    with StateLock(directory=directory), closing(State.open(directory, clock=SystemClock())) as verb:
        verb.save(KnownPeerChanges("default", remember=(peer("a"),)))

        assert (peer("a"),) == verb.known_peers()


def test_kill_in_the_middle_of_writes_loses_nothing_that_was_confirmed(directory: Path) -> None:
    """After SIGKILL both halves of each transaction agree and the last confirmed one is there."""
    with start_python(WRITE_WITHOUT_END, directory) as writer:
        assert writer.stdout is not None
        confirmed = [int(writer.stdout.readline()) for _ in range(20)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        rest = [int(line) for line in writer.stdout.read().splitlines()]
        writer.wait(timeout=5)
    confirmed = max([confirmed, *rest])

    with closing(State.open(directory, clock=SystemClock())) as state:
        left, right = state.known_peers()

    assert left.peer_id == right.peer_id
    assert left.peer_id in (confirmed, confirmed + 1)  # stored, and killed before it could say so


def test_two_processes_that_open_a_fresh_directory_together_both_write_everything(directory: Path) -> None:
    """Migration and writes of a verb and a daemon that start at once wait for each other."""
    writers = [start_python(WRITE_TWENTY, directory, name) for name in ("one", "two")]
    codes = []
    for writer in writers:
        writer.communicate(timeout=20)
        codes.append(writer.returncode)

    with closing(State.open(directory, clock=SystemClock())) as state:
        assert codes == [0, 0]
        assert len(state.known_peers()) == 40


def test_threads_may_share_one_state(state: State) -> None:
    """asyncio.to_thread hands calls to any thread of its pool."""
    errors: list[BaseException] = []

    def save(name: str) -> None:
        try:
            for number in range(10):
                state.save(KnownPeerChanges("default", remember=(peer(f"{name}-{number}"),)))
        except StateError as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(state.known_peers()) == 30


def test_asking_for_requests_each_second_is_cheap(state: State) -> None:
    """A thousand looks take less than a second of the processor's time."""
    started = time.process_time()
    for _ in range(1000):
        state.forget_requests()

    assert time.process_time() - started < 1.0


def test_reading_waits_for_no_writer(directory: Path, state: State) -> None:
    """The daemon's look each second goes on while a verb's transaction is open."""
    with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        started = time.perf_counter()

        assert state.forget_requests() == ()
        assert time.perf_counter() - started < BUSY_TIMEOUT_SECONDS / 2


@pytest.mark.parametrize("name", [DATABASE_NAME, LOCK_NAME])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_taken_away_is_noticed(directory: Path, name: str, replaced: bool) -> None:
    """Another one in its place is not ours, whatever is in it."""
    with StateLock(directory=directory), closing(State.open(directory, clock=SystemClock())) as state:
        state.save(KnownPeerChanges("default", remember=(peer("a"),)))
        assert state.is_in_place()
        (directory / name).rename(directory / "elsewhere")
        if replaced:
            shutil.copy(directory / "elsewhere", directory / name)

        assert not state.is_in_place()


def test_a_file_that_is_no_database_is_refused_with_what_to_do(directory: Path) -> None:
    """Nothing is thrown away silently: the person moves it."""
    directory.mkdir()
    (directory / DATABASE_NAME).write_bytes(b"this is not a database at all" * 100)

    explained = r"is damaged .* move it away with its -wal and -shm files .* silences are forgotten too"
    with pytest.raises(StateError, match=explained):
        State.open(directory, clock=SystemClock())


def test_a_database_damaged_in_the_middle_is_refused_when_opened(directory: Path) -> None:
    """The check at start finds pages that were overwritten behind an intact head."""
    with closing(State.open(directory, clock=SystemClock())) as state:
        state.save(KnownPeerChanges("default", remember=tuple(peer(f"p{n}") for n in range(500))))
    path = directory / DATABASE_NAME
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)

    with pytest.raises(StateError, match="is damaged"):
        State.open(directory, clock=SystemClock())


def test_a_database_of_a_newer_version_is_left_alone(directory: Path) -> None:
    """An older program must not write into a schema it does not know."""
    State.open(directory, clock=SystemClock()).close()
    with closing(sqlite3.connect(directory / DATABASE_NAME)) as newer:
        newer.execute("UPDATE schema_version SET version = 999")
        newer.commit()

    with pytest.raises(StateError, match=r"written by a newer qdrant-exporter \(schema 999"):
        State.open(directory, clock=SystemClock())


def test_a_full_disk_is_named_and_keeps_what_was_there(directory: Path) -> None:
    """SQLite's page limit stands in for the disk: the write fails whole, reads go on."""
    opened = State.open(directory, clock=SystemClock())
    opened.save(KnownPeerChanges("default", remember=(peer("a"),)))
    opened._connection.execute("PRAGMA max_page_count = 1")  # SQLite rounds it up to the present size

    with closing(opened), pytest.raises(StateError, match=r"no space left for .* free some"):
        opened.save(KnownPeerChanges("default", remember=tuple(peer(f"p{n}") for n in range(500))))

    with closing(State.open(directory, clock=SystemClock())) as again:
        assert (peer("a"),) == again.known_peers()


def test_a_directory_that_cannot_be_written_is_refused_by_lock_and_database(
    open_directory: Path, unprivileged: None
) -> None:
    """Both say who may not write where and what to change."""
    readonly = open_directory / "readonly"
    expected = rf"cannot be written by user {os.geteuid()} .* change its owner or mode"
    if os.getuid() == 0:
        os.seteuid(0)
    readonly.mkdir(mode=0o555)
    if os.getuid() == 0:
        os.seteuid(NOBODY)

    with pytest.raises(StateError, match=expected):
        State.open(readonly, clock=SystemClock())
    with pytest.raises(StateError, match=expected):
        StateLock(directory=readonly).acquire()
    with pytest.raises(StateError, match=expected):
        State.open(readonly / "below", clock=SystemClock())


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A wrong --state.dir is an error that names it, not a traceback."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match="cannot be written"):
        State.open(tmp_path / "file", clock=SystemClock())


def test_a_database_locked_by_another_program_is_reported_after_the_patience(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon neither hangs forever nor shows SQLite's own words."""
    monkeypatch.setattr("exporter.state.database.BUSY_TIMEOUT_SECONDS", 0.1)
    with (
        closing(State.open(directory, clock=SystemClock())) as state,
        closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StateError, match="stayed locked"):
            state.save(KnownPeerChanges("default", remember=(peer("a"),)))
