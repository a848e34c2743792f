"""What the jobs' key may do, asked at start: at 02:00 it would be too late.

Each question is one that changes nothing, and that a key without the right is refused before anybody looks
at it (seen on 1.18.3): a snapshot of a collection that does not exist is 404 with the right and 403
without, and so is a change of no aliases at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.backup.survey import PeerAt
from exporter.errors import SourceAuth, SourceError, SourceRefused, SourceUnsupported
from exporter.qdrant import keeping
from exporter.qdrant.asked import Asked

# In the server's own metrics this name then has a counter of snapshots; it shall be told whose it is.
NOBODYS_COLLECTION = "_qdrantx_rights"
DEADLINE_SECONDS = 10.0

# Of an answer like these: the key was let in, and the server looked at the request.
_LET_IN = range(400, 500)


@dataclass(frozen=True, slots=True)
class Need:
    """A right, in words, and the question that shows it."""

    words: str
    asked: Asked


READS = Need("read the list of collections", keeping.collections())
WATCHES = Need("read telemetry", keeping.telemetry())
SNAPSHOTS = Need(
    "take snapshots (write access to the collections)", keeping.create_snapshot(NOBODYS_COLLECTION)
)
MANAGES = Need("create collections (manage access)", keeping.change_aliases(()))
# Whoever may manage may do both: 1.18.3 refuses either with the same words.
CHANGES = Need("change settings of collections (manage access)", keeping.change_aliases(()))


@dataclass(frozen=True, slots=True)
class Rights:
    """What was found out."""

    known: bool  # a peer answered all of it
    missing: tuple[str, ...] = ()  # in words


async def rights(needs: Iterable[Need], peers: Sequence[PeerAt]) -> Rights:
    """Ask the first peer that answers everything whether the key may do it."""
    wanted = tuple(needs)
    for peer in peers:
        answers = [await _is_allowed(peer, need) for need in wanted]
        if None not in answers:
            missing = [need.words for need, allowed in zip(wanted, answers, strict=True) if not allowed]
            return Rights(known=True, missing=tuple(missing))
    return Rights(known=not wanted)


async def _is_allowed(peer: PeerAt, need: Need) -> bool | None:
    """Return whether the key may; None where this peer cannot say."""
    try:
        await peer.courier.call(need.asked, deadline_seconds=DEADLINE_SECONDS)
    except SourceAuth:
        return False
    except SourceRefused as error:
        return True if error.status in _LET_IN and error.status != 429 else None
    except SourceUnsupported:
        return True
    except SourceError:
        return None
    return True
