"""What alerting asks of the clusters that are watched: who there is, where, and whether they are polled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.alerting.heartbeat import Turn
from exporter.alerting.rules.presence import ClusterPresence
from exporter.board import ANCHOR_SOURCE, BoardView
from exporter.model import ProducerKey
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


def poll_turns(
    watches: Mapping[str, ClusterWatch], view: BoardView, *, began_at_seconds: float
) -> Iterator[Turn]:
    """Yield the newest poll of every peer, failed or not. `began_at_seconds`: monotonic, when we started."""
    for name, watch in watches.items():
        for label in watch.pollers():
            seen = view.newest.get(ProducerKey(name, label, ANCHOR_SOURCE))
            if seen is None:
                age = view.monotonic_seconds - began_at_seconds
                interval = watch.settings.poll.fast_seconds
            else:
                age = view.monotonic_seconds - seen.monotonic_seconds
                interval = max(seen.interval_seconds, seen.took_seconds)
            yield Turn(f"polls of {label}", age, interval)
