"""What can be made to go wrong on a SnapshotCluster, and what it notes of requests."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.kit.snapshot_cluster.optimizers import Pace


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came. `path` holds the query; `body` is its JSON, None for an upload or none."""

    peer: int  # 0, 1, 2
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: Any = None

    @property
    def line(self) -> str:
        """Method and path, as asserts read them."""
        return f"{self.method} {self.path}"


class SnapshotAnswer(StrEnum):
    """How a server answers a POST for a snapshot that it takes all the same."""

    GOOD = "good"
    ERROR = "error"  # 500, and the snapshot is there
    TIMEOUT = "timeout"  # 408 at once, and the snapshot comes later
    SILENCE = "silence"  # no answer ever, and the snapshot comes


@dataclass(slots=True)
class Failure:
    """An answer in place of the right one, `times` times. `done`: what was asked is done all the same."""

    method: str
    route: re.Pattern[str]  # searched in the path with its query
    status: int
    times: int
    peer: int | None
    headers: dict[str, str]
    text: str
    done: bool
    after: int  # lets so many pass first

    def strikes(self, seen: Seen) -> bool:
        """Whether this request is refused; counts."""
        if self.times <= 0 or self.method not in ("*", seen.method) or not self.route.search(seen.path):
            return False
        if self.peer not in (None, seen.peer):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass(slots=True)
class Writer:
    """Points that come in between requests: so many new ones before every request to any peer."""

    collection: str
    points_a_request: int
    key: str | int | None
    next_id: int


# Called before each request with peer (0, 1, 2), method and path: moves a shard, kills a peer, ...
Hook = Callable[[int, str, str], Awaitable[None] | None]


@dataclass(slots=True)
class Knobs:
    """What a test may set at any time. Times in seconds."""

    recovery_seconds: float = 0.05  # until a replica is filled from another
    dead_after_seconds: float = 0.0  # for so long the other replicas say Active after an upload
    recovers: bool = True  # False: what is Dead stays so
    snapshot_seconds: float = 0.0  # that a snapshot takes
    snapshot_answer: SnapshotAnswer = SnapshotAnswer.GOOD
    snapshot_answers: int | None = None  # so many requests are answered that way, then well; None: all
    names_collide: bool = False  # True: two snapshots of one second have one name, as on a real server
    checksums: bool = True  # False: null, as with S3 behind the server
    padding_bytes: int = 0  # how much larger each shard in an archive is than its points need
    bytes_per_second: float | None = None  # of a download
    heeds_if_range: bool = False  # Qdrant 1.18.3 does not: a 206 whatever the ETag
    tags_parts: bool = True  # False: a 206 without an ETag, as from a proxy
    ranges: bool = True  # False: a 200 to every range, as with S3 behind the server
    gzips: bool = True  # a download where the client takes gzip and wants no range
    pace: Pace = field(default_factory=Pace)  # of optimizations
    queued_optimizations: int = 0  # what /optimizations says waits, beside what thresholds make of segments
    patch_seconds: float = 0.0  # how late a PATCH is answered, after it was done
    body_limit_bytes: int = 32 << 20  # of a request in JSON
    body_limit_status: int = 400  # as on a real server; a proxy says 413
    api_key: str | None = None  # without it 401
    read_only_key: str | None = None  # with it what writes is 403
    # By peer (0, 1, 2): at so many looks after a change of shard keys it shows the shards from before.
    late_looks: dict[int, int] = field(default_factory=dict)
    now: Callable[[], float] | None = None  # Unix time of the servers; None: the machine's
    on_request: Hook | None = None
    failures: list[Failure] = field(default_factory=list)
    writers: list[Writer] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # each ends one download after so many bytes
    flips: list[int] = field(default_factory=list)  # each flips the byte at this place in one download

    def unix_time(self) -> float:
        """Return the servers' time."""
        return self.now() if self.now is not None else time.time()

    def fail(
        self,
        method: str,
        route: str,
        status: int = 500,
        *,
        times: int = 1,
        peer: int | None = None,
        headers: dict[str, str] | None = None,
        text: str = "Service internal error: made to fail",
        done: bool = False,
        after: int = 0,
    ) -> None:
        """Answer the next requests of this method ("*": any) and route (regex) so.

        `after`: lets so many of them pass first. A 429 names its wait in `headers`, Retry-After.
        """
        self.failures.append(
            Failure(method, re.compile(route), status, times, peer, headers or {}, text, done, after)
        )

    def writer(self, collection: str, *, points_a_request: int = 1, key: str | int | None = None) -> Writer:
        """Let a client write new points, ids from 1,000,000, before each request, until it is removed."""
        made = Writer(collection, points_a_request, key, 1_000_000)
        self.writers.append(made)
        return made

    def cut_downloads(self, after_bytes: int, *, times: int = 1) -> None:
        """Break the connection of the next downloads after so many bytes of the body."""
        self.cuts += [after_bytes] * times

    def corrupt_download(self, at: int, *, times: int = 1) -> None:
        """Flip one byte on its way, in the next downloads; `at` from the start of the archive."""
        self.flips += [at] * times
