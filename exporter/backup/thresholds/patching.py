"""One PATCH of a collection's optimizer settings, sent once, and looked for on every peer that answers.

A server before 1.18.1 may answer only when all that its optimizers do is over, so the answer is not waited
for: what counts is what the peers say of the settings afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from exporter.backup.calling import Limits, may_have_been_done
from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.intents import as_patch, same
from exporter.backup.thresholds.optimizing import optimizing
from exporter.clock import Clock
from exporter.errors import SourceAuth, SourceError
from exporter.printable import printable
from exporter.qdrant import keeping


class Patched(StrEnum):
    """What became of a PATCH."""

    DONE = "done"  # every peer that answers has it
    REFUSED = "refused"  # nothing was done
    UNSEEN = "unseen"  # not on all of them, or nobody can say; it may still come


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome, with the reason where it is not done."""

    outcome: Patched
    reason: str = ""
    denied: bool = False  # the key may not


async def patch(
    peers: Sequence[PeerAt], collection: str, values: Mapping[str, float], *, limits: Limits, clock: Clock
) -> Sent:
    """Set fields by the first of the peers, and wait until all show them. Raises nothing.

    It is sent once: a second one would cancel what the first began.
    """
    asked = keeping.patch_collection(collection, as_patch(values))
    reason = ""
    try:
        await peers[0].courier.call(asked, deadline_seconds=limits.hello_seconds)
    except SourceError as error:
        if not may_have_been_done(error):
            return Sent(Patched.REFUSED, str(error), denied=isinstance(error, SourceAuth))
        reason = f"{printable(peers[0].label)}: {error}"
    until = clock.monotonic() + limits.call_seconds
    while behind := await _behind(peers, collection, values, limits):
        if clock.monotonic() >= until:
            return Sent(Patched.UNSEEN, reason or behind)
        await asyncio.sleep(limits.wait_seconds)
    return Sent(Patched.DONE)


async def _behind(
    peers: Sequence[PeerAt], collection: str, values: Mapping[str, float], limits: Limits
) -> str:
    """Say what is not there yet; "" where all that answer have it."""
    seen = await optimizing(peers, collection, limits)
    if not seen.exists:
        return "nobody who answers has the collection"
    for field, value in values.items():
        for said in seen.values_of(field):
            if said is None or not same(said, value):
                return f"{field} is {'unset' if said is None else f'{said:g}'}, and {value:g} was sent"
    return ""
