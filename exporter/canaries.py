"""`canary remove`: deletes the collection that the write canary made."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.clock import Clock, SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.config.settings import Settings
from exporter.errors import SourceAuth, SourceRefused
from exporter.observe.polled import writing_lanes_to
from exporter.observe.probes.canary_collection import CanaryPeer, StepError, remove
from exporter.observe.roster import Origin, Target
from exporter.qdrant.canary import CANARY_COLLECTION

EXIT_GOOD = 0
EXIT_FAILED = 1


async def remove_canaries(settings: Settings) -> tuple[list[str], int]:
    """Delete the canary's collection from every cluster; return a line for each, and the exit code."""
    lines = []
    failed = False
    for cluster in settings.clusters:
        text, done = await _removed(cluster, SystemClock())
        lines.append(f"{cluster.name}: {text}")
        if done and cluster.probes.canary.enabled:
            lines.append(f"{cluster.name}: canary.enabled is true: a running daemon makes it again")
        failed |= not done
    return lines, EXIT_FAILED if failed else EXIT_GOOD


async def _removed(cluster: ClusterSettings, clock: Clock) -> tuple[str, bool]:
    """Ask one peer after the other until one answers; any of them can delete it everywhere."""
    reasons = []
    for target in _targets(cluster):
        lanes = writing_lanes_to(target, cluster, clock)
        try:
            was_there = await remove(CanaryPeer(target.label, None, lanes))
        except StepError as error:
            reasons.append(f"{target.label}: {error}")
            if isinstance(error.failure, SourceAuth):
                return f"{reasons[-1]}; deleting takes a key that may manage", False
            if isinstance(error.failure, SourceRefused):
                return reasons[-1], False
        else:
            gone = f"collection {CANARY_COLLECTION} is deleted"
            return gone if was_there else f"there is no collection {CANARY_COLLECTION}", True
        finally:
            await lanes.close()
    return "; ".join(reasons) or "no peers are configured: write peers: with a URL", False


def _targets(cluster: ClusterSettings) -> Iterator[Target]:
    """Yield the configured peers; those of DNS names go by their name, whichever of them answers."""
    for peer in cluster.peers:
        yield Target(cluster.name, peer.label, peer.url, Origin.CONFIGURED)
    for url in cluster.dns:
        yield Target(cluster.name, url, url, Origin.DNS)
