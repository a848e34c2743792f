"""Many peers with many collections, made from the recorded shape of a healthy cluster.

Runs in a process of its own (`python -m tests.kit.scale --collections 1000 --peers 3`), so that its
CPU is not counted as ours. Bodies are joined from pre-rendered pieces; in each answer a share of
the collections has other numbers than in the answer before, so that caching by equality gains
no more than it would on a live server. Prints the URLs of its peers as one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from isal import igzip

from tests.kit.recordings import recording
from tests.kit.scripted import free_port

HEALTHY = "v1.18.3/cluster/02_healthy/peer0"
SHAPE = "rf2"  # six shards, two replicas each
# Stands for a number that changes from answer to answer; no recording holds it.
MOVING = 4_242_424_242_424
POINTS = 3_110  # what it starts from, as recorded
DIMENSION = 64  # of the collection's vectors, as recorded
FOUND_POINTS = 10  # in the answer to any search
FIRST_PEER_ID = 1_000_000_000_000_001


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a cluster to play."""

    collections: int
    shards: int = 6
    replicas: int = 2
    peers: int = 3
    changing_share: float = 0.2  # of collections, from one answer of a peer to its next

    def name(self, index: int) -> str:
        """Return the name of a collection."""
        return f"collection-{index:05}"

    def holders(self, index: int, shard: int) -> list[int]:
        """Return the peers that hold a replica of a shard, spread evenly."""
        first = index * self.shards + shard
        return [(first + replica) % self.peers for replica in range(min(self.replicas, self.peers))]


def peer_id(peer: int) -> int:
    """Return the consensus id of a peer."""
    return FIRST_PEER_ID + peer


class Pieces:
    """A JSON list as bytes, one piece an element; a share of them changes from answer to answer."""

    def __init__(self, elements: Iterator[Any], changing_share: float) -> None:
        self._pieces = [json.dumps(element, separators=(",", ":")).encode() for element in elements]
        self._turns = max(1, round(1 / changing_share))  # each element changes once in so many answers
        self._answers = 0

    def render(self) -> bytes:
        """Return the elements joined; another share of them has moved than last time."""
        self._answers += 1
        moving = str(MOVING).encode()
        numbers = [
            str(POINTS + (self._answers + turn) // self._turns).encode() for turn in range(self._turns)
        ]
        return b",".join(
            piece.replace(moving, numbers[index % self._turns]) for index, piece in enumerate(self._pieces)
        )


class Peer:
    """The answers of one peer of a Scale."""

    def __init__(self, scale: Scale, peer: int, uris: list[str]) -> None:
        self._scale = scale
        self._peer = peer
        self._uris = uris
        names = [{"name": scale.name(index)} for index in range(scale.collections)]
        self._fixed = {
            name: recording(f"{HEALTHY}/{name}")
            for name in ("root", "healthz", "issues", "aliases", "snapshots_full")
        }
        self._per_collection = {
            "": self._recorded_collection("collection"),
            "/memory": self._recorded_collection("memory"),
            "/optimizations": self._recorded_collection("optimizations"),
            "/snapshots": self._recorded_collection("snapshots"),
            "/aliases": self._recorded_collection("collection_aliases"),
            "/cluster": self._recorded_collection("collection_cluster"),
        }
        self._collections = enveloped({"collections": names})
        self._found = enveloped({"points": found_points(with_vectors=False)})
        self._sampled = enveloped({"points": found_points(with_vectors=True)})
        self._cluster = enveloped(self._cluster_result())
        self._telemetry = {level: self._telemetry_parts(level) for level in (3, 4)}

    def answer(self, path: str, query: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body; 404 and nothing for what is not played. `body` is the request's."""
        if path == "/telemetry":
            head, pieces, tail = self._telemetry[4 if "details_level=4" in query else 3]
            return 200, head + pieces.render() + tail
        whole = {
            "/": self._fixed["root"].body,
            "/cluster": self._cluster,
            "/collections": self._collections,
            "/healthz": self._fixed["healthz"].body,
            "/issues": self._fixed["issues"].body,
            "/aliases": self._fixed["aliases"].body,
            "/snapshots": self._fixed["snapshots_full"].body,
        }.get(path)
        if whole is not None:
            return 200, whole
        if path.startswith("/collections/"):
            name, slash, rest = path.removeprefix("/collections/").partition("/")
            held = self._per_collection.get(slash + rest)
            if rest == "points/query":
                held = self._sampled if b'"sample"' in body else self._found
            if held is not None and name.startswith("collection-"):
                return 200, held
        return 404, b""

    def _recorded_collection(self, name: str) -> bytes:
        return recording(f"{HEALTHY}/{name}.{SHAPE}").body

    def _cluster_result(self) -> dict[str, Any]:
        result: dict[str, Any] = recording(f"{HEALTHY}/cluster").json["result"]
        result["peer_id"] = peer_id(self._peer)
        result["peers"] = {str(peer_id(index)): {"uri": uri} for index, uri in enumerate(self._uris)}
        result["raft_info"] |= {"leader": peer_id(0), "role": "Follower" if self._peer else "Leader"}
        return result

    def _telemetry_parts(self, level: int) -> tuple[bytes, Pieces, bytes]:
        seen = recording(f"{HEALTHY}/telemetry_{level}")
        result = seen.json["result"]
        result["cluster"]["status"] |= {
            "peer_id": peer_id(self._peer),
            "number_of_peers": self._scale.peers,
            "role": "Follower" if self._peer else "Leader",
        }
        result["cluster"]["peers"] = {str(peer_id(i)): {"uri": uri} for i, uri in enumerate(self._uris)}
        version = {"version": result["app"]["version"]}
        result["cluster"]["peer_metadata"] = {str(peer_id(i)): version for i in range(self._scale.peers)}
        shape = next(held for held in result["collections"]["collections"] if held["id"] == SHAPE)
        result["collections"] = {"number_of_collections": self._scale.collections, "collections": []}
        head, _, tail = enveloped(result).partition(b'"collections":[]')
        pieces = Pieces(self._collections_like(shape), self._scale.changing_share)
        return head + b'"collections":[', pieces, b"]" + tail

    def _collections_like(self, shape: dict[str, Any]) -> Iterator[dict[str, Any]]:
        local = next(entry for entry in shape["shards"] if entry["local"])
        for index in range(self._scale.collections):
            held = {**shape, "id": self._scale.name(index), "config": copy.deepcopy(shape["config"])}
            held["config"]["params"]["shard_number"] = self._scale.shards
            held["shards"] = [self._shard_like(local, index, shard) for shard in range(self._scale.shards)]
            yield held

    def _shard_like(self, shape: dict[str, Any], index: int, shard: int) -> dict[str, Any]:
        holders = self._scale.holders(index, shard)
        moved = {"num_points": MOVING, "num_vectors": MOVING, "num_vectors_by_name": {"": MOVING}}
        remote = shape["remote"][0]
        local = {**shape["local"], **moved}
        if "segments" in local:
            first = copy.deepcopy(local["segments"][0])
            first["info"]["num_points"] = MOVING
            local["segments"] = [first, *local["segments"][1:]]
        return {
            **shape,
            "id": shard,
            "local": local if self._peer in holders else None,
            "remote": [
                {**remote, "shard_id": shard, "peer_id": peer_id(holder)}
                for holder in holders
                if holder != self._peer
            ],
            "replicate_states": {str(peer_id(holder)): "Active" for holder in holders},
        }


def enveloped(result: Any) -> bytes:
    """Wrap a result as every answer of Qdrant is wrapped."""
    return json.dumps({"result": result, "status": "ok", "time": 0.001}, separators=(",", ":")).encode()


def found_points(*, with_vectors: bool) -> list[dict[str, Any]]:
    """Return the points that every search finds, as the server tells them."""
    vector = [round((number - 31.5) / 100, 7) for number in range(DIMENSION)]
    shown = {"vector": vector} if with_vectors else {}
    return [{"id": n, "version": n, "score": 1 - n / 100, **shown} for n in range(FOUND_POINTS)]


class HttpAnswers(asyncio.Protocol):
    """As little HTTP/1.1 as answering requests on a kept connection takes."""

    def __init__(self, answer: Callable[[str, str, bytes], tuple[int, bytes]]) -> None:
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = body_length(head)
            if len(rest) < length:
                return
            self._received = rest[length:]
            self._reply(head, rest[:length])

    def _reply(self, head: bytes, sent: bytes) -> None:
        target = head.split(b" ", 2)[1].decode()
        path, _, query = target.partition("?")
        status, body = self._answer(path, query, sent)
        content_type = "text/plain" if path == "/healthz" else "application/json"
        encoding = ""
        if wants_gzip(head) and body:
            body = igzip.compress(body, 1)
            encoding = "content-encoding: gzip\r\n"
        reason = "OK" if status == 200 else "Not Found"
        self._transport.write(
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n{encoding}"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )


def body_length(head: bytes) -> int:
    """Return how many bytes of a body follow a request's head."""
    named = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in named if name == b"content-length"), 0)


def wants_gzip(head: bytes) -> bool:
    """Tell whether the request accepts gzip."""
    lines = head.lower().split(b"\r\n")
    return any(line.startswith(b"accept-encoding:") and b"gzip" in line for line in lines)


async def serve(scale: Scale) -> None:
    """Listen for every peer of `scale` on its own loopback host, until SIGTERM or the parent's end."""
    loop = asyncio.get_running_loop()
    hosts = tuple(f"127.0.0.{peer + 1}" for peer in range(scale.peers))
    port = free_port(hosts)
    uris = [f"http://{host}:6335/" for host in hosts]
    for number, host in enumerate(hosts):
        peer = Peer(scale, number, uris)
        await loop.create_server(lambda peer=peer: HttpAnswers(peer.answer), host, port)  # type: ignore[misc]
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print(json.dumps([f"http://{host}:{port}" for host in hosts]), flush=True)
    parent = os.getppid()
    while not stopped.is_set() and os.getppid() == parent:  # a bench that was killed leaves no server behind
        try:
            await asyncio.wait_for(stopped.wait(), timeout=1.0)
        except TimeoutError:
            continue


def main() -> None:
    """Play a cluster of the given size."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    for name, default in (("collections", 1000), ("shards", 6), ("replicas", 2), ("peers", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--changing-share", type=float, default=0.2)
    asyncio.run(serve(Scale(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
