"""One look at a deployment with everything that the daemon has: sources, roster, Board, deriver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from exporter.board import Board
from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings, CollectionSettings, PollSettings
from exporter.config.secret import Secret
from exporter.observe.fleet import Fleet
from exporter.observe.roster import Trouble, Unwatched
from exporter.qdrant.door import Door
from exporter.qdrant.gateway import Gateway
from exporter.status import failing_sources
from tests.contract.ground import Qdrant
from tests.kit.derivation import series
from tests.kit.gateways import LIMIT_BYTES
from tests.kit.watching import Watching, cluster_of

# A real server under test shares a machine with the test: slow is not wrong.
PATIENT = PollSettings()
QUICK = PollSettings(
    fast_seconds=0.15, medium_seconds=0.3, slow_seconds=0.6,
    deadline_seconds=10, fanout_deadline_seconds=5, budget_ratio=0.5,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """What one full poll told. `readings` by short names, as in the derivation kit."""

    readings: Mapping[str, float]
    failing: Sequence[tuple[str, str, str]]  # (peer, source, why)
    unsupported: frozenset[str]  # sources
    unwatched: Sequence[Unwatched]
    troubles: Sequence[Trouble]

    def of(self, metric: str) -> dict[str, float]:
        """The readings of one metric, by what stands between the braces."""
        return {
            name.removeprefix(metric).strip("{}"): value
            for name, value in self.readings.items()
            if name.partition("{")[0] == metric
        }

    def of_collection(self, metric: str, name: str) -> dict[str, float]:
        """The readings of one metric of one collection, by the labels after its name."""
        mark = f"collection={name}"
        return {
            labels.removeprefix(mark).removeprefix(","): value
            for labels, value in self.of(metric).items()
            if labels == mark or labels.startswith(f"{mark},")
        }

    def number(self, metric: str, name: str) -> float:
        """A collection's one reading of a metric."""
        return self.readings[f"{metric}{{collection={name}}}"]


async def look_at(qdrant: Qdrant, *, urls: Sequence[str] | None = None) -> Look:
    """Poll everything once, as the verb `once` does."""
    board = Board(clock=SystemClock())
    fleet = Fleet(board=board, clock=SystemClock(), off_loop=asyncio.to_thread, patience_seconds=0.0)
    (watch,) = fleet.build([settings_for(qdrant, urls=urls)]).values()
    try:
        await watch.look_once()
        return Look(
            readings={series(one): one.value for _, block in board.view().blocks() for one in block},
            failing=failing_sources(watch.pollers()),
            unsupported=frozenset(
                name
                for poller in watch.pollers().values()
                for name, record in poller.records.items()
                if not record.supported
            ),
            unwatched=watch.roster.unwatched(),
            troubles=watch.roster.troubles(),
        )
    finally:
        await watch.close()


def watching(qdrant: Qdrant) -> Watching:
    """The daemon's watch on a deployment, polling many times a second."""
    return Watching(settings_for(qdrant, poll=QUICK))


def settings_for(qdrant: Qdrant, *, urls: Sequence[str] | None = None, **options: Any) -> ClusterSettings:
    """Settings that watch the collections of this test and no others."""
    key = None if qdrant.api_key is None else Secret(qdrant.api_key)
    options.setdefault("poll", PATIENT)
    collections = CollectionSettings(include=(f"{qdrant.prefix}*",))
    return cluster_of(*(urls or qdrant.urls), collections=collections, api_key=key, **options)


@asynccontextmanager
async def gateway_to(qdrant: Qdrant, **secrets: str) -> AsyncIterator[Gateway]:
    """A gateway to the first peer; with no other secrets than these."""
    door = Door(url=qdrant.urls[0], **secrets)
    gateway = Gateway(
        door=door,
        clock=SystemClock(),
        response_limit_bytes=LIMIT_BYTES,
        fast_seconds=PATIENT.fast_seconds,
    )
    try:
        yield gateway
    finally:
        await gateway.close()


def key_of(qdrant: Qdrant) -> dict[str, str]:
    """The secrets that open a deployment."""
    return {} if qdrant.api_key is None else {"api_key": qdrant.api_key}
