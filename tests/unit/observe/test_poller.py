"""Polling one peer over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from exporter.board import Board
from exporter.observe.pacing import Pacer
from exporter.observe.poller import Limits, PeerPoller
from exporter.observe.sources.aliases import AliasesSource
from exporter.observe.sources.cluster import Cluster
from exporter.observe.sources.contract import Source
from exporter.observe.sources.disk import QuotasSource
from exporter.observe.sources.healthz import Healthz
from exporter.observe.sources.issues import IssuesSource
from exporter.observe.sources.memory import MemorySource
from exporter.observe.sources.optimizations import OptimizationsSource
from exporter.observe.sources.segments import SegmentsSource
from exporter.observe.sources.snapshots import SnapshotsSource
from exporter.observe.sources.telemetry import TelemetrySource
from exporter.qdrant.door import Door
from exporter.qdrant.gateway import Gateway
from tests.kit.derivation import series
from tests.kit.patience import LoopClock
from tests.kit.replay import ReplayServer, Reply, replies_of
from tests.kit.servers import WireServer, silent

LIMIT_BYTES = 64 << 20


class Alone:
    """A deployment of one peer with given collections."""

    def __init__(
        self, collections: Sequence[str] = (), busy: Sequence[str] = (), unreachable: str = ""
    ) -> None:
        self._ask = (collections, busy, unreachable)

    def ask_of(self, peer: str) -> tuple[Sequence[str], Sequence[str], str]:
        return self._ask

    async def wait_until_derived(self) -> None:
        return

    def speaks_for_cluster(self, peer: str) -> bool:
        return True


async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


# A busy machine makes a good answer late; a test of one that never comes need not wait so long.
PATIENT = Limits(deadline_seconds=20.0, fanout_deadline_seconds=10.0)
HASTY = Limits(deadline_seconds=0.5, fanout_deadline_seconds=0.3)


class Polled:
    """A poller of one URL with its Board."""

    def __init__(
        self,
        url: str,
        sources: Sequence[Source],
        deployment: Alone | None = None,
        pace_seconds: float = 15.0,
        limits: Limits = PATIENT,
    ) -> None:
        self.board = Board(clock=LoopClock())
        self.gateway = Gateway(
            door=Door(url=url), clock=LoopClock(), response_limit_bytes=LIMIT_BYTES, fast_seconds=15
        )
        self.poller = PeerPoller(
            cluster="default",
            peer="qdrant:6333",
            gateway=self.gateway,
            sources=sources,
            pacer=Pacer(
                base_seconds=dict.fromkeys((s.name for s in sources), pace_seconds), budget_ratio=0.5
            ),
            limits=limits,
            board=self.board,
            clock=LoopClock(),
            deployment=deployment or Alone(),
            off_loop=at_once,
            on_learnt=lambda source, observation: None,
        )

    async def once(self) -> dict[str, float]:
        await self.poller.poll_once()
        await self.poller.poll_rest_once()
        return self.readings()

    def readings(self) -> dict[str, float]:
        return {
            series(reading): reading.value for _, block in self.board.view().blocks() for reading in block
        }

    async def close(self) -> None:
        await self.gateway.close()


Run = Callable[[Polled], Awaitable[dict[str, float]]]


async def once(polled: Polled) -> dict[str, float]:
    try:
        return await polled.once()
    finally:
        await polled.close()


def everything() -> list[Source]:
    return [
        Healthz(), Cluster(), TelemetrySource(), SegmentsSource(), OptimizationsSource(), MemorySource(),
        AliasesSource(), SnapshotsSource(), IssuesSource(), QuotasSource(),
    ]  # fmt: skip


async def test_a_healthy_server_answers_every_source_that_its_version_has() -> None:
    """1.18.3 has all but quotas, which are not asked for."""
    names = ("binary", "deferred", "docs", "named", "noindex", "quantized", "strict")
    server = ReplayServer(answer=replies_of("v1.18.3/single/green"))
    async with server:
        readings = await once(Polled(server.url, everything(), Alone(names, ("docs",))))

    succeeded = {
        series.split("source=")[1][:-1]: value
        for series, value in readings.items()
        if "source_success" in series
    }
    assert succeeded == dict.fromkeys([source.name for source in everything() if source.name != "quotas"], 1)
    assert readings["source_supported{peer=qdrant:6333,source=quotas}"] == 0
    assert readings["up{peer=qdrant:6333}"] == 1
    assert readings["peer_answers{peer=qdrant:6333}"] == 1
    assert readings["peer_snapshots{peer=qdrant:6333}"] == 0
    assert readings["peer_info{peer=qdrant:6333,version=1.18.3,peer_id=}"] == 1
    assert readings["peer_memory_total_bytes{peer=qdrant:6333}"] == 24_684_084 * 1024


async def test_an_old_server_is_asked_for_what_it_has_and_told_quietly() -> None:
    """1.12.6 has neither optimizations nor memory; both are unsupported and no failure."""
    server = ReplayServer(answer=replies_of("v1.12.6/single/green"))
    async with server:
        readings = await once(Polled(server.url, everything()))

    assert readings["source_supported{peer=qdrant:6333,source=optimizations}"] == 0
    assert readings["source_supported{peer=qdrant:6333,source=memory}"] == 0
    assert "source_success{peer=qdrant:6333,source=memory}" not in readings
    assert readings["source_faults_total{peer=qdrant:6333,source=memory,kind=unsupported}"] == 0
    assert readings["up{peer=qdrant:6333}"] == 1


@pytest.mark.usefixtures("patient_time")
async def test_a_hung_peer_is_down_within_the_deadline_and_has_no_success() -> None:
    """It accepts the connection and never answers."""
    async with WireServer(silent) as server:
        started = asyncio.get_running_loop().time()
        readings = await once(Polled(server.url, everything(), limits=HASTY))

    assert asyncio.get_running_loop().time() - started == pytest.approx(0.5)
    assert readings["up{peer=qdrant:6333}"] == 0
    assert readings["peer_answers{peer=qdrant:6333}"] == 0
    assert readings["source_success{peer=qdrant:6333,source=telemetry}"] == 0
    assert readings["source_faults_total{peer=qdrant:6333,source=telemetry,kind=timeout}"] == 1
    assert "source_last_success_timestamp_seconds{peer=qdrant:6333,source=telemetry}" not in readings


async def test_a_refused_key_is_down_though_the_peer_answers() -> None:
    """The health check needs no key; telemetry says 401 in plain text."""

    def answer(target: str) -> Reply:
        healthy = target == "/healthz"
        return Reply(
            status=200 if healthy else 401, body=b"healthz check passed" if healthy else b"Must provide"
        )

    async with ReplayServer(answer=answer) as server:
        readings = await once(Polled(server.url, everything()))

    assert readings["up{peer=qdrant:6333}"] == 0
    assert readings["peer_answers{peer=qdrant:6333}"] == 1
    assert readings["source_faults_total{peer=qdrant:6333,source=telemetry,kind=auth}"] == 1


async def test_one_odd_collection_costs_itself_and_not_the_poll() -> None:
    """A newer server may change a field's type: the peer is up, the source says that a part failed."""
    recorded = replies_of("v1.18.3/single/green")

    def answer(target: str) -> Reply:
        reply = recorded(target)
        if target.startswith("/telemetry"):
            body = reply.body.replace(b'"id":"binary","', b'"id":"binary","shards":"?","')
            return Reply(status=200, body=body)
        return reply

    async with ReplayServer(answer=answer) as server:
        polled = Polled(server.url, [Healthz(), Cluster(), TelemetrySource()])
        readings = await once(polled)

    seen = next(seen for key, seen in polled.board.view().known.items() if key.source == "telemetry").seen
    assert readings["up{peer=qdrant:6333}"] == 1
    assert readings["source_success{peer=qdrant:6333,source=telemetry}"] == 0
    assert "binary" in seen.unreadable
    assert "quantized" in seen.collections


async def test_memory_is_not_asked_while_another_peer_is_down() -> None:
    """The server would answer 500 for each collection; the fault names the peer that is down."""
    asked: list[str] = []
    recorded = replies_of("v1.18.3/single/green")

    def answer(target: str) -> Reply:
        asked.append(target)
        return recorded(target)

    async with ReplayServer(answer=answer) as server:
        polled = Polled(server.url, everything(), Alone(("docs",), ("docs",), "peer qdrant-2:6333 is down"))
        readings = await once(polled)

    assert not [target for target in asked if "memory" in target or "optimizations" in target]
    assert readings["source_success{peer=qdrant:6333,source=memory}"] == 0
    faults = polled.poller.records["memory"].newest_faults
    assert "qdrant-2:6333 is down" in faults[0].detail


@pytest.mark.usefixtures("patient_time")
async def test_a_sweep_gives_up_where_nothing_answers() -> None:
    """1,000 collections at a peer that hangs on each must not take 1,000 deadlines."""
    recorded = replies_of("v1.18.3/single/green")

    def answer(target: str) -> Reply:
        if target.endswith("/memory"):
            return Reply(status=200, body=b"{}", delay_seconds=10)
        return recorded(target)

    names = [f"collection-{number}" for number in range(1_000)]
    async with ReplayServer(answer=answer) as server:
        sources = [Healthz(), Cluster(), TelemetrySource(), MemorySource()]
        polled = Polled(server.url, sources, Alone(names), limits=HASTY)
        async with asyncio.timeout(5):
            readings = await once(polled)

    assert readings["source_success{peer=qdrant:6333,source=memory}"] == 0
    assert readings["source_faults_total{peer=qdrant:6333,source=memory,kind=timeout}"] == 1


@pytest.mark.usefixtures("patient_time")
async def test_a_source_that_hangs_delays_no_other_source() -> None:
    """Memory waits for its deadline again and again; telemetry keeps its pace meanwhile."""
    recorded = replies_of("v1.18.3/single/green")

    def answer(target: str) -> Reply:
        if target.endswith("/memory"):
            return Reply(status=200, body=b"{}", delay_seconds=10)
        return recorded(target)

    async with ReplayServer(answer=answer) as server:
        sources = [Healthz(), Cluster(), TelemetrySource(), MemorySource()]
        polled = Polled(server.url, sources, Alone(["docs"]), pace_seconds=0.05)
        running = asyncio.create_task(polled.poller.run())
        try:
            async with asyncio.timeout(5):
                while polled.poller.records["telemetry"].polls < 5:
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await polled.close()

    assert polled.poller.records["memory"].polls <= 2
    assert polled.poller.first_round.is_set()
