"""Polling one peer: each source in a loop of its own, none in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from exporter.board import Board
from exporter.clock import Clock
from exporter.errors import BadPayload, SourceError, SourceUnsupported
from exporter.logs import get_logger
from exporter.model import Observation, ProducerKey, Reading
from exporter.observe.pacing import Pacer
from exporter.observe.records import UP, SourceRecord, request_readings
from exporter.observe.sources.contract import Ask, Learnt, Metered, Reach, Source
from exporter.observe.sources.healthz import answers
from exporter.qdrant.gateway import Gateway
from exporter.qdrant.versions import Version, supports

log = get_logger()

# Asked from the first moment; the others wait for the first telemetry, whose version says what the
# server has and whose collections say what to ask about.
FIRST_SOURCES = frozenset({"healthz", "cluster", "telemetry"})

# A server that lacks a source may be upgraded while we watch; its version is looked at on every poll,
# so this only spaces the looks at a server whose version we cannot read.
UNSUPPORTED_RETRY_SECONDS = 600.0


class Deployment(Protocol):
    """What a poller asks of the cluster it belongs to."""

    def ask_of(self, peer: str) -> tuple[Sequence[str], Sequence[str], str]:
        """Return (collections, busy collections, why calls to other peers must fail now or "")."""
        ...

    async def wait_until_derived(self) -> None:
        """Return when it is known which collections there are to ask about."""
        ...

    def speaks_for_cluster(self, peer: str) -> bool:
        """Whether this peer is the one to ask what any peer can answer for all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Deadlines of single calls, in seconds."""

    deadline_seconds: float
    fanout_deadline_seconds: float


class PeerPoller:
    """All sources of one peer. `run` ends only by cancellation."""

    def __init__(
        self,
        *,
        cluster: str,
        peer: str,
        gateway: Gateway,
        sources: Sequence[Source],
        pacer: Pacer,
        limits: Limits,
        board: Board,
        clock: Clock,
        deployment: Deployment,
        off_loop: Callable[..., Awaitable[Any]],
        on_learnt: Callable[[str, Observation], None],
    ) -> None:
        self._cluster = cluster
        self._peer = peer
        self._gateway = gateway
        self._sources = sources
        self._pacer = pacer
        self._limits = limits
        self._board = board
        self._clock = clock
        self._deployment = deployment
        self._off_loop = off_loop
        self._on_learnt = on_learnt
        self._version: Version | None = None
        self._own_collections: tuple[str, ...] = ()
        self._telemetry_read = asyncio.Event()
        self._waking = asyncio.Event()
        self._answers: bool | None = None
        self.up: bool | None = None  # None before the first telemetry has ended, well or not
        self._logged: dict[str, str] = {}
        self.records = {source.name: SourceRecord() for source in sources}
        self.first_round = asyncio.Event()  # every source was polled once, or cannot be yet

    async def run(self) -> None:
        """Poll for ever. A source's failure is data; anything else is a bug and ends the poller."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(self._loop(source), name=f"{self._cluster}/{self._peer}/{source.name}")

    async def poll_once(self) -> None:
        """Poll every source once: first those that the others stand on."""
        first = [source for source in self._sources if source.name in FIRST_SOURCES]
        await asyncio.gather(*(self._poll(source) for source in first))

    async def poll_rest_once(self) -> None:
        """Poll once what stands on the first telemetry. Nothing is asked of a peer that is not up."""
        if self._telemetry_read.is_set():
            rest = [source for source in self._sources if source.name not in FIRST_SOURCES]
            await asyncio.gather(*(self._poll(source) for source in rest))

    def wake(self) -> None:
        """Let the slower sources look now: this peer is up again, or is asked for all from now on."""
        self._waking.set()
        self._waking = asyncio.Event()

    def fall_silent(self) -> None:
        """Another peer is asked for all now: what this one learnt and recorded for all is withdrawn."""
        for source in self._sources:
            if source.reach is Reach.CLUSTER and self.records[source.name].polls:
                self.records[source.name] = SourceRecord()
                self._logged.pop(source.name, None)
                for name in (source.name, f"record:{source.name}"):
                    self._board.withdraw(ProducerKey(self._cluster, self._peer, name))

    async def _loop(self, source: Source) -> None:
        if source.name not in FIRST_SOURCES:
            await self._telemetry_read.wait()
            await self._deployment.wait_until_derived()
        while True:
            interval = await self._poll(source)
            self._note_first_round()
            # Beats of the clock, not of our own start: all peers are asked in the same moment, so that
            # replicas are compared as they were at one time, and one page shows the whole round. A poll
            # that overran its interval does not run twice to catch up.
            pause_seconds = interval - self._clock.monotonic() % interval
            if source.name in FIRST_SOURCES:
                await asyncio.sleep(pause_seconds)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._waking.wait()

    def _note_first_round(self) -> None:
        if all(self.records[name].polls for name in FIRST_SOURCES if name in self.records):
            self.first_round.set()

    async def _poll(self, source: Source) -> float:
        """Poll once, post what came of it and return the seconds until the next poll."""
        record = self.records[source.name]
        interval = self._pacer.interval_seconds(source.name)
        if source.reach is Reach.CLUSTER and not self._deployment.speaks_for_cluster(self._peer):
            return interval
        record.interval_seconds = interval
        record.supported = supports(self._version, source.name)
        if not record.supported:
            record.polls += 1
            self._post(source.name)
            return interval
        started = self._clock.monotonic()
        gateway = Metered(self._gateway)
        learnt = await self._learn(source, gateway)
        took = self._clock.monotonic() - started
        observation = self._observation(source, learnt, took, interval)
        self._record(source.name, record, observation)
        if observation.seen is not None:  # where a part failed, what the rest took is a cost all the same
            self._pacer.spent(source.name, gateway.server_seconds)
        self._board.put(observation)
        self._on_learnt(source.name, observation)
        self._post(source.name)
        if not record.supported:
            return max(interval, UNSUPPORTED_RETRY_SECONDS)
        return interval

    async def _learn(self, source: Source, gateway: Metered) -> Learnt | SourceError:
        collections, busy, unreachable = self._deployment.ask_of(self._peer)
        ask = Ask(
            gateway=gateway,
            cluster=self._cluster,
            peer=self._peer,
            version=self._version,
            deadline_seconds=self._limits.deadline_seconds,
            fanout_deadline_seconds=self._limits.fanout_deadline_seconds,
            collections=collections,
            own_collections=self._own_collections,
            busy_collections=busy,
            unreachable_through=unreachable,
            off_loop=self._off_loop,
        )
        try:
            return await source.poll(ask)
        except SourceError as error:
            return error
        except Exception as error:  # the boundary: a bug in one reader must not blind all
            log.exception("source.broken", qdrant_cluster=self._cluster, peer=self._peer, source=source.name)
            return BadPayload(source.name, f"could not be understood ({type(error).__name__})")

    def _observation(
        self, source: Source, learnt: Learnt | SourceError, took: float, interval: float
    ) -> Observation:
        if isinstance(learnt, SourceError):
            learnt = Learnt(None, faults=(learnt.fault(),))
        return Observation(
            key=ProducerKey(self._cluster, self._peer, source.name),
            at_seconds=self._clock.now(),
            monotonic_seconds=self._clock.monotonic(),
            took_seconds=took,
            interval_seconds=interval,
            seen=learnt.seen,
            readings=learnt.readings,
            faults=learnt.faults,
        )

    def _record(self, name: str, record: SourceRecord, observation: Observation) -> None:
        record.polls += 1
        record.supported = not any(fault.kind is SourceUnsupported.kind for fault in observation.faults)
        record.success = observation.complete
        record.count(observation.faults if record.supported else ())
        if observation.complete:
            record.duration_seconds = observation.took_seconds
            record.last_success_at_seconds = observation.at_seconds
        if name == "telemetry":
            was_down, self.up = self.up is False, observation.seen is not None
            if self.up:
                if was_down:
                    self.wake()
                self._own_collections = tuple(observation.seen.collections)
                self._version = observation.seen.version
                self._telemetry_read.set()
        if name == "healthz":
            self._answers = observation.complete
        self._log(name, observation, supported=record.supported)

    def _log(self, name: str, observation: Observation, *, supported: bool) -> None:
        """One line where something changed: the same failure within one outage is told once."""
        fields = {"qdrant_cluster": self._cluster, "peer": self._peer, "source": name}
        took = round(observation.took_seconds, 4)
        if not observation.faults:
            if self._logged.pop(name, None) is not None:
                log.info("source.recovered", **fields, took_seconds=took)
            log.debug("source.polled", **fields, took_seconds=took)
            return
        reason = "; ".join(f"{fault.kind}: {fault.endpoint}: {fault.detail}" for fault in observation.faults)
        kinds = ",".join(sorted({fault.kind for fault in observation.faults}))
        if self._logged.get(name) == kinds:
            log.debug("source.failed", **fields, reason=reason, took_seconds=took)
            return
        self._logged[name] = kinds
        event = log.warning if supported else log.debug
        event("source.failed", **fields, reason=reason, took_seconds=took)

    def _post(self, name: str) -> None:
        """Post the standing readings: the source's record, whether the peer is up, what we asked."""
        key = ProducerKey(self._cluster, self._peer, f"record:{name}")
        self._board.post(key, tuple(self.records[name].readings(self._cluster, self._peer, name)))
        peer_key = ProducerKey(self._cluster, self._peer, "record:peer")
        self._board.post(peer_key, tuple(self._peer_readings()))

    def _peer_readings(self) -> list[Reading]:
        labels = (self._cluster, self._peer)
        readings = list(request_readings(*labels, self._gateway.counts()))
        if self.up is not None:
            readings.append(Reading(UP, labels, float(self.up)))
        if self._answers is not None:
            readings.append(answers(*labels, answered=self._answers))
        return readings
