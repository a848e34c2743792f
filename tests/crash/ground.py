"""A store, three scripted peers, a server for proofs, and verbs on them that are killed; and what is left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from exporter.backup import layout
from exporter.backup.exporting.stored import read_points
from exporter.backup.exporting.vectors import plain
from exporter.backup.shelf import Shelf
from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.lease import GRACE_SECONDS, LEASE_SECONDS, Lease
from exporter.backup.storage.local import LocalStore
from exporter.backup.storage.paths import UNFINISHED
from exporter.backup.words import Manifest, RestoreState, SetKind, SetState, StoredSet
from tests.crash.verb import Life
from tests.kit.snapshot_cluster import Points, SnapshotCluster, points
from tests.kit.snapshot_cluster.archives import open_collection_archive

CLUSTER, COLLECTION = "prod", "docs"
SHARDS, REPLICAS = 3, 2
FIRST_POINTS = 60
SPEED = 10.0  # a look each second is ten looks a second
LONGEST_SECONDS = 60.0  # of a life, on a very busy machine
# Whoever died holding a lock is waited for so long.
PAST_LEASE_SECONDS = LEASE_SECONDS + GRACE_SECONDS + 1.0
DAY_SECONDS = 86_400.0
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Kill:
    """When a life ends: with a request on its way, before a change to a file, or at a moment."""

    at_request: int | None = None  # 1 for the first
    after_request_seconds: float = 0.0
    at_step: int | None = None  # 1 for the first
    at_seconds: float | None = None


@dataclass(slots=True)
class Ended:
    """How a life ended."""

    status: int  # as wait() tells it
    output: str
    requests: int
    steps: int | None  # None: it was killed
    seconds: float

    @property
    def was_killed(self) -> bool:
        return os.WIFSIGNALED(self.status)

    @property
    def code(self) -> int:
        """Its exit code. Fails where a signal ended it."""
        assert os.WIFEXITED(self.status), self.output
        return os.WEXITSTATUS(self.status)


class Wall:
    """The time of this small world."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_seconds

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Lives:
    """The process that forks the lives, one at a time."""

    process: asyncio.subprocess.Process
    alive: int | None = None

    async def begin(self, life: Life) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(life)).encode() + b"\n")
        self.alive = int(await self._line())
        return self.alive

    async def ended(self) -> int:
        """Return how it ended, as wait() tells it."""
        status = int(await self._line())
        self.alive = None
        return status

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.alive is not None:
            os.kill(self.alive, number)

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        return await self.process.stdout.readline()


@asynccontextmanager
async def forking() -> AsyncIterator[Lives]:
    """Start the process that forks the lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.crash.verb"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    found = Lives(process)
    try:
        yield found
    finally:
        found.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@dataclass
class Scene:
    """A store, servers by their URLs, and verbs on them."""

    folder: Path
    lives: Lives
    urls: Sequence[str]
    verify: Mapping[str, Any] = field(default_factory=dict)  # of the configuration
    scripted: Sequence[SnapshotCluster] = ()  # whose requests are listened to
    wall: Wall = field(default_factory=Wall)
    speed: float = SPEED
    has_engine: bool = False  # whether the extra `edge` is installed
    requests: int = 0  # of the life that lives
    kills: int = 0
    diary: deque[str] = field(default_factory=lambda: deque(maxlen=5))  # the last lives, for who must know

    def __post_init__(self) -> None:
        self.store = LocalStore(
            self.folder / "store", bandwidth=Bandwidth(None, clock=self.wall), clock=self.wall
        )
        self.shelf = Shelf(self.store, self.wall)
        (self.folder / "store").mkdir(exist_ok=True)
        for cluster in self.scripted:
            cluster.knobs.now = self.wall.now

    # --- lives ------------------------------------------------------------------------------------------

    def write_config(self, *jobs: Mapping[str, Any], poll: Mapping[str, Any] | None = None) -> None:
        """Write the configuration that every life reads."""
        # where there is room enough for a vacuum
        peers = [{"url": url, "storage_path": str(self.folder)} for url in self.urls]
        document: dict[str, Any] = {
            "clusters": [
                {"name": CLUSTER, "peers": peers, "poll": dict(poll or {}), "probes": {"enabled": False}}
            ],
            "state": {"dir": str(self.folder / "state")},
            "backup": {
                "store": {"url": str(self.folder / "store")},
                "verify": dict(self.verify),
                "retention": {"last": 2, "daily": 0, "weekly": 0, "monthly": 0},
            },
            "jobs": [dict(job) for job in jobs],
        }
        self.config.write_text(yaml.safe_dump(document), encoding="utf-8")

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    async def live(
        self, *arguments: str, kill: Kill | None = None, until: Callable[[], Awaitable[bool]] | None = None
    ) -> Ended:
        """Let a life live to its end, until it is killed, or until it is told to stop."""
        kill = kill or Kill()
        output = self.folder / "output"
        for left in (output, Path(f"{output}.steps")):
            left.unlink(missing_ok=True)
        life = Life(
            [*arguments, f"--config.file={self.config}"],
            output=str(output),
            ahead_seconds=self.wall.ahead_seconds,
            speed=self.speed,
            dies_at_step=kill.at_step,
            has_engine=self.has_engine,
        )
        began = time.monotonic()
        with self._listening(kill):
            await self.lives.begin(life)
            stopping = None if until is None else asyncio.create_task(self._stop(until))
            status = await self.lives.ended()
            if stopping is not None:
                stopping.cancel()
                with suppress(asyncio.CancelledError):
                    await stopping
        seconds = time.monotonic() - began
        said = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        assert seconds < LONGEST_SECONDS, f"it never ended:\n{said}"
        steps = Path(f"{output}.steps")
        made = int(steps.read_text() or 0) if steps.exists() and os.WIFEXITED(status) else None
        ended = Ended(status=status, output=said, requests=self.requests, steps=made, seconds=seconds)
        self.kills += ended.was_killed
        self.diary.append(f"{' '.join(arguments)}, {kill}: {status} after {seconds:.2f} s\n{said}")
        return ended

    @contextmanager
    def _listening(self, kill: Kill) -> Iterator[None]:
        """Kill who lives when its time has come."""
        self.requests = 0
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(LONGEST_SECONDS, self.lives.kill)]
        if kill.at_seconds is not None:
            timers.append(loop.call_later(kill.at_seconds, self.lives.kill))

        def hear(_peer: int, _method: str, _path: str) -> None:
            self.requests += 1
            if self.requests == kill.at_request:
                if kill.after_request_seconds:
                    timers.append(loop.call_later(kill.after_request_seconds, self.lives.kill))
                else:
                    self.lives.kill()

        for cluster in self.scripted:
            cluster.knobs.on_request = hear
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()

    async def _stop(self, until: Callable[[], Awaitable[bool]]) -> None:
        try:
            while not await until():
                await asyncio.sleep(LOOK_SECONDS)
        except Exception:
            self.lives.kill()
            raise
        self.lives.kill(signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Let so many seconds pass for everybody."""
        self.wall.ahead_seconds += seconds

    # --- what is left -----------------------------------------------------------------------------------

    async def held_locks(self) -> list[str]:
        """Return the locks that somebody holds."""
        lease = Lease(self.store, owner="the test", clock=self.wall)
        paths = [stored.path async for stored in self.store.list(layout.LOCKS)]
        names = sorted({path.removeprefix(f"{layout.LOCKS}/").rpartition("/")[0] for path in paths})
        return [name for name in names if await lease.holder(name) is not None]

    async def exported(self, manifest: Manifest) -> Points:
        """Decode all chunks of an export: what they hold is proven by what the manifest says of them."""
        found: Points = {}
        for chunk in manifest.chunks:
            async for batch in read_points(self.store, manifest, chunk):
                found |= {point.id: [plain(point.vectors), point.payload] for point in batch}
        return found

    def leftovers(self) -> Iterator[Path]:
        """Yield half-written files in the store."""
        yield from (path for path in (self.folder / "store").rglob("*") if path.name.startswith(UNFINISHED))


@dataclass
class Ground(Scene):
    """Three scripted peers with a collection of which is known what each set must hold."""

    points: int = 0

    @property
    def cluster(self) -> SnapshotCluster:
        return self.scripted[0]

    @property
    def target(self) -> SnapshotCluster:
        """Where sets are restored to for a proof."""
        return self.scripted[1]

    def write(self, number: int) -> None:
        """Write the next points: a set with N of them has those with ids from 0 to N - 1."""
        self.cluster.world.upsert(COLLECTION, points(number, start=self.points))
        self.points += number

    async def sets(self) -> list[StoredSet]:
        """Return the sets that look complete, after seeing that they are."""
        found = [one for one in await self.shelf.sets() if one.manifest.state is not SetState.INCOMPLETE]
        for one in found:
            assert not one.is_bad, f"{one.manifest.id} is bad: {one.proofs}"
            manifest = one.manifest
            total = manifest.points
            assert total is not None
            opened = self._found_in if manifest.kind is SetKind.SNAPSHOT else self.exported
            assert await opened(manifest) == points(total), f"{manifest.id} looks complete and is not"
        return found

    async def _found_in(self, manifest: Manifest) -> Points:
        """Open all archives of a set, and return the points of the replicas that count."""
        found: Points = {}
        place = layout.place(manifest.cluster, manifest.collection, manifest.id)
        opened = {}
        for archive in manifest.archives:
            data = (self.folder / "store" / place.file(archive.file)).read_bytes()
            assert hashlib.sha256(data).hexdigest() == archive.sha256
            opened[archive.file] = open_collection_archive(data)
        for shard in manifest.shards:
            assert shard.archive is not None
            of_shard = opened[shard.archive].shards[shard.shard]
            assert of_shard is not None
            assert len(of_shard) == shard.points
            found |= of_shard
        return found

    def on_servers(self) -> list[str]:
        """Return the snapshots that lie on the peers, whosever they are."""
        names = [*self.cluster.snapshots(COLLECTION), *self.target.snapshots(COLLECTION)]
        return [name for of_peer in names for name in of_peer]

    async def open_scratch(self) -> list[str]:
        """Return what proofs have restored and not removed, as records and as collections."""
        records = [str(record) for record in await self.shelf.restores() if record.scratch]
        return records + list(self.target.world.collections)

    async def check_restored(self, set_id: str, target: str) -> None:
        """See that a restored collection is what its set says, on the right replicas."""
        manifest = (await self.shelf.find(set_id)).manifest
        of_target = self.cluster.counts(target)
        assert self.cluster.states(target) == {"Active"}
        assert {shard.shard: shard.points for shard in manifest.shards} == {
            shard: count for shard, replicas in of_target.items() for count in set(replicas.values())
        }
        assert all(len(replicas) == REPLICAS for replicas in of_target.values())
        assert self.cluster.points(target) == points(manifest.points or 0)
        made = self.cluster.world.named(target)
        assert "qdrantx_restore" not in json.dumps(made.config)
        assert set(made.payload_schema) == set(self.cluster.world.named(COLLECTION).payload_schema)
        records = [record for record in await self.shelf.restores() if record.target == target]
        assert [record.state for record in records] == [RestoreState.DONE]


@asynccontextmanager
async def ground_in(folder: Path) -> AsyncIterator[Ground]:
    """Start everything."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(SnapshotCluster())
        target = await stack.enter_async_context(SnapshotCluster(standalone=True))
        lives = await stack.enter_async_context(forking())
        verify = {"target": {"url": target.urls[0]}}
        ground = Ground(folder, lives, cluster.urls, verify=verify, scripted=(cluster, target))
        stack.push_async_callback(ground.store.close)
        cluster.create(COLLECTION, shard_number=SHARDS, replication_factor=REPLICAS)
        cluster.world.named(COLLECTION).add_index("n", "integer")
        ground.write(FIRST_POINTS)
        ground.write_config()
        yield ground
