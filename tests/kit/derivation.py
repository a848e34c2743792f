"""Recorded answers through the real readers, Board and deriver, to readings by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from exporter.board import Board
from exporter.model import Fault, FaultKind, Observation, ProducerKey, Reading
from exporter.observe.derived.deriver import ClusterDeriver, Derived, Selection
from exporter.observe.sources import cluster, segments, telemetry
from exporter.observe.sources.remembered import Remembered
from exporter.qdrant.payloads import Telemetry, result
from tests.kit.clock import ManualClock
from tests.kit.recordings import RECORDINGS, recording

INTERVAL_SECONDS = 15.0
CLUSTER = "default"


def body_of(json: Any) -> bytes:
    """The JSON as the server would send it."""
    return msgspec.json.encode(json)


class Deployment:
    """A cluster made of recorded answers; what a peer says is put on a real Board."""

    def __init__(
        self,
        watched: Mapping[str, int | None],
        *,
        expected: Sequence[str] = (),
        cap: int = 10_000,
        selects: Any = lambda _: True,
        also_expected: Mapping[str, Set[str]] | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.board = Board(clock=self.clock)
        self.watched = dict(watched)
        self._deriver = ClusterDeriver(
            cluster=CLUSTER,
            selection=Selection(
                selects=selects,
                cap=cap,
                expected=tuple(expected),
                also_expected=lambda: also_expected or {},
            ),
        )

    def tell(self, peer: str, source: str, seen: Any) -> None:
        """Put a good observation on the Board."""
        self._put(peer, source, seen, ())

    def fail(self, peer: str, *sources: str, kind: FaultKind = FaultKind.TIMEOUT) -> None:
        """The newest poll of these sources failed."""
        for source in sources:
            self._put(peer, source, None, (Fault(kind, source, "no answer"),))

    def _put(self, peer: str, source: str, seen: Any, faults: tuple[Fault, ...]) -> None:
        self.board.put(
            Observation(
                key=ProducerKey(CLUSTER, peer, source),
                at_seconds=self.clock.now(),
                monotonic_seconds=self.clock.monotonic(),
                took_seconds=0.01,
                interval_seconds=INTERVAL_SECONDS,
                seen=seen,
                faults=faults,
            )
        )

    def telemetry(self, peer: str, json: Any) -> None:
        """The peer answered telemetry of level 3 with this."""
        told = result(body_of(json), Telemetry, "/telemetry")
        self.tell(
            peer, "telemetry", telemetry.read(told, Remembered(endpoint="/telemetry"), telemetry.Parts())
        )

    def segments(self, peer: str, json: Any) -> None:
        """The peer answered telemetry of level 4 with this."""
        self.tell(peer, "segments", segments.read(body_of(json), Remembered(endpoint="/telemetry")))

    def cluster(self, peer: str, json: Any) -> None:
        """The peer answered GET /cluster with this."""
        self.tell(peer, "cluster", cluster.read(body_of(json)))

    def recorded(self, peer: str, state: str) -> None:
        """The peer answers as recorded in a state, as far as it was asked there."""
        for name in ("telemetry_3", "telemetry_2"):
            if (RECORDINGS / state / f"{name}.json").exists():
                self.telemetry(peer, recording(f"{state}/{name}").json)
                break
        if (RECORDINGS / state / "telemetry_4.json").exists():
            self.segments(peer, recording(f"{state}/telemetry_4").json)
        if (RECORDINGS / state / "cluster.json").exists():
            self.cluster(peer, recording(f"{state}/cluster").json)

    def derive(self) -> Derived:
        """Derive from what is on the Board now."""
        return self._deriver.derive(self.board.view(), self.watched)

    def readings(self) -> dict[str, float]:
        """Derive, and return values by series: "name{label=value,…}" without the cluster's label."""
        return {
            series(reading): reading.value for block in self.derive().blocks.values() for reading in block
        }


def series(reading: Reading) -> str:
    """Name a reading shortly: "collection_points{collection=docs}"."""
    pairs = zip(reading.spec.labels[1:], reading.labels[1:], strict=True)
    inside = ",".join(f"{name}={value}" for name, value in pairs)
    name = reading.spec.name.removeprefix("qdrantx_")
    return f"{name}{{{inside}}}" if inside else name


def single(state: str, **options: Any) -> Deployment:
    """One standalone server in a recorded state."""
    deployment = Deployment({"qdrant:6333": None}, **options)
    deployment.recorded("qdrant:6333", state)
    return deployment


# Peer ids of the recorded cluster of three; states 00 to 17.
PEER_IDS = {"peer0": 392660894735341, "peer1": 3791264816499452, "peer2": 2386962488601729}


def three(states: Mapping[str, str], *, watched: Mapping[str, int | None] | None = None) -> Deployment:
    """Three peers; those in `states` answer as recorded there, the others do not answer."""
    deployment = Deployment(PEER_IDS if watched is None else watched)
    for silent in deployment.watched.keys() - states.keys():
        deployment.fail(silent, "telemetry", "cluster", "segments")
    for peer, state in states.items():
        deployment.recorded(peer, f"{state}/{peer}")
    return deployment
