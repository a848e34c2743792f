"""GET /aliases: second names of collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.model import MetricSpec
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach
from exporter.qdrant.payloads import Aliases, result

ENDPOINT = "/aliases"


@dataclass(frozen=True, slots=True)
class AliasesSeen:
    """Collection by alias."""

    collections: Mapping[str, str]


class AliasesSource:
    """Consensus holds the aliases: one answering peer speaks for all."""

    name = "aliases"
    pace = Pace.SLOW
    reach = Reach.CLUSTER
    specs: tuple[MetricSpec, ...] = ()

    async def poll(self, ask: Ask) -> Learnt:
        answer = await ask.gateway.get(ENDPOINT, endpoint=ENDPOINT, deadline_seconds=ask.deadline_seconds)
        return Learnt(read(answer.body))


def read(body: bytes) -> AliasesSeen:
    """Understand GET /aliases. Raises BadPayload."""
    aliases = result(body, Aliases, ENDPOINT).aliases
    return AliasesSeen({alias.alias_name: alias.collection_name for alias in aliases})
