"""GET /issues: what the server itself complains of, kept in the memory of each peer."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.model import MetricSpec
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach
from exporter.qdrant.payloads import Issues, result

ENDPOINT = "/issues"


@dataclass(frozen=True, slots=True)
class IssuesSeen:
    """Issue ids such as "UNINDEXED_FIELD/…": the part before the slash is the code."""

    ids: frozenset[str]


class IssuesSource:
    """Told per cluster, since one query may raise the same issue on many peers."""

    name = "issues"
    pace = Pace.SLOW
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = ()

    async def poll(self, ask: Ask) -> Learnt:
        answer = await ask.gateway.get(ENDPOINT, endpoint=ENDPOINT, deadline_seconds=ask.deadline_seconds)
        return Learnt(read(answer.body))


def read(body: bytes) -> IssuesSeen:
    """Understand GET /issues. Raises BadPayload."""
    return IssuesSeen(frozenset(issue.id for issue in result(body, Issues, ENDPOINT).issues))
