"""What a backup costs beside what an operator would type, and what its proofs cost.

A snapshot of some 370 MB is fetched into a store on this disk by the product's own way (SHA-256 and a walk
through the archive on the way, fsync, a name once it is whole), and in turns by curl, sha256sum and sync of
the same bytes. Then the same collection is backed up as a whole, and proven at each level.

On the server at QDRANT_URL, where it makes a collection bench_backup and deletes it, or on an embedded one,
which sends slower than either client takes: only a real one shows who is faster.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from exporter.backup.archive.engine import Engine, engine_available
from exporter.backup.archive.walk import TarWalk
from exporter.backup.calling import Limits
from exporter.backup.downloading import BLOCK_BYTES, Source, fetch
from exporter.backup.progress import Silent
from exporter.backup.shelf import Shelf
from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.contract import Store
from exporter.backup.storage.local import LocalStore
from exporter.backup.survey import PeerAt
from exporter.backup.taking import take
from exporter.backup.verifying.levels import Verifier
from exporter.backup.words import Level
from exporter.clock import SystemClock
from exporter.logs import Redactor, configure
from exporter.qdrant import keeping
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door
from exporter.qdrant.kept import SnapshotDescription
from tests.bench.verdict import judge_least, say
from tests.e2e.ground import call, embedded_server, eventually

COLLECTION = "bench_backup"
DIMENSION = 768
POINTS = 100_000  # 307 MB of vectors, and what a segment has beside them
BATCH_POINTS = 1_000
ROUNDS = 7  # of each of the two; odd, for the median
SMALL_POINTS = 20_000  # where the server is the embedded one, which takes them in slowly
SNAPSHOT_SECONDS = 600.0
GIGABYTE = 1e9
CURL = 'curl -sS -f -o "$2" "$1" && sha256sum "$2" && sync "$2"'


def main() -> None:
    """Fetch in turns and print the ratio, then what the walk and the proofs cost."""
    configure(level="error", format="console", redactor=Redactor())
    if not engine_available():
        say("levels 3 and 4", "not measured: the extra edge is not installed")
    with server_to_back_up() as url, tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        asyncio.run(bench(url, Path(folder)))


async def bench(url: str, folder: Path) -> None:
    """Measure on one server, in a folder of its own on the disk that holds the checkout."""
    clock = SystemClock()
    store = LocalStore(folder / "store", bandwidth=Bandwidth(None, clock=clock), clock=clock)
    peer = PeerAt("bench", url, Courier(Door(url=url), clock))
    try:
        await bench_fetch(peer, store, folder)
        await bench_proofs(peer, Shelf(store, clock), clock)
    finally:
        await peer.courier.close()
        await store.close()


async def bench_fetch(peer: PeerAt, store: Store, folder: Path) -> None:
    """Fetch one snapshot in turns, and print how fast ours is in theirs."""
    body = await peer.courier.call(keeping.create_snapshot(COLLECTION), deadline_seconds=SNAPSHOT_SECONDS)
    snapshot = keeping.read_snapshot(body)
    source = Source(peer, COLLECTION, snapshot)
    ours, theirs = [], []
    await fetched_by_us(source, store)  # the server's disk, its connections and our threads are warm then
    for number in range(ROUNDS):
        if number % 2:  # who comes second finds a disk that has just been written to
            ours.append(await fetched_by_us(source, store))
            theirs.append(fetched_by_curl(source, folder))
        else:
            theirs.append(fetched_by_curl(source, folder))
            ours.append(await fetched_by_us(source, store))
    say("snapshot", f"{snapshot.size / 1e6:.0f} MB, {ROUNDS} rounds, in turns")
    say("curl, sha256sum, sync", _spread(theirs, snapshot))
    say("fetched into the store", _spread(ours, snapshot))
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    say("speed of ours over theirs, by round", " ".join(f"{ratio:.2f}" for ratio in ratios))
    judge_least("speed of ours over theirs, median of the rounds", median(ratios), "", least=0.9)
    await bench_walk(source, store)


async def bench_walk(source: Source, store: Store) -> None:
    """Print what looking through an archive costs, which is in memory."""
    await fetch(source, store, "walked", limits=Limits(), progress=Silent())
    async with store.read("walked") as chunks:
        whole = b"".join([chunk async for chunk in chunks])
    await store.delete("walked")
    blocks = [whole[first : first + BLOCK_BYTES] for first in range(0, len(whole), BLOCK_BYTES)]
    began = time.perf_counter()
    walk = TarWalk()
    for block in blocks:
        walk.feed(block)
    walk.finish()
    took = time.perf_counter() - began
    say(f"walk through the archive, {len(walk.members)} members", f"{took / len(whole) * 1e12:.3g} ms a GB")


async def bench_proofs(peer: PeerAt, shelf: Shelf, clock: SystemClock) -> None:
    """Back the collection up, prove it at each level, and print what that takes for a gigabyte."""
    began = time.perf_counter()
    manifest = await take(COLLECTION, cluster="bench", peers=(peer,), shelf=shelf, clock=clock)
    took, gigabytes = time.perf_counter() - began, manifest.size_bytes / GIGABYTE
    say("backup: snapshot, fetch, manifest", f"{took / gigabytes:.3g} s a GB")
    engine = Engine(clock=clock) if engine_available() else None
    verifier = Verifier(shelf=shelf, clock=clock, engine=engine)
    for level in (Level.HASHED, Level.OPENED, Level.RESTORED):
        if engine is None and level > Level.HASHED:
            continue
        stored = await shelf.find(manifest.id)
        proof = await verifier.prove(stored, level)
        assert proof.good, proof.problems
        say(
            f"proof of level {level.value}, those below it in it",
            f"{proof.took_seconds / gigabytes:.3g} s a GB, {manifest.points:,} points",
        )


async def fetched_by_us(source: Source, store: Store) -> float:
    """Return the seconds of one fetch into the store."""
    began = time.perf_counter()
    passing = await fetch(source, store, "fetched", limits=Limits(), progress=Silent())
    took = time.perf_counter() - began
    assert passing.sha256 == source.snapshot.checksum
    await store.delete("fetched")
    return took


def fetched_by_curl(source: Source, folder: Path) -> float:
    """Return the seconds of what an operator would type."""
    file = folder / "by_curl"
    began = time.perf_counter()
    arguments = ["sh", "-c", CURL, "sh", source.peer.url + source.path, str(file)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    took = time.perf_counter() - began
    assert done.stdout.startswith(source.snapshot.checksum or "?")
    file.unlink()
    return took


def _spread(times: Sequence[float], snapshot: SnapshotDescription) -> str:
    speeds = sorted(snapshot.size / took / 1e6 for took in times)
    return f"median {median(speeds):.0f} MB/s, {speeds[0]:.0f} to {speeds[-1]:.0f}"


@contextlib.contextmanager
def server_to_back_up() -> Iterator[str]:
    """Yield the URL of a server with the collection that is backed up."""
    url = os.environ.get("QDRANT_URL", "").partition(",")[0]
    with contextlib.ExitStack() as stack:
        points = POINTS
        if not url:
            points = SMALL_POINTS
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = stack.enter_context(embedded_server(Path(folder))).url
        try:
            fill(url, points)
            yield url
        finally:
            delete(url)


def fill(url: str, points: int) -> None:
    """Make a collection of random vectors without an index: as large in an archive, and there sooner."""
    config = {
        "vectors": {"size": DIMENSION, "distance": "Dot"},
        "hnsw_config": {"m": 0},
        "optimizers_config": {"indexing_threshold": 0},
    }
    assert call(url, f"/collections/{COLLECTION}", method="PUT", body=config).status == 200
    seeded = random.Random(20)
    # Each vector is another stretch of these: text that no JSON library has to make.
    numbers = [f"{seeded.uniform(-1, 1):.7f}" for _ in range(50 * DIMENSION)]
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120.0)
    for first in range(0, points, BATCH_POINTS):
        texts = []
        for number in range(first, min(first + BATCH_POINTS, points)):
            begin = seeded.randrange(len(numbers) - DIMENSION)
            vector = ",".join(numbers[begin : begin + DIMENSION])
            texts.append(f'{{"id":{number},"vector":[{vector}],"payload":{{"number":{number}}}}}')
        body = f'{{"points":[{",".join(texts)}]}}'
        path = f"/collections/{COLLECTION}/points?wait=true"
        connection.request("PUT", path, body=body, headers={"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
    connection.close()
    # segments that are merged meanwhile are in an archive twice
    eventually(lambda: is_quiet(url), what="the optimizer is done", within_seconds=300.0, every_seconds=1.0)


def is_quiet(url: str) -> bool:
    """The optimizer has nothing to do."""
    found = call(url, f"/collections/{COLLECTION}").json()["result"]
    return bool(found["status"] == "green")


def delete(url: str) -> None:
    """Delete the collection, and its snapshots, which would stay."""
    path = f"/collections/{COLLECTION}/snapshots"
    listed = call(url, path)
    if listed.status == 200:
        for snapshot in json.loads(listed.body)["result"]:
            call(url, f"{path}/{snapshot['name']}?wait=true", method="DELETE", seconds=60.0)
    call(url, f"/collections/{COLLECTION}", method="DELETE", seconds=60.0)


if __name__ == "__main__":
    main()
