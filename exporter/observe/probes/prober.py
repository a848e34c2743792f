"""All searches of one cluster's probes: what is due goes, on time, within the budget.

Every run is a task of its own with a connection of its own, so a probe that hangs delays no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporter.board import Board
from exporter.clock import Clock
from exporter.config.probes import ProbesSettings
from exporter.logs import get_logger
from exporter.model import ProducerKey, Tally
from exporter.observe.probes.book import PEER_DURATION, RECALL, SEARCH
from exporter.observe.probes.budget import Budget, Permit
from exporter.observe.probes.canary import Canary, Round
from exporter.observe.probes.canary_book import CANARY
from exporter.observe.probes.canary_rounds import CanaryRounds
from exporter.observe.probes.known import Known, ProbeTarget
from exporter.observe.probes.probed import Probed, Ran
from exporter.observe.probes.reasons import Failure, Skip
from exporter.observe.probes.schedule import SMALL_CHANGE, Due, Schedule
from exporter.observe.records import request_readings
from exporter.qdrant.canary import CANARY_COLLECTION
from exporter.qdrant.lanes import ClosedLanesError

log = get_logger()

# How often is looked for collections and peers that came or went: they do so with the polls.
FOLLOW_SECONDS = 1.0
# How often intervals are brought to what probes cost: 10 us a probe, and costs move slowly.
STRETCH_SECONDS = 5.0
# So many collections are looked at, or told of, in one go, 20 to 100 us each: a thousand at once would
# keep probes that are due waiting.
LOOKS_AT_ONCE = 50
LOOK_PAUSE_SECONDS = 0.02
# A failure of one kind through one peer is told once in so long: a thousand collections share an outage.
TOLD_AGAIN_SECONDS = 600.0


class ProbeKey(NamedTuple):
    """One probe of one collection."""

    collection: str
    probe: str


CANARY_KEY = ProbeKey(CANARY_COLLECTION, CANARY)


class Prober:
    """Probes one cluster until cancelled. `instance` marks what it writes. Belongs to the event loop."""

    def __init__(
        self,
        *,
        cluster: str,
        settings: ProbesSettings,
        instance: str,
        known: Known,
        board: Board,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._known = known
        self._board = board
        self._clock = clock
        self._schedule: Schedule[ProbeKey] = Schedule()
        self._budget: Budget[ProbeKey] = Budget(
            ratio=settings.budget_ratio,
            concurrent=settings.concurrent,
            kind_of=lambda key: key.probe,
        )
        self._probed: dict[str, Probed] = {}
        self._peers: dict[str, Tally] = {}
        self._followed = -1  # up to which news
        self._planned: Mapping[ProbeKey, float] = {}
        self._planned_peers: Sequence[str] = ()
        self._stretched_at_seconds = float("-inf")
        self._to_look_at: deque[str] = deque()  # collections whose segments were told anew
        self._to_post: deque[ProbeKey] = deque()  # probes that are new, or have another interval
        self._told_intervals: dict[ProbeKey, float] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._canary_began = False
        self._canary: CanaryRounds | None = None
        if settings.canary.enabled:
            canary = Canary(instance=instance, deadline_seconds=settings.canary.deadline_seconds, clock=clock)
            self._canary = CanaryRounds(cluster=cluster, canary=canary, known=known)

    @property
    def trouble(self) -> str:
        """What a person should do, or ""."""
        return "" if self._canary is None else self._canary.trouble

    async def run(self) -> None:
        """Probe until cancelled. A probe's failure is data; a bug in one costs that run and is logged."""
        async with asyncio.TaskGroup() as runs:
            while True:
                try:
                    self._look_around(runs)
                except Exception:  # the boundary: a bug here must not end the daemon
                    log.exception("probe.broken", qdrant_cluster=self._cluster)
                    await asyncio.sleep(FOLLOW_SECONDS)
                await asyncio.sleep(self._pause_seconds())

    def _look_around(self, runs: asyncio.TaskGroup) -> None:
        """Follow what changed, and let go what is due."""
        now = self._clock.monotonic()
        for due in self._schedule.due(now):  # first: a beat that is moved was not missed
            self._begin(due, runs, now)
        self._follow(now)
        if now - self._stretched_at_seconds >= STRETCH_SECONDS:
            self._stretch(now)
        if self._canary is not None and not self._canary_began:
            # as soon as it can: what its key may not do is said at the start
            self._begin_canary(self._canary, 0, runs, now)
        self._look_at_some()
        self._post_some()

    def look_at_segments(self) -> None:
        """Segments were told anew: compare what they served with what we asked, for the likely plan."""
        self._to_look_at = deque(name for name, probed in self._probed.items() if RECALL in probed.probes)

    def _look_at_some(self) -> None:
        for _ in range(min(LOOKS_AT_ONCE, len(self._to_look_at))):
            name = self._to_look_at.popleft()
            replicas = self._known.segments_of(name)
            probed, key = self._probed.get(name), ProbeKey(name, RECALL)
            if replicas is None or probed is None:
                continue
            if probed.look_at_segments(replicas) and key in self._schedule:
                self._post(key, probed)

    def _post_some(self) -> None:
        for _ in range(min(LOOKS_AT_ONCE, len(self._to_post))):
            key = self._to_post.popleft()
            if key in self._schedule and key.collection in self._probed:
                self._post(key, self._probed[key.collection])

    def _pause_seconds(self) -> float:
        """How long nothing is to be done, at most until collections are looked for again."""
        longest = LOOK_PAUSE_SECONDS if self._to_look_at or self._to_post else FOLLOW_SECONDS
        next_due = self._schedule.next_due_seconds()
        pause = longest if next_due is None else next_due - self._clock.monotonic()
        return max(0.0, min(pause, longest))

    def _follow(self, now: float) -> None:
        """Bring what is probed to the collections and peers in force."""
        news = self._known.news()
        if news == self._followed:
            return
        self._followed = news
        labels = tuple(target.label for target in self._known.probe_targets())
        wanted = {
            name: (settings, told)
            for name in self._known.collections_to_probe()
            if (settings := self._settings.of(name)) is not None
            and (told := self._known.collection_seen(name)) is not None
        }
        for gone in self._probed.keys() - wanted.keys():
            del self._probed[gone]
        share_bytes = self._settings.pool_limit_bytes // max(1, len(wanted))
        for name, (settings, told) in wanted.items():
            if name not in self._probed:
                self._probed[name] = Probed(name=name, settings=settings, seen=told, clock=self._clock)
            self._probed[name].update(told, share_bytes)
        for gone_peer in self._peers.keys() - set(labels):
            del self._peers[gone_peer]
        self._plan(labels, now)

    def _plan(self, peers: Sequence[str], now: float) -> None:
        """Schedule and account for every probe of the collections in force."""
        wanted = {
            ProbeKey(name, probe): probed.interval_seconds(probe)
            for name, probed in self._probed.items()
            for probe in probed.probes
        }
        if self._canary is not None:
            wanted[CANARY_KEY] = self._settings.canary.interval_seconds
            self._canary.keep(peers)
        if (peers, wanted) != (self._planned_peers, self._planned):
            for gone in self._planned.keys() - wanted.keys():
                self._board.withdraw(self._producer(gone))
                self._told_intervals.pop(gone, None)
            self._planned_peers, self._planned = peers, wanted
            loads = dict(wanted)
            if self._canary is not None:  # a search goes to one peer, a round to all
                loads[CANARY_KEY] /= max(1, len(peers))
            self._budget.keep(loads, peers)
            self._stretch(now)

    def _stretch(self, now: float) -> None:
        """Bring the intervals to what the probes cost now and the peers that answer can bear."""
        self._stretched_at_seconds = now
        usable = sum(target.up is not False for target in self._known.probe_targets())
        factors = self._budget.stretches(usable)
        in_force = {key: interval * factors.get(key, 1.0) for key, interval in self._planned.items()}
        self._schedule.keep(in_force, now)
        for key, interval in in_force.items():
            told = self._told_intervals.get(key, 0.0)
            if not SMALL_CHANGE * told <= interval <= told / SMALL_CHANGE:
                self._told_intervals[key] = interval
                self._to_post.append(key)

    def _begin(self, due: Due[ProbeKey], runs: asyncio.TaskGroup, now: float) -> None:
        """Let one probe go that is due, or note why it does not."""
        key = due.key
        if self._canary is not None and key == CANARY_KEY:
            self._begin_canary(self._canary, due.missed, runs, now)
            return
        probed = self._probed[key.collection]
        if due.missed:
            probed.skipped(key.probe, Skip.LATE, due.missed)
        target = self._next_peer(probed.next_turn(key.probe))
        if target is None:  # a cluster without a single peer: DNS has not answered yet
            self._post(key, probed)
            return
        why_not = probed.why_not(key.probe, self._known.points_of(key.collection))
        if why_not is None:
            granted = self._budget.admit(key, target.label, now, exact=probed.is_exact(key.probe))
            if isinstance(granted, Permit):
                runs.create_task(self._run(granted, probed, target), name=f"probe {self._cluster}")
                return
            why_not = granted
            # at its own beat a probe might always meet the same others; but searches that a slow peer
            # holds up are to be missed when they were due, not heaped up behind it
            if why_not is Skip.BUDGET or (why_not is Skip.CONCURRENCY and key.probe == RECALL):
                self._schedule.try_again(key, now)
        if not due.again:
            probed.skipped(key.probe, why_not)
        self._post(key, probed)

    def _begin_canary(self, canary: CanaryRounds, missed: int, runs: asyncio.TaskGroup, now: float) -> None:
        """Let a round of the canary go through every peer that is up, or note why it does not."""
        canary.missed(missed)
        targets = canary.targets()
        granted: list[Permit[ProbeKey]] = []
        for target in targets:
            permit = self._budget.admit(CANARY_KEY, target.label, now, exact=False)
            if isinstance(permit, Permit):
                granted.append(permit)
                continue
            for given in granted:
                self._budget.never_was(given)
            canary.skipped(permit)
            targets = ()
            break
        if targets:
            self._canary_began = True
            runs.create_task(self._run_canary(canary, targets, granted), name=f"canary {self._cluster}")
        else:
            self._post_canary(canary)

    async def _run_canary(
        self, canary: CanaryRounds, targets: Sequence[ProbeTarget], granted: Sequence[Permit[ProbeKey]]
    ) -> None:
        made = Round()
        try:
            made = await canary.run(targets)
            if made.asked_to_rest:
                self._budget.rest(CANARY_KEY, made.rest_seconds, self._clock.monotonic())
            self._post_canary(canary)
            for target in targets:
                self._post_peer(target)
        except Exception:  # the boundary: a bug in one round must not end the probes
            log.exception("probe.broken", qdrant_cluster=self._cluster, collection=CANARY_COLLECTION)
        finally:
            for permit in granted:
                self._budget.ended(permit, made.cost_seconds.get(permit.peer))

    def _post_canary(self, canary: CanaryRounds) -> None:
        readings = tuple(canary.readings(self._schedule.interval_seconds(CANARY_KEY)))
        self._board.post(self._producer(CANARY_KEY), readings, wakes=False)

    def _next_peer(self, turn: int) -> ProbeTarget | None:
        """The peer in turn, or the next that is not known to be down; where all are, the one in turn."""
        targets = self._known.probe_targets()
        if not targets:
            return None
        in_turn = [targets[(turn + offset) % len(targets)] for offset in range(len(targets))]
        return next((target for target in in_turn if target.up is not False), in_turn[0])

    async def _run(self, permit: Permit[ProbeKey], probed: Probed, target: ProbeTarget) -> None:
        """One run, from its sample to its readings."""
        key, cost = permit.key, None
        try:
            state = self._known.state_of(key.collection) if key.probe == RECALL else None
            ran = await probed.run(key.probe, target.lanes, target.version, state)
            cost = ran.cost_seconds
            self._note(key, target, ran)
            if self._probed.get(key.collection) is probed and key in self._schedule:  # not dropped meanwhile
                self._post(key, probed)
            self._post_peer(target)
        except ClosedLanesError:  # the peer was dropped, or has another door now: nothing was learnt
            log.debug("probe.dropped", qdrant_cluster=self._cluster, peer=target.label)
        except Exception:  # the boundary: a bug in one run must not end the others
            log.exception("probe.broken", qdrant_cluster=self._cluster, collection=key.collection)
        finally:
            self._budget.ended(permit, cost)

    def _note(self, key: ProbeKey, target: ProbeTarget, ran: Ran) -> None:
        """Take from a run what concerns more than its collection."""
        if ran.measured_seconds is not None:
            self._peers.setdefault(target.label, Tally(PEER_DURATION)).add(ran.measured_seconds)
        if ran.failed is None:
            return
        now = self._clock.monotonic()
        if ran.outcome is Failure.RATE_LIMITED:
            for probe in (SEARCH, RECALL):  # the limit is the collection's
                self._budget.rest(key._replace(probe=probe), ran.failed.retry_after_seconds, now)
        reason = str(ran.outcome)
        told = self._told.get((target.label, reason))
        news = told is None or now - told >= TOLD_AGAIN_SECONDS
        if news:
            self._told[target.label, reason] = now
        (log.warning if news else log.debug)(
            "probe.failed",
            qdrant_cluster=self._cluster,
            peer=target.label,
            collection=key.collection,
            probe=key.probe,
            reason=reason,
            error=str(ran.failed.failure),
            took_seconds=round(ran.failed.timed.took_seconds, 4),
        )

    def _post(self, key: ProbeKey, probed: Probed) -> None:
        interval = self._schedule.interval_seconds(key)
        readings = tuple(probed.readings(key.probe, self._cluster, interval))
        self._board.post(self._producer(key), readings, wakes=False)

    def _post_peer(self, target: ProbeTarget) -> None:
        if all(target.label != one.label for one in self._known.probe_targets()):
            return  # dropped meanwhile: the Board has forgotten it
        labels = (self._cluster, target.label)
        sent = dict(target.lanes.counts())
        for key, count in target.writing.counts().items():
            sent[key] = sent.get(key, 0) + count
        readings = list(request_readings(*labels, sent))
        tally = self._peers.get(target.label)
        if tally is not None:
            readings += tally.readings((*labels, SEARCH))
        self._board.post(ProducerKey(*labels, "probes"), tuple(readings), wakes=False)

    def _producer(self, key: ProbeKey) -> ProducerKey:
        return ProducerKey(self._cluster, "", f"{key.probe}:{key.collection}")
