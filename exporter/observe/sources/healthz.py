"""GET /healthz: whether the peer's HTTP server answers at all, without a key."""

from __future__ import annotations

from exporter.model import MetricSpec, Reading
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach, peer_gauge

ENDPOINT = "/healthz"

ANSWERS = peer_gauge(
    "qdrantx_peer_answers",
    "Whether the peer's HTTP server answers its health check",
    "1 or 0",
    "GET /healthz",
)


class Healthz:
    """The answer says nothing of storage or consensus; a failure becomes 0 in the poller's hands."""

    name = "healthz"
    pace = Pace.FAST
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = (ANSWERS,)

    async def poll(self, ask: Ask) -> Learnt:
        await ask.gateway.get(ENDPOINT, endpoint=ENDPOINT, deadline_seconds=ask.deadline_seconds)
        return Learnt(True)


def answers(cluster: str, peer: str, *, answered: bool) -> Reading:
    """The reading of a peer whose newest health check was answered, or was not."""
    return Reading(ANSWERS, (cluster, peer), 1.0 if answered else 0.0)
