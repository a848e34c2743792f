"""What does one evaluation of the whole pack cost at 1,000 collections of 12 replicas on three peers?

The readings are those that the real sources and the real derivation make of played answers, in which a
fifth of the collections has other numbers each time, as on a live cluster.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from exporter.alerting.rules.evaluate import Evaluator, keep_histories
from exporter.alerting.rules.load import load_rules
from exporter.alerting.rules.presence import ClusterPresence
from exporter.alerting.rules.shipped import shipped_rules
from exporter.alerting.words import LabelPairs
from exporter.board import Board
from exporter.catalogue import SPECS
from exporter.model import CLUSTER_LABEL, Observation, ProducerKey, Reading
from exporter.observe.derived import replicas
from exporter.observe.derived.deriver import ClusterDeriver, Selection
from exporter.observe.sources import cluster, segments, telemetry
from exporter.observe.sources.remembered import Remembered
from exporter.qdrant.payloads import Telemetry
from exporter.qdrant.payloads import result as result_of
from tests.bench.bench_render import took_milliseconds
from tests.bench.verdict import judge, say
from tests.kit.clock import ManualClock
from tests.kit.scale import Peer, Scale, peer_id

CLUSTER = "default"
SCALE = Scale(collections=1_000, shards=6, replicas=2, peers=3)
ROUNDS = 10
INTERVAL_SECONDS = 15.0
TARGET_MILLISECONDS = 200.0
STORM = 1_000  # alerts that are known and have to be judged whatever they are


@dataclass(frozen=True, slots=True)
class Told:
    """A peer, and what was understood of its last answers."""

    label: str
    plays: Peer
    shallow: Remembered[telemetry.CollectionSeen]
    deep: Remembered[segments.ShardSegmentsSeen]


class Ground:
    """A Board on which three played peers are told of, round by round."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.board = Board(clock=self.clock)
        uris = [f"http://127.0.0.{number + 1}:6335/" for number in range(SCALE.peers)]
        self.peers = [
            Told(
                f"peer{number}",
                Peer(SCALE, number, uris),
                Remembered(endpoint="/telemetry"),
                Remembered(endpoint="/telemetry"),
            )
            for number in range(SCALE.peers)
        ]
        self.presence = {
            CLUSTER: ClusterPresence(
                frozenset(peer.label for peer in self.peers),
                frozenset(SCALE.name(index) for index in range(SCALE.collections)),
            )
        }
        selection = Selection(selects=lambda _: True, cap=10_000)
        self._deriver = ClusterDeriver(cluster=CLUSTER, selection=selection)

    def round(self) -> None:
        """Every peer answers, and what it said is derived from."""
        self.clock.advance(INTERVAL_SECONDS)
        for peer in self.peers:
            _, shallow = peer.plays.answer("/telemetry", "details_level=3")
            told = result_of(shallow, Telemetry, "/telemetry")
            parts = telemetry.Parts()
            seen = telemetry.read(told, peer.shallow, parts)
            readings = tuple(telemetry.readings(told, seen, parts, (CLUSTER, peer.label)))
            self._put(peer.label, "telemetry", seen, readings)
            _, deep = peer.plays.answer("/telemetry", "details_level=4")
            self._put(peer.label, "segments", segments.read(deep, peer.deep))
            _, consensus = peer.plays.answer("/cluster", "")
            self._put(peer.label, "cluster", cluster.read(consensus))
        watched = {peer.label: peer_id(number) for number, peer in enumerate(self.peers)}
        self.board.derive(CLUSTER, self._deriver.derive(self.board.view(), watched).blocks)

    def _put(self, label: str, source: str, seen: object, readings: tuple[Reading, ...] = ()) -> None:
        self.board.put(
            Observation(
                key=ProducerKey(CLUSTER, label, source),
                at_seconds=self.clock.now(),
                monotonic_seconds=self.clock.monotonic(),
                took_seconds=0.1,
                interval_seconds=INTERVAL_SECONDS,
                seen=seen,
                readings=readings,
            )
        )


def storm() -> Iterator[LabelPairs]:
    """Yield label sets of replicas that are known to have alerts."""
    for index in range(STORM):
        labels = {CLUSTER_LABEL: CLUSTER, "collection": SCALE.name(index), "shard": "0"}
        yield tuple(sorted((labels | {"peer": f"peer{SCALE.holders(index, 0)[0]}"}).items()))


def main() -> None:
    """Print a small table."""
    rules = load_rules(shipped_rules(), specs=SPECS, overrides={}).rules
    ground = Ground()
    keep_histories(ground.board, rules)
    evaluator = Evaluator(rules)
    took: dict[str, list[float]] = {"quiet": [], "storm": [], "again": [], "view": []}
    known = {"ShardNotLoaded": tuple(storm())}
    found = 0
    for turn in range(ROUNDS):
        ground.round()
        took["view"].append(took_milliseconds(ground.board.view))
        for way, instances in (("quiet", {}), ("storm", known)):
            if turn % 2 == (way == "storm"):
                view, now = ground.board.view(), ground.clock.now()

                def evaluate(view=view, instances=instances, now=now) -> None:  # type: ignore[no-untyped-def]
                    nonlocal found
                    presence = ground.presence
                    found = len(evaluator.evaluate(view, known=instances, presence=presence, now=now))

                first = took_milliseconds(evaluate)
                if turn > 1:  # before, everything is new
                    took[way].append(first)
                    took["again"].append(took_milliseconds(evaluate))
                else:
                    say(f"the first evaluation, {way}", f"{first:.1f} ms")
    view = ground.board.view()
    series = sum(len(readings) for _, readings in view.blocks())
    kept = sum(len(history) for history in view.histories.values())
    replicas_told = sum(one.spec in replicas.SPECS for _, block in view.blocks() for one in block)
    say("rules, series on the Board, of replicas, series with a history",
        f"{len(rules)}, {series:,}, {replicas_told:,}, {kept:,}")  # fmt: skip
    say("a view of the Board", f"{statistics.median(took['view']):.1f} ms")
    median = statistics.median(took["quiet"])
    judge("evaluation, a fifth of the collections changed", median, "ms", below=TARGET_MILLISECONDS)
    median = statistics.median(took["storm"])
    judge(f"the same with {STORM:,} known alerts", median, "ms", below=TARGET_MILLISECONDS)
    say("evaluation again, nothing changed", f"{statistics.median(took['again']):.1f} ms")


if __name__ == "__main__":
    main()
