"""What every source is: a name, a pace, whom it speaks for, and `poll`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from exporter.errors import BadPayload
from exporter.model import CLUSTER_LABEL, Fault, Kind, MetricSpec, Reading
from exporter.qdrant.answers import Answer
from exporter.qdrant.gateway import Gateway
from exporter.qdrant.versions import Version

# Enough to find the pattern; a log line must not grow with the deployment.
ODD_NAMES_TOLD = 3

PEER_LABELS = (CLUSTER_LABEL, "peer")


class Pace(StrEnum):
    """Which of the three configured intervals a source keeps to while the budget allows."""

    FAST = "fast"
    MEDIUM = "medium"
    SLOW = "slow"


class Reach(StrEnum):
    """Whom one answer speaks for."""

    PEER = "peer"  # asked of every peer
    CLUSTER = "cluster"  # asked of one answering peer, which speaks for all


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one poll brought. Faults beside `seen`: a part of the calls failed."""

    seen: Any
    readings: tuple[Reading, ...] = ()
    faults: tuple[Fault, ...] = ()


class Metered:
    """A gateway that adds up what one poll's answers took the server, waiting in line left out."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.server_seconds = 0.0

    async def get(self, path: str, *, endpoint: str, deadline_seconds: float) -> Answer:
        """As Gateway.get."""
        answer = await self._gateway.get(path, endpoint=endpoint, deadline_seconds=deadline_seconds)
        self.server_seconds += answer.took_seconds
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a source gets to ask with."""

    gateway: Metered
    cluster: str
    peer: str
    version: Version | None
    deadline_seconds: float  # one call that this peer answers by itself
    fanout_deadline_seconds: float  # one call for which the server asks other peers
    collections: Sequence[str]  # those of the cluster to ask about, in order
    own_collections: Sequence[str]  # all that this peer knows of, excluded ones too
    busy_collections: Sequence[str]  # of those, the ones that are not green everywhere
    unreachable_through: str  # why calls to other peers must fail now; "" when they need not
    off_loop: Callable[..., Awaitable[Any]]  # run a pure function beside the event loop


class Source(Protocol):
    """One thing polled. `poll` raises SourceError where nothing at all could be learnt."""

    name: str
    pace: Pace
    reach: Reach
    specs: tuple[MetricSpec, ...]

    async def poll(self, ask: Ask) -> Learnt: ...


def odd(endpoint: str, what: str, names: Sequence[str]) -> tuple[Fault, ...]:
    """Return the one fault of parts that do not read, naming the first few: there may be thousands."""
    if not names:
        return ()
    first = ", ".join(repr(name) for name in names[:ODD_NAMES_TOLD])
    more = f" and {len(names) - ODD_NAMES_TOLD} more" if len(names) > ODD_NAMES_TOLD else ""
    return (BadPayload(endpoint, f"{what} {first}{more}: not as expected").fault(),)


def peer_gauge(name: str, what: str, unit: str, source: str, *more_labels: str) -> MetricSpec:
    """Declare a gauge of one peer."""
    return MetricSpec(name, Kind.GAUGE, what, unit, source, (*PEER_LABELS, *more_labels))
