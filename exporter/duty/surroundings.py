"""What alerting asks of the clusters that are watched: who there is, where, and whether they are polled."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.alerting.heartbeat import Turn
from exporter.alerting.rules.presence import ClusterPresence
from exporter.board import ANCHOR_SOURCE, BoardView
from exporter.model import ProducerKey
from exporter.observe.poller import PeerPoller
from exporter.observe.watch import ClusterWatch


def presence_of(watches: Mapping[str, ClusterWatch]) -> dict[str, ClusterPresence]:
    """Return the peers of every cluster, its collections where these are known now, and what is measured."""
    presence = {}
    for name, watch in watches.items():
        targets = watch.roster.targets()
        presence[name] = ClusterPresence(
            peers=frozenset(target.label for target in targets),
            collections=watch.derived.listed,
            probes=watch.settings.probes,
            disabled_sources=frozenset(watch.settings.poll.disabled_sources),
            mounted=frozenset(target.label for target in targets if target.storage_path is not None),
        )
    return presence


def url_in(watches: Mapping[str, ClusterWatch], cluster: str, peer: str) -> str:
    """Return the URL of a peer, else of any peer of its cluster; "" where there is none."""
    watch = watches.get(cluster)
    urls = {target.label: target.url for target in watch.roster.targets()} if watch is not None else {}
    return urls.get(peer) or next(iter(urls.values()), "")


class PollTurns:
    """How long ago each peer was polled. Remembers since when it knows each poller."""

    def __init__(self) -> None:
        self._first_seen: dict[PeerPoller, float] = {}  # monotonic seconds

    def newest(self, watches: Mapping[str, ClusterWatch], view: BoardView) -> list[Turn]:
        """Return the newest poll of every peer, failed or not.

        Until the first one, its age is that of the poller, from when it was first seen here.
        """
        now = view.monotonic_seconds
        before, self._first_seen = self._first_seen, {}
        turns = []
        for name, watch in watches.items():
            for label, poller in watch.pollers().items():
                first_seen = self._first_seen[poller] = before.get(poller, now)
                seen = view.newest.get(ProducerKey(name, label, ANCHOR_SOURCE))
                at = first_seen if seen is None else seen.monotonic_seconds
                interval = watch.settings.poll.fast_seconds
                if seen is not None:
                    interval = max(seen.interval_seconds, seen.took_seconds)
                turns.append(Turn(f"polls of {label}", now - at, interval))
        return turns
