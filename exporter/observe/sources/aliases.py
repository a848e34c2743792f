"""GET /aliases: second names of collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach
from exporter.qdrant.payloads import Aliases, result

ENDPOINT = "/aliases"

INFO = MetricSpec(
    "qdrantx_alias_info",
    Kind.GAUGE,
    "An alias and the collection behind it",
    "1",
    "GET /aliases",
    (CLUSTER_LABEL, "alias", "collection"),
)


@dataclass(frozen=True, slots=True)
class AliasesSeen:
    """Collection by alias."""

    collections: Mapping[str, str]


class AliasesSource:
    """Consensus holds the aliases: one answering peer speaks for all."""

    name = "aliases"
    pace = Pace.SLOW
    reach = Reach.CLUSTER
    specs: tuple[MetricSpec, ...] = (INFO,)

    async def poll(self, ask: Ask) -> Learnt:
        answer = await ask.gateway.get(ENDPOINT, endpoint=ENDPOINT, deadline_seconds=ask.deadline_seconds)
        seen = read(answer.body)
        return Learnt(
            seen,
            tuple(
                Reading(INFO, (ask.cluster, alias, collection), 1.0)
                for alias, collection in seen.collections.items()
            ),
        )


def read(body: bytes) -> AliasesSeen:
    """Understand GET /aliases. Raises BadPayload."""
    aliases = result(body, Aliases, ENDPOINT).aliases
    return AliasesSeen({alias.alias_name: alias.collection_name for alias in aliases})
