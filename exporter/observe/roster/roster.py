"""The roster of one cluster: the shell that asks, looks up and keeps what the decisions say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from exporter.clock import Clock
from exporter.config.clusters import ClusterSettings
from exporter.errors import SourceError
from exporter.observe.roster.candidates import Candidate, Moment, Outcome, after, candidates
from exporter.observe.roster.hearing import forgotten, heard_from, look_up_failed, looked_up, restored
from exporter.observe.roster.knowledge import Heard, Knowledge
from exporter.observe.roster.lookup import Resolve
from exporter.observe.roster.places import dns_name
from exporter.observe.roster.troubles import troubles
from exporter.observe.roster.watching import peers_known, targets, unwatched
from exporter.observe.roster.words import ClusterAnswer, Target, Trouble, Unwatched
from exporter.state import KnownPeer, KnownPeerChanges

# Asks GET /cluster at a target, within a deadline of its own, or raises SourceError.
Ask = Callable[[Target], Awaitable[ClusterAnswer]]

# Pods move within a minute; DNS answers are cached for 30 s where clusters run (CoreDNS' default).
REFRESH_SECONDS = 30.0
# A resolver tries its servers for 5 s each: a name that takes longer has a dead one in front.
LOOKUP_DEADLINE_SECONDS = 5.0
# A list that changes with every answer must not make us ask without a pause.
SHORTEST_PAUSE_SECONDS = 1.0
# A peer that just started lists nobody but itself until it has joined.
JOINING_PATIENCE_SECONDS = 60.0
# Enough for a person to see how old a memory is; each poll would be a disk flush.
LAST_SEEN_GRAIN_SECONDS = 600.0
# Connections opened at once: a cluster of a hundred must not meet a burst from us.
ASKED_AT_ONCE = 8


class Roster:
    """Whom to watch in one cluster.

    Belongs to the event loop. `run` polls its targets, tells it each answer of GET /cluster by
    `hear`, keeps `run()` going and stores `changes()`. One look (`once`) calls `refresh_dns`
    and `try_candidates` itself, and again after the first answers, with no patience.
    """

    def __init__(
        self,
        *,
        settings: ClusterSettings,
        clock: Clock,
        resolve: Resolve,
        remembered: Sequence[KnownPeer] = (),
        patience_seconds: float = JOINING_PATIENCE_SECONDS,
    ) -> None:
        self._clock = clock
        self._resolve = resolve
        self._patience_seconds = patience_seconds
        self._stored = {peer.label: peer for peer in remembered if peer.cluster == settings.name}
        self._known = restored(settings, remembered)
        self._targets = targets(self._known, clock.monotonic())
        self._listing = self._known.listing(clock.monotonic())
        self._changed = asyncio.Event()
        self._worth_asking = asyncio.Event()

    def targets(self) -> tuple[Target, ...]:
        """Return the peers to poll, each label once."""
        return self._targets

    def unwatched(self) -> tuple[Unwatched, ...]:
        """Return the listed peers that are no target, and how to change that."""
        return unwatched(self._known, self._clock.monotonic())

    def troubles(self) -> tuple[Trouble, ...]:
        """Return what is wrong with the addresses that were given."""
        now = self._clock.monotonic()
        return troubles(self._known, now, patience_seconds=self._patience_seconds)

    def peers_known(self) -> int | None:
        """Return how many peers the cluster has, watched or not; None before any answer."""
        return peers_known(self._known, self._clock.monotonic())

    async def wait_for_change(self) -> None:
        """Return when `targets()` differs from what it was at the last return. For one waiter."""
        await self._changed.wait()
        self._changed.clear()

    def hear(self, label: str, answer: ClusterAnswer, process_id: str | None) -> None:
        """Take in what a target answered to GET /cluster.

        `process_id` is the id that GET /telemetry gave since that answer, None where it has not:
        an older one would make a restart look like a load balancer. The same answer may be heard
        again when the process id comes. A label that is no target (any more) changes nothing.
        """
        heard = Heard(answer, process_id, self._clock.monotonic())
        self._keep(heard_from(self._known, label, heard, unix_seconds=self._clock.now()))

    def forget(self, label: str) -> bool:
        """Drop a target that was found, until it answers again. False: no such, or configured."""
        before = self._known
        self._keep(forgotten(self._known, label))
        return self._known.found != before.found

    async def run(self, ask: Ask) -> None:
        """Refresh DNS and try candidates for ever, each 30 s and when the cluster's list changes."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_looking_up())
            tasks.create_task(self._keep_trying(ask))

    async def refresh_dns(self) -> None:
        """Look up every DNS name, side by side and within 5 s. A failure keeps the last list."""
        await asyncio.gather(*(self._look_up(url) for url in self._known.settings.dns))

    async def try_candidates(self, ask: Ask) -> None:
        """Ask whoever may be a peer, eight at a time, and take in those who are."""
        places = asyncio.Semaphore(ASKED_AT_ONCE)

        async def tried(candidate: Candidate) -> None:
            async with places:
                outcome = await _outcome(ask, candidate)
            at = Moment(self._clock.monotonic(), self._clock.now())
            self._keep(after(self._known, outcome, at))

        waiting = candidates(self._known, self._clock.monotonic())
        await asyncio.gather(*(tried(candidate) for candidate in waiting))
        self._keep(self._known)

    def known_peers(self) -> tuple[KnownPeer, ...]:
        """Return every peer ever met and not forgotten: what a successor of this roster starts from."""
        peers = (*self._known.written.values(), *self._known.found.values())
        return tuple({peer.label: peer for peer in peers}.values())

    def changes(self) -> KnownPeerChanges:
        """Return what the state directory does not have yet. Stays so until `saved` says it has."""
        rows = {peer.label: peer for peer in self.known_peers()}
        return KnownPeerChanges(
            self._known.settings.name,
            remember=tuple(
                peer for peer in rows.values() if _worth_storing(peer, self._stored.get(peer.label))
            ),
            forget=tuple(sorted(self._stored.keys() - rows.keys())),
        )

    def saved(self, changes: KnownPeerChanges) -> None:
        """Take note that these changes are in the state directory."""
        for label in changes.forget:
            self._stored.pop(label, None)
        self._stored |= {peer.label: peer for peer in changes.remember}

    async def _keep_looking_up(self) -> None:
        while self._known.settings.dns:
            await self.refresh_dns()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _keep_trying(self, ask: Ask) -> None:
        while True:
            self._worth_asking.clear()
            await self.try_candidates(ask)
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._worth_asking.wait()
                    await asyncio.sleep(SHORTEST_PAUSE_SECONDS)

    async def _look_up(self, url: str) -> None:
        try:
            async with asyncio.timeout(LOOKUP_DEADLINE_SECONDS):
                addresses = await self._resolve(*dns_name(url))
        except TimeoutError:
            reason = f"no answer within {LOOKUP_DEADLINE_SECONDS:.0f} s"
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            if addresses:
                self._keep(looked_up(self._known, url, addresses, self._clock.monotonic()))
                return
            reason = "it has no address"
        self._keep(look_up_failed(self._known, url, reason))

    def _keep(self, known: Knowledge) -> None:
        now = self._clock.monotonic()
        if known.resolved != self._known.resolved:
            self._worth_asking.set()
        self._known = known
        listing = known.listing(now)
        if listing != self._listing:
            self._listing = listing
            self._worth_asking.set()
        chosen = targets(known, now)
        if chosen != self._targets:
            self._targets = chosen
            self._changed.set()


async def _outcome(ask: Ask, candidate: Candidate) -> Outcome:
    reasons = list(candidate.refusals)
    for door in candidate.doors:
        try:
            answer = await ask(door)
        except SourceError as error:
            reasons.append(f"{door.url} did not answer ({error.detail})")
            continue
        if candidate.peer_id in (None, answer.peer_id):
            return Outcome(candidate, door, answer)
        who = f"peer {answer.peer_id}" if answer.enabled else "a server without a cluster"
        reasons.append(f"{door.url} is {who}")
    return Outcome(candidate, reason="; ".join(reasons))


def _worth_storing(peer: KnownPeer, stored: KnownPeer | None) -> bool:
    if stored is None:
        return True
    same = (peer.url, peer.address, peer.peer_id, peer.origin) == (
        *(stored.url, stored.address, stored.peer_id, stored.origin),
    )
    return not same or peer.last_seen_seconds - stored.last_seen_seconds >= LAST_SEEN_GRAIN_SECONDS
