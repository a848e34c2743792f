"""Thresholds put back, at the first quiet moment and never before: a PATCH cancels what optimizers do.

By the vacuum or the import that changed them, and by a reconciler for those that were killed. Whoever is
cut short here leaves the intent open; nothing is sent on the way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from exporter.backup.calling import Limits
from exporter.backup.shelf import Shelf
from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.intents import FieldState, due, of_another, open_intents
from exporter.backup.thresholds.optimizing import Optimizing, optimizing
from exporter.backup.thresholds.patching import Patched, patch
from exporter.backup.words import ThresholdIntent
from exporter.clock import Clock
from exporter.errors import JobLocked
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()

# A run that follows another begins within milliseconds (seen on 1.18.3); what a flush or a writer begins
# comes with the flush interval, which is 5 s.
LOOK_SECONDS = 5.0
# A change whose answer was lost may wait in the consensus of a cluster that was busy or had no leader.
UNSEEN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class PutBack:
    """What became of one attempt."""

    collection: str
    done: bool  # no intent of the collection is open any more
    reason: str = ""  # why it is not done, for people
    foreign: tuple[str, ...] = ()  # fields that a person changed meanwhile: they were left


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be sent, if it is as quiet a moment later."""

    intents: tuple[ThresholdIntent, ...]
    seen: Optimizing
    values: Mapping[str, float]  # by field
    foreign: tuple[str, ...]


async def put_back(
    intent: ThresholdIntent,
    shelf: Shelf,
    peers: Sequence[PeerAt],
    clock: Clock,
    limits: Limits,
    *,
    look_seconds: float = LOOK_SECONDS,
) -> PutBack:
    """Try once to put a collection's thresholds back, and close its intents where that is done.

    The caller holds the collection's lock. Sends a PATCH only where two looks, so many seconds apart, find
    nothing that runs or waits. Raises StoreError.
    """
    attempt = _Attempt(intent, shelf, peers, clock, limits)
    first = await attempt.look()
    if isinstance(first, PutBack):
        return first
    await asyncio.sleep(look_seconds)
    second = await attempt.look()
    if isinstance(second, PutBack):
        return second
    return await attempt.send(second)


async def reconcile_thresholds(
    shelf: Shelf,
    peers: Sequence[PeerAt],
    *,
    cluster: str,
    locked: Callable[[str], AbstractAsyncContextManager[Any]],
    clock: Clock,
    limits: Limits,
    look_seconds: float = LOOK_SECONDS,
) -> tuple[PutBack, ...]:
    """Try once for every collection of the cluster with an open intent, each under its lock.

    `locked` takes a collection's name, and raises JobLocked where somebody works on it: that one is left
    to whoever does. Returns what became of each. Raises StoreError.
    """
    names = dict.fromkeys(one.collection for one in await shelf.thresholds() if one.cluster == cluster)
    results = []
    for name in names:
        try:
            async with locked(name):
                intents = await open_intents(shelf, cluster=cluster, collection=name)
                if intents:  # else its owner was quicker
                    results.append(
                        await put_back(intents[-1], shelf, peers, clock, limits, look_seconds=look_seconds)
                    )
        except JobLocked as error:
            results.append(PutBack(name, done=False, reason=str(error)))
    for result in results:
        if not result.done:
            log.info("thresholds.open", collection=printable(result.collection), reason=result.reason)
    return tuple(results)


class _Attempt:
    """One attempt."""

    def __init__(
        self,
        intent: ThresholdIntent,
        shelf: Shelf,
        peers: Sequence[PeerAt],
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._intent = intent
        self._shelf = shelf
        self._peers = peers
        self._clock = clock
        self._limits = limits

    async def look(self) -> PutBack | _Plan:
        """Look at the peers: close what is over, and say what is to be sent, or why nothing is."""
        seen = await optimizing(self._peers, self._intent.collection, self._limits)
        intents = await self._intents()
        if seen.is_gone:
            return await self._closed(intents, "thresholds.gone")
        if not seen.exists:
            return self._open(seen.why_not_quiet)
        stale = of_another(intents, seen.uuid)
        if stale:
            await self._closed(stale, "thresholds.gone")
        plan = planned([one for one in intents if one not in stale], seen, now=self._clock.now())
        if isinstance(plan, _Plan) and not plan.values:
            return await self._closed(plan.intents, "thresholds.closed", plan.foreign)
        return plan if isinstance(plan, _Plan) else self._open(plan)

    async def send(self, plan: _Plan) -> PutBack:
        """Put back what is due, and close the intents once every peer that answers has it."""
        by_label = {peer.label: peer for peer in self._peers}
        holders = [by_label[holder.label] for holder in plan.seen.holders]
        sent = await patch(
            holders, self._intent.collection, plan.values, limits=self._limits, clock=self._clock
        )
        if sent.outcome is Patched.DONE:
            return await self._closed(plan.intents, "thresholds.put_back", plan.foreign)
        return self._open(sent.reason, plan.foreign)

    async def _intents(self) -> list[ThresholdIntent]:
        """Return all of the collection, oldest first; the one that was given also where it cannot be read."""
        own = self._intent
        found = await open_intents(self._shelf, cluster=own.cluster, collection=own.collection)
        by_id = {own.id: own} | {one.id: one for one in found}
        return [by_id[key] for key in sorted(by_id)]

    async def _closed(
        self, intents: Sequence[ThresholdIntent], event: str, foreign: tuple[str, ...] = ()
    ) -> PutBack:
        collection = printable(self._intent.collection)
        for intent in intents:
            await self._shelf.close_thresholds(intent.id)
            log.info(event, collection=collection, intent=intent.id)
        if foreign:
            log.warning("thresholds.foreign", collection=collection, fields=foreign)
        return PutBack(self._intent.collection, done=True, foreign=foreign)

    def _open(self, reason: str, foreign: tuple[str, ...] = ()) -> PutBack:
        return PutBack(self._intent.collection, done=False, reason=reason, foreign=foreign)


def planned(intents: Sequence[ThresholdIntent], seen: Optimizing, *, now: float) -> _Plan | str:
    """Say what is to be put back, nothing where all is as it was; or why not now. Pure.

    `intents` of this collection, oldest first; `seen` has it. A peer that is silent may have been asked to
    change the settings and may yet do so, so nothing is over while there is one.
    """
    dues = due(intents)
    states = {field: one.state(seen.values_of(field)) for field, one in dues.items()}
    mixed = [field for field, state in states.items() if state is FieldState.MIXED]
    if mixed:
        return f"the peers disagree about {', '.join(mixed)}"
    values = {field: one.back for field, one in dues.items() if states[field] is FieldState.PUT}
    if values and seen.why_not_quiet:
        return seen.why_not_quiet
    if seen.silent:
        return next(f"{printable(label)} does not answer: {why}" for label, why in seen.silent.items())
    foreign = tuple(field for field, state in states.items() if state is FieldState.FOREIGN)
    if not values and any(0 <= now - (one.unseen_at or 0.0) < UNSEEN_SECONDS for one in intents):
        return "a change that was asked for and not seen may still come"
    return _Plan(tuple(intents), seen, values, foreign)
