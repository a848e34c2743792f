"""What is told of thresholds that are changed for a while, from their intents in the store. Pure.

They stand on the Board under a producer of their own and never expire: whoever opened one may be dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.backup.words import ThresholdIntent
from exporter.model import CLUSTER_LABEL, OURS, Kind, MetricSpec, ProducerKey, Reading

INTENT_OPENED = MetricSpec(
    "qdrantx_vacuum_intent_opened_timestamp_seconds",
    Kind.GAUGE,
    "Since when optimizer thresholds of a collection are not its owner's, for a vacuum or an import of ours;"
    " absent where they are",
    "seconds, Unix time",
    OURS,
    (CLUSTER_LABEL, "collection"),
)
SPECS = (INTENT_OPENED,)


def intent_producer(cluster: str) -> ProducerKey:
    """Return who says the readings of a cluster's open intents. In one go, so that what is gone is gone."""
    return ProducerKey(cluster, "", "thresholds")


def intent_readings(cluster: str, intents: Iterable[ThresholdIntent]) -> Iterator[Reading]:
    """Yield a reading for each collection with an open intent, of its oldest."""
    oldest: dict[str, float] = {}
    for intent in intents:
        opened_at = oldest.get(intent.collection, intent.opened_at)
        oldest[intent.collection] = min(opened_at, intent.opened_at)
    for collection, opened_at in sorted(oldest.items()):
        yield Reading(INTENT_OPENED, (cluster, collection), opened_at)
