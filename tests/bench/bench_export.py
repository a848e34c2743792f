"""What an export costs beside qdrant-client's scroll loop, how much RAM it takes, and what an import costs.

A collection is exported into a store on this disk by the product's own way (every point read, hashed and
compressed, fsynced, a name once it is whole), and in turns by the loop that the guide's BackupManager has:
scroll, dump the records as JSON. Each run is a process of its own. Then what both wrote is loaded again.

On the server at QDRANT_URL, where it makes collections bench_export... and deletes them, or on an embedded
one, which answers slower than either side reads: only a real one shows who is faster.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from string import ascii_lowercase
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tests.bench.verdict import judge, judge_least, say
from tests.e2e.ground import call, embedded_server, eventually

COLLECTION = "bench_export"
DIMENSION = 768
POINTS = 32_000  # 98 MB of vectors
SMALL_SHARE = 4  # the second size, for RAM, is a fourth of it
BATCH_POINTS = 1_000
ROUNDS = 5  # odd, for the median
IMPORT_ROUNDS = 3
EMBEDDED_POINTS = 4_000  # where the server is the embedded one, which takes them in slowly
RUN_SECONDS = 1_200.0  # a loaded machine; seen: under 60
PEAK_MEBIBYTES = 300.0  # at any size
GROWTH = 1.25  # what grew with the points would be beyond it
WORDS = 5_000  # of the language that texts are in
TEXT_CHARACTERS = 300  # of a payload, which is then some 430 bytes of JSON


def main() -> None:
    """Export in turns and print ratio and peaks, then the same of imports."""
    with server() as (url, points), tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        small = f"{COLLECTION}_small"
        with filled(url, COLLECTION, points), filled(url, small, points // SMALL_SHARE):
            bench_exports(url, small, Path(folder))
            bench_imports(url, Path(folder))


def bench_exports(url: str, small: str, folder: Path) -> None:
    """Export by each way in turns; print how fast ours is in theirs, and what it holds in RAM."""
    roles = ["export", "export-by-client", "scroll-by-client"]
    found: dict[str, list[dict[str, Any]]] = {role: [] for role in roles}
    for number in range(ROUNDS):
        for role in roles[number % len(roles) :] + roles[: number % len(roles)]:
            found[role].append(run(role, url, COLLECTION, emptied(folder / role)))
    of_small = [run("export", url, small, emptied(folder / "small")) for _ in range(IMPORT_ROUNDS)]
    points = found["export"][0]["points"]
    say("points", f"{points:,}, {DIMENSION} dimensions, {ROUNDS} rounds, in turns")
    say("stored by us", f"{found['export'][0]['bytes'] / 1e6:.0f} MB")
    say("by the client", f"{size_of(folder / 'export-by-client') / 1e6:.0f} MB of JSON")
    for role, what in (
        ("export", "export: read, hashed, compressed, synced"),
        ("export-by-client", "qdrant-client's loop, records dumped as JSON"),
        ("scroll-by-client", "qdrant-client's loop, nothing written"),
    ):
        say(what, _spread(found[role]))
    ratios = _ratios(found["export"], found["scroll-by-client"])
    say("speed of ours over the loop that writes nothing, by round", _by_round(ratios))
    ratios = _ratios(found["export"], found["export-by-client"])
    say("speed of ours over the guide's export, by round", _by_round(ratios))
    judge_least("speed of ours over the guide's export, median of the rounds", median(ratios), "", least=4)
    peaks = [figures["peak"] for figures in found["export"]]
    say(f"peak of an export of {of_small[0]['points']:,} points", _peaks(of_small))
    say(f"peak of an export of {points:,} points", _peaks(found["export"]))
    say("peak of the guide's export", _peaks(found["export-by-client"]))
    judge("peak of an export, the highest", max(peaks), "MiB", below=PEAK_MEBIBYTES)
    growth = median(peaks) / median(figures["peak"] for figures in of_small)
    judge(f"growth of the peak with {SMALL_SHARE} times the points", growth, "", below=GROWTH)


def bench_imports(url: str, folder: Path) -> None:
    """Load what both exports wrote, in turns; print how fast ours is in theirs."""
    ours, theirs = [], []
    target = f"{COLLECTION}_target"
    for number in range(IMPORT_ROUNDS):
        for is_ours in (True, False) if number % 2 else (False, True):
            with contextlib.ExitStack() as stack:
                stack.callback(delete, url, target)
                if is_ours:
                    ours.append(run("import", url, target, folder / "export"))
                else:
                    theirs.append(run("upload-by-client", url, target, folder / "export-by-client"))
    say("import: read, decompressed, sent, waited for", _spread(ours))
    say("upload by qdrant-client of the same points, waited for", _spread(theirs))
    ratios = _ratios(ours, theirs)
    say("speed of ours over the client's, by round", _by_round(ratios))
    judge_least("speed of an import over an upload, median of the rounds", median(ratios), "", least=1)
    whole = median(figures["whole"] for figures in ours)
    say("import with its proof, median", f"{whole:.1f} s, {ours[0]['points']:,} points")
    judge("peak of an import, the highest", max(one["peak"] for one in ours), "MiB", below=PEAK_MEBIBYTES)


def run(role: str, url: str, collection: str, folder: Path) -> dict[str, Any]:
    """Do one piece of work in a process of its own, and return what it took."""
    arguments = [sys.executable, "-m", "tests.bench.export_work", role, url, collection, str(folder)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, timeout=RUN_SECONDS)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def emptied(folder: Path) -> Path:
    """Return a folder that is there, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


def _spread(found: Sequence[dict[str, Any]]) -> str:
    speeds = sorted(figures["points"] / figures["seconds"] for figures in found)
    return f"median {median(speeds):,.0f} points/s, {speeds[0]:,.0f} to {speeds[-1]:,.0f}"


def _peaks(found: Sequence[dict[str, Any]]) -> str:
    peaks = sorted(figures["peak"] for figures in found)
    return f"{peaks[0]:.0f} to {peaks[-1]:.0f} MiB"


def _ratios(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[float]:
    return [their["seconds"] / our["seconds"] for our, their in zip(ours, theirs, strict=True)]


def _by_round(ratios: Sequence[float]) -> str:
    return " ".join(f"{ratio:.2f}" for ratio in ratios)


@contextlib.contextmanager
def server() -> Iterator[tuple[str, int]]:
    """Yield the URL of a server, and how many points it is to be asked for."""
    url = os.environ.get("QDRANT_URL", "").partition(",")[0]
    if url:
        yield url, POINTS
        return
    with tempfile.TemporaryDirectory() as folder, embedded_server(Path(folder)) as embedded:
        yield embedded.url, EMBEDDED_POINTS


@contextlib.contextmanager
def filled(url: str, collection: str, points: int) -> Iterator[None]:
    """Make a collection of random vectors and payloads for a while, without an index: it is read as fast."""
    delete(url, collection)
    config = {
        "vectors": {"size": DIMENSION, "distance": "Dot"},
        "hnsw_config": {"m": 0},
        "optimizers_config": {"indexing_threshold": 0},
    }
    assert call(url, f"/collections/{collection}", method="PUT", body=config).status == 200
    try:
        seeded = random.Random(30)
        words = ["".join(seeded.choices(ascii_lowercase, k=seeded.randint(2, 11))) for _ in range(WORDS)]
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120.0)
        for first in range(0, points, BATCH_POINTS):
            numbered = range(first, min(first + BATCH_POINTS, points))
            body = msgspec.json.encode({"points": [point(number, words, seeded) for number in numbered]})
            path = f"/collections/{collection}/points?wait=true"
            connection.request("PUT", path, body=body, headers={"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 200, answer
        connection.close()
        eventually(lambda: is_quiet(url, collection), what="it is green", within_seconds=300.0)
        yield
    finally:
        delete(url, collection)


def point(number: int, words: Sequence[str], seeded: random.Random) -> dict[str, Any]:
    """Return a point that compresses no better than real ones: numbers at random, a payload of words."""
    payload = {
        "number": number,
        "url": f"https://example.com/articles/{number:08d}",
        "tags": ["news", "science", f"topic-{number % 97}"],
        "score": round(seeded.random(), 6),
        "text": " ".join(seeded.choices(words, k=TEXT_CHARACTERS))[:TEXT_CHARACTERS],
    }
    return {"id": number, "vector": [seeded.gauss(0, 1) for _ in range(DIMENSION)], "payload": payload}


def is_quiet(url: str, collection: str) -> bool:
    """The optimizer has nothing to do."""
    return bool(call(url, f"/collections/{collection}").json()["result"]["status"] == "green")


def delete(url: str, collection: str) -> None:
    """Delete a collection, if it is there."""
    call(url, f"/collections/{collection}", method="DELETE", seconds=60.0)


if __name__ == "__main__":
    main()
