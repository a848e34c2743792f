"""Three peers on three sockets that play the troubles of a recorded cluster.

The recordings are of one cluster through its life, save CONSENSUS_STOPPED, which is another
cluster with other peer ids. `rf1`, `rf2`, `rf3` are collections of that replication factor.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from tests.kit.recordings import RECORDINGS, recording
from tests.kit.replay import (
    NO_SUCH_ROUTE,
    SILENCE,
    RecordedState,
    ReplayServer,
    Reply,
    reply_of,
    split_target,
)

PEERS = 3
CLUSTER = "v1.18.3/cluster"
# The p2p addresses in the recordings, by peer.
RECORDED_URIS = ("http://127.0.0.1:6413/", "http://127.0.0.1:6423/", "http://127.0.0.1:6433/")
# Qdrant gave up on a frozen peer after 9.3 to 9.5 s, whatever `timeout=` said.
FROZEN_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One state of the cluster. In `folders`, the first that has an answer wins."""

    folders: tuple[str, ...]
    dead: frozenset[int] = frozenset()  # socket closed
    frozen: frozenset[int] = frozenset()  # accepts and stays silent


HEALTHY = Stage(("02_healthy",))
PEER_2_DEAD_FOR_1S = Stage(("03_peer2_killed_1s", "04_peer2_killed_9s", "02_healthy"), dead=frozenset({2}))
PEER_2_DEAD_FOR_9S = Stage(("04_peer2_killed_9s", "02_healthy"), dead=frozenset({2}))
PEER_2_DEAD_AFTER_WRITES = Stage(("06_peer2_down_after_writes", "02_healthy"), dead=frozenset({2}))
# Six looks while peer 2 catches up; what was not asked then is answered as after it.
PEER_2_RETURNING = tuple(
    Stage((f"07_peer2_back/{look:02}", "08_recovered", "02_healthy")) for look in range(6)
)
RECOVERED = Stage(("08_recovered", "02_healthy"))
PEER_1_FROZEN = Stage(("12_peer1_frozen_6s", "08_recovered", "02_healthy"), frozen=frozenset({1}))
PEER_1_THAWED = Stage(("13_peer1_thawed", "08_recovered", "02_healthy"))
NO_QUORUM = Stage(("14_no_quorum", "02_healthy"), dead=frozenset({1, 2}))
RESTARTED_ALONE = Stage(("16_restarted_alone", "14_no_quorum", "02_healthy"), dead=frozenset({1, 2}))
ALL_BACK = Stage(("17_all_back", "02_healthy"))
CONSENSUS_STOPPED = Stage(("18_consensus_stopped",))

Edit = Callable[[Any], None]  # changes the decoded JSON of one answer in place


class ScriptedCluster:
    """Three listening sockets that answer as the peers of one Stage did.

    With `spread_hosts` the peers listen on 127.0.0.1, .2 and .3 under one port and the uris in
    their answers name those hosts, so that whoever discovers peers by host finds them.
    """

    def __init__(
        self,
        *,
        stage: Stage = HEALTHY,
        spread_hosts: bool = False,
        frozen_answer_seconds: float = FROZEN_ANSWER_SECONDS,
    ) -> None:
        self.stage = stage
        self._frozen_answer_seconds = frozen_answer_seconds
        self._hosts = tuple(f"127.0.0.{peer + 1}" if spread_hosts else "127.0.0.1" for peer in range(PEERS))
        self._spread_hosts = spread_hosts
        self._edits: list[tuple[int, str, Edit]] = []
        self._recorded: tuple[RecordedState, ...] = ()
        self.servers: tuple[ReplayServer, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """The REST URLs of peers 0, 1 and 2."""
        return tuple(server.url for server in self.servers)

    async def start(self) -> None:
        """Open the sockets of the peers that live in this stage."""
        shared_port = free_port(self._hosts) if self._spread_hosts else 0
        self.servers = tuple(
            ReplayServer(answer=self._answers_of(peer), host=host, port=shared_port)
            for peer, host in enumerate(self._hosts)
        )
        for server in self.servers:
            await server.start()  # also those that are dead in the first stage: this fixes their port
        await self.play(self.stage)

    async def stop(self) -> None:
        """Close everything."""
        for server in self.servers:
            await server.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def play(self, stage: Stage) -> None:
        """Switch every peer to a stage at once; edits are forgotten."""
        self.stage = stage
        self._edits.clear()
        self._recorded = tuple(RecordedState(self._folders_of(peer)) for peer in range(PEERS))
        for peer, server in enumerate(self.servers):
            await (server.stop() if peer in stage.dead else server.start())

    def edit(self, peer: int, path: str, change: Edit) -> None:
        """Let `change` alter the JSON of each answer of one peer whose path (without query) is `path`."""
        self._edits.append((peer, path, change))

    def set_points(self, peer: int, collection: str, shard: int, points: int) -> None:
        """Let one replica hold this many points, in telemetry of every level.

        Raises LookupError when an answer is asked for and that peer holds no such replica.
        """

        def change(payload: Any) -> None:
            local = local_shard(payload, collection, shard)
            local["num_points"] = points
            local["num_vectors"] = points

        self.edit(peer, "/telemetry", change)

    def peer_id(self, peer: int) -> int:
        """Return the consensus id of a peer in this stage."""
        seen = self._recorded[peer].find("/cluster")
        if seen is None:
            raise LookupError(f"peer {peer} recorded no /cluster in {self.stage.folders}")
        return int(seen.json["result"]["peer_id"])

    def _folders_of(self, peer: int) -> list[str]:
        folders = [f"{CLUSTER}/{folder}/peer{peer}" for folder in self.stage.folders]
        return [folder for folder in folders if (RECORDINGS / folder).is_dir()]

    def _answers_of(self, peer: int) -> Callable[[str], Reply]:
        def answer(target: str) -> Reply:
            if peer in self.stage.frozen:
                return SILENCE
            if self.stage.frozen and (late := self._late_reply(target)) is not None:
                return late
            seen = self._recorded[peer].find(target)
            return NO_SUCH_ROUTE if seen is None else self._altered(peer, target, reply_of(seen))

        return answer

    def _late_reply(self, target: str) -> Reply | None:
        """Return what comes of a call that waits for the frozen peer, None when it waits for nobody."""
        name = late_recording(target)
        if name is None:
            return None
        seen = recording(f"{CLUSTER}/12_peer1_frozen_6s/{name}")
        return reply_of(seen, delay_seconds=self._frozen_answer_seconds)

    def _altered(self, peer: int, target: str, reply: Reply) -> Reply:
        path, _ = split_target(target)
        changes = [change for whose, where, change in self._edits if (whose, where) == (peer, path)]
        body = reply.body
        if changes:
            payload = json.loads(body)
            for change in changes:
                change(payload)
            body = json.dumps(payload).encode()
        if self._spread_hosts:
            for uri, server in zip(RECORDED_URIS, self.servers, strict=True):
                body = body.replace(uri.encode(), f"{server.url}/".encode())
        return Reply(reply.status, body, reply.headers)


def late_recording(target: str) -> str | None:
    """Name the recorded answer of a call that reaches a frozen peer: 408, 500 or a late 200."""
    path, _ = split_target(target)
    if path == "/cluster/telemetry":
        return "cluster_telemetry"
    if path.endswith("/optimizations"):
        return "optimizations_rf2"
    # rf1 keeps one of its shards on the frozen peer alone; /memory asks every peer.
    if path.endswith("/memory") or path == "/collections/rf1":
        return "query_rf1"
    return None


def local_shard(telemetry: Any, collection: str, shard: int) -> dict[str, Any]:
    """Return the part of a telemetry answer that describes this peer's own replica of a shard."""
    for held in telemetry["result"]["collections"]["collections"]:
        for entry in held["shards"]:
            if held["id"] == collection and entry["id"] == shard and entry["local"]:
                local: dict[str, Any] = entry["local"]
                return local
    raise LookupError(f"no local replica of {collection}/{shard} in this answer")


def free_port(hosts: tuple[str, ...]) -> int:
    """Return a port that is free on each of these hosts, and that no other worker of the tests is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for _ in range(50 * workers):
        with socket.socket() as first:
            first.bind((hosts[0], 0))
            port: int = first.getsockname()[1]
        # halved: the kernel gives out ports of one parity where it can
        if port // 2 % workers == worker and all(is_free(host, port) for host in hosts):
            return port
    raise OSError(f"no port is free on all of {hosts}")


def is_free(host: str, port: int) -> bool:
    """Tell whether nobody listens there now."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError:
            return False
        return True
