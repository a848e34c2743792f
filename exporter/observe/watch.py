"""Watching one cluster: a poller for every target of the roster, and what is derived of them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from exporter.board import Board, BoardView
from exporter.clock import Clock
from exporter.config.clusters import ClusterSettings
from exporter.errors import BadPayload, SourceError
from exporter.logs import get_logger
from exporter.model import Observation
from exporter.observe.derived import forecast
from exporter.observe.derived.deriver import ClusterDeriver, Derived, Expected, Selection, none_besides
from exporter.observe.last_seen import LastSeen
from exporter.observe.pacing import Pacer
from exporter.observe.polled import Polled, base_seconds, gateway_to, lanes_to, sources_of, writing_lanes_to
from exporter.observe.poller import Limits, PeerPoller
from exporter.observe.probes.prober import Prober
from exporter.observe.roster import ClusterAnswer, Roster, Target, Trouble
from exporter.observe.roster.troubles import readings as trouble_readings
from exporter.observe.sources import cluster as cluster_source
from exporter.observe.sources.cluster import ClusterSeen

log = get_logger()

# A balancer in turn over five peers shows the first one again at the sixth connection. 1 ms each.
KNOCKS = 6


class ClusterWatch:
    """One cluster: its roster, its pollers and its deriver. Stores at construction, connects in `run`."""

    def __init__(
        self,
        *,
        settings: ClusterSettings,
        roster: Roster,
        board: Board,
        clock: Clock,
        off_loop: Callable[..., Awaitable[Any]],
        instance: str = "",
        also_expected: Callable[[], Expected] = none_besides,
    ) -> None:
        self.settings = settings
        self.roster = roster
        self._board = board
        self._clock = clock
        self._off_loop = off_loop
        self._deriver = ClusterDeriver(
            cluster=settings.name,
            selection=Selection(
                selects=settings.collections.selects,
                cap=settings.collections.cap,
                expected=settings.collections.expected,
                aliases_watched="aliases" not in settings.poll.disabled_sources,
                also_expected=also_expected,
            ),
        )
        self._polled: dict[str, Polled] = {}
        self._answers: dict[str, ClusterAnswer] = {}
        self._told: frozenset[Trouble] = frozenset()
        self._told_unwatched: frozenset[int] = frozenset()
        self._closed = False
        self._broken = ""  # the last derivation's failure, told once
        self._speaker = ""  # the peer that is asked for all
        self._derived_once = asyncio.Event()
        self.derived = Derived()
        forecast.keep_histories(board)
        self._last_seen = LastSeen(polled=lambda: self._polled)
        self._prober = Prober(
            cluster=settings.name,
            settings=settings.probes,
            instance=instance,
            known=self._last_seen,
            board=board,
            clock=clock,
        )

    async def run(self) -> None:
        """Watch until cancelled: targets come and go as the roster says."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.roster.run(self._ask))
                if self.settings.probes.enabled:
                    tasks.create_task(self._probe())
                while True:
                    await self._follow_roster(tasks)
                    await self.roster.wait_for_change()
        finally:
            await self.close()

    async def _probe(self) -> None:
        await self._derived_once.wait()  # which collections there are
        await self._prober.run()

    async def look_once(self) -> None:
        """Poll every target once, whom the cluster lists too, then what needs their answers."""
        await self.roster.refresh_dns()
        await asyncio.gather(*(self._knock(target) for target in self.roster.targets()))
        await self.roster.try_candidates(self._ask)
        polled: set[str] = set()
        # a first round finds peers that a second one has to poll; a third would find no new ones
        for _ in range(2):
            await self._follow_roster(None)
            new = [one for label, one in self._polled.items() if label not in polled]
            polled |= self._polled.keys()
            await asyncio.gather(*(one.poller.poll_once() for one in new))
            await self.roster.try_candidates(self._ask)
        await self._follow_roster(None)
        await self.derive(self._board.view())
        await asyncio.gather(*(one.poller.poll_rest_once() for one in self._polled.values()))
        await self.derive(self._board.view())

    async def derive(self, view: BoardView) -> None:
        """Derive the cluster from what the Board knows and put it there."""
        watched = {target.label: target.peer_id for target in self.roster.targets()}
        derived = await self._derived_from(view, watched)
        if self._closed:  # meanwhile the cluster was dropped: the Board must not hear of it again
            return
        self.derived = derived
        self._last_seen.derived(derived)
        if derived.collections_known is not None:
            self._derived_once.set()
        troubles = tuple(trouble_readings(self.settings.name, self.roster.troubles()))
        blocks = {**derived.blocks, "troubles": troubles}
        self._board.derive(self.settings.name, blocks, at_seconds=view.monotonic_seconds)
        self._tell_troubles()

    async def _derived_from(self, view: BoardView, watched: Mapping[str, int | None]) -> Derived:
        try:
            derived: Derived = await self._off_loop(self._deriver.derive, view, watched)
        except Exception as error:  # the boundary: a bug costs this cluster's numbers only
            if self._broken != repr(error):
                log.exception("derivation.broken", qdrant_cluster=self.settings.name)
            self._broken = repr(error)
            return Derived()
        self._broken = ""
        return derived

    async def close(self) -> None:
        """Close every connection, and derive no more."""
        self._closed = True
        for label in list(self._polled):
            await self._drop(label)

    @property
    def first_round_ended(self) -> bool:
        """Every target's first poll has ended, in success or failure."""
        return bool(self._polled) and all(one.poller.first_round.is_set() for one in self._polled.values())

    @property
    def probe_trouble(self) -> str:
        """What keeps the probes from their work and a person can mend; else ""."""
        return self._prober.trouble

    def pollers(self) -> Mapping[str, PeerPoller]:
        """Return the poller of every target, by label."""
        return {label: one.poller for label, one in self._polled.items()}

    def ask_of(self, peer: str) -> tuple[Sequence[str], Sequence[str], str]:
        """Return what the sources of a peer ask about, and why calls to other peers must fail now."""
        return self.derived.selected, self.derived.busy, self._unreachable_through()

    async def wait_until_derived(self) -> None:
        """Return when it is known which collections there are."""
        await self._derived_once.wait()

    def speaks_for_cluster(self, peer: str) -> bool:
        """One peer speaks for all while it is up; then the first that is."""
        return peer == self._speaker

    def _settle_speaker(self) -> None:
        up = [label for label, one in self._polled.items() if one.poller.up]
        if not up or self._speaker in up:
            return
        before, self._speaker = self._speaker, up[0]
        if before in self._polled:
            self._polled[before].poller.fall_silent()
        self._polled[up[0]].poller.wake()

    def _unreachable_through(self) -> str:
        if not any(answer.enabled for answer in self._answers.values()):
            return ""
        down = sorted(label for label, one in self._polled.items() if one.poller.up is False)
        return f"down: {', '.join(down)}" if down else ""

    async def _follow_roster(self, tasks: asyncio.TaskGroup | None) -> None:
        targets = {target.label: target for target in self.roster.targets()}
        for label, one in list(self._polled.items()):
            if label not in targets:
                await self._drop(label)
                self._board.forget(self.settings.name, label)
            elif _other_door(one.target, targets[label]):
                await self._drop(label)
        for label, target in targets.items():
            if label not in self._polled:
                self._polled[label] = self._start(target, tasks)
        # configured order, so that the same peer speaks for the cluster after a change
        self._polled = {label: self._polled[label] for label in targets}

    def _start(self, target: Target, tasks: asyncio.TaskGroup | None) -> Polled:
        poll = self.settings.poll
        gateway = gateway_to(target, self.settings, self._clock)
        sources = sources_of(target, poll.disabled_sources)
        poller = PeerPoller(
            cluster=self.settings.name,
            peer=target.label,
            gateway=gateway,
            sources=sources,
            pacer=Pacer(base_seconds=base_seconds(sources, poll), budget_ratio=poll.budget_ratio),
            limits=Limits(
                deadline_seconds=poll.deadline_seconds,
                fanout_deadline_seconds=poll.fanout_deadline_seconds,
            ),
            board=self._board,
            clock=self._clock,
            deployment=self,
            off_loop=self._off_loop,
            on_learnt=self._hear(target.label),
        )
        log.info(
            "peer.added", qdrant_cluster=self.settings.name, peer=target.label, origin=target.origin.value
        )
        return Polled(
            target,
            gateway,
            poller,
            lanes=lanes_to(target, self.settings, self._clock),
            writing=writing_lanes_to(target, self.settings, self._clock),
            task=tasks.create_task(poller.run()) if tasks else None,
        )

    async def _drop(self, label: str) -> None:
        one = self._polled.pop(label)
        self._answers.pop(label, None)
        self._last_seen.forget(label)
        try:
            if one.task is not None:
                one.task.cancel()
                await asyncio.wait({one.task})  # unlike `await one.task`, tells its cancellation from ours
        finally:
            await one.gateway.close()
            await one.lanes.close()
            await one.writing.close()
        log.info("peer.dropped", qdrant_cluster=self.settings.name, peer=label)

    def _hear(self, label: str) -> Callable[[str, Observation], None]:
        """Tell the roster what a peer answered to GET /cluster, and again with its process id."""

        def heard(source: str, observation: Observation) -> None:
            if self._last_seen.heard(label, source, observation):
                self._prober.look_at_segments()
            if source == "telemetry":
                self._settle_speaker()
            if observation.seen is None:
                return
            if source == "cluster":
                self._answers[label] = answer_of(observation.seen)
                self.roster.hear(label, self._answers[label], None)
            elif source == "telemetry" and label in self._answers:
                self.roster.hear(label, self._answers[label], observation.seen.process_id)
            self._tell_troubles()
            self._tell_unwatched()

        return heard

    def _tell_troubles(self) -> None:
        troubles = frozenset(self.roster.troubles())
        for trouble in troubles - self._told:
            log.error(
                "cluster.misconfigured",
                qdrant_cluster=trouble.cluster,
                kind=trouble.kind.value,
                peers=trouble.labels,
                error=trouble.text,
            )
        self._told = troubles

    def _tell_unwatched(self) -> None:
        unwatched = {one.peer_id: one for one in self.roster.unwatched() if one.tried}
        for peer_id in unwatched.keys() - self._told_unwatched:
            log.warning(
                "peer.unwatched",
                qdrant_cluster=self.settings.name,
                peer_id=peer_id,
                uri=unwatched[peer_id].uri,
                reason=unwatched[peer_id].reason,
            )
        self._told_unwatched = frozenset(unwatched)

    async def _knock(self, target: Target) -> None:
        """Ask a target who it is some times over: what time tells the daemon, one look must be told now."""
        for _ in range(KNOCKS):
            try:
                answer = await self._ask(target)
            except SourceError:
                return  # its poll will say why
            self.roster.hear(target.label, answer, None)

    async def _ask(self, target: Target) -> ClusterAnswer:
        """Ask GET /cluster where a peer may be, over a connection of its own."""
        try:
            gateway = gateway_to(target, self.settings, self._clock)
        except ValueError as error:  # a uri that the cluster lists, and no URL can be made of
            raise BadPayload(cluster_source.ENDPOINT, f"{target.label}: {error}") from error
        try:
            answer = await gateway.get(
                cluster_source.ENDPOINT,
                endpoint=cluster_source.ENDPOINT,
                deadline_seconds=self.settings.poll.fanout_deadline_seconds,
            )
            return answer_of(cluster_source.read(answer.body))
        finally:
            await gateway.close()


def _other_door(old: Target, new: Target) -> bool:
    return (old.url, old.address, old.key_allowed, old.storage_path) != (
        *(new.url, new.address, new.key_allowed, new.storage_path),
    )


def answer_of(seen: ClusterSeen) -> ClusterAnswer:
    """Return what the roster needs of GET /cluster."""
    return ClusterAnswer(
        enabled=seen.enabled,
        peer_id=seen.peer_id,
        peers=seen.peers,
        leader=seen.leader if seen.led else None,
        consensus_working=seen.working,
        term=seen.term,
        commit=seen.commit,
    )
