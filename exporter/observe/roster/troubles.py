"""What is wrong with the addresses a person gave, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.config.addresses import authority_of
from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading
from exporter.observe.roster.knowledge import Knowledge
from exporter.observe.roster.watching import twins
from exporter.observe.roster.words import Trouble, TroubleKind

MISCONFIGURED = MetricSpec(
    name="qdrantx_cluster_misconfigured",
    kind=Kind.GAUGE,
    what="Whether the addresses given for the cluster are wrong in this way; log and status page say how",
    unit="1 or 0",
    source="GET /cluster, GET /telemetry and DNS",
    labels=(CLUSTER_LABEL, "kind"),
)


def readings(cluster: str, troubles: Iterable[Trouble]) -> Iterator[Reading]:
    """Yield one reading a kind of trouble, 0 where there is none."""
    present = {trouble.kind for trouble in troubles}
    for kind in TroubleKind:
        yield Reading(MISCONFIGURED, (cluster, kind.value), float(kind in present))


def troubles(known: Knowledge, now: float, *, patience_seconds: float) -> tuple[Trouble, ...]:
    """Return what is wrong now. Peers that list no common member are given the patience to join."""
    return (
        *_load_balancers(known, now),
        *_peers_twice(known, now),
        *_standalone_servers(known, now),
        *_two_clusters(known, now, patience_seconds),
        *_failed_look_ups(known),
    )


def _load_balancers(known: Knowledge, now: float) -> Iterator[Trouble]:
    labels = {peer.url: peer.label for peer in known.settings.peers}
    for place in sorted(known.histories, key=lambda place: (place.url, place.address or "")):
        if not known.alternates(place, now):
            continue
        label = labels.get(place.url, authority_of(place.url))
        address = f" at {place.address}" if place.address is not None else ""
        yield Trouble(
            TroubleKind.LOAD_BALANCER,
            known.settings.name,
            (label,),
            f"{place.url}{address} answers as several servers in turn, so it is a load balancer and its "
            "readings would mix peers: give each peer's own URL, or under dns: a name that resolves "
            "to every peer",
        )


def _peers_twice(known: Knowledge, now: float) -> Iterator[Trouble]:
    for group in twins(known, now):
        peers = (group.kept, *group.others)
        urls = " and ".join(peer.url for peer in peers)
        yield Trouble(
            TroubleKind.ONE_PEER_TWICE,
            known.settings.name,
            tuple(peer.label for peer in peers),
            f"{urls} lead to one peer, which is watched as {group.kept.label}: remove the other URL, "
            "or correct it where another peer was meant",
        )


def _standalone_servers(known: Knowledge, now: float) -> Iterator[Trouble]:
    lately = known.heard_lately(now)
    alone = {label: heard.process_id for label, heard in lately.items() if not heard.answer.enabled}
    clustered = [label for label, heard in lately.items() if heard.answer.enabled]
    # Two URLs of one standalone server are twins, not two servers: their process tells.
    servers = {process_id for process_id in alone.values() if process_id is not None}
    if not alone or (not clustered and len(servers) < 2):
        return
    beside = f" beside the cluster of {', '.join(clustered)}" if clustered else ""
    yield Trouble(
        TroubleKind.STANDALONE_SERVERS,
        known.settings.name,
        tuple(alone),
        f"{', '.join(alone)}: cluster mode is off there{beside}, so each is a deployment of its own and "
        "numbers over all of them mean nothing: give each a cluster of its own under clusters:",
    )


def _two_clusters(known: Knowledge, now: float, patience_seconds: float) -> Iterator[Trouble]:
    if known.apart_since is None or now - known.apart_since < patience_seconds:
        return
    islands = sorted(", ".join(sorted(labels)) for labels in known.islands(now))
    if len(islands) < 2:
        return
    yield Trouble(
        TroubleKind.TWO_CLUSTERS,
        known.settings.name,
        tuple(sorted(label for labels in known.islands(now) for label in labels)),
        f"these peers know nothing of each other: {' | '.join(islands)}. Give each group a cluster of its "
        "own under clusters:; a peer that lost its storage and started a cluster of its own has to "
        "join again",
    )


def _failed_look_ups(known: Knowledge) -> Iterator[Trouble]:
    for url, reason in sorted(known.lookup_failures.items()):
        last = known.resolved.get(url)
        keeps = f"the last list of {len(last)} stays" if last else "no peer is known from it"
        yield Trouble(
            TroubleKind.DNS_FAILED,
            known.settings.name,
            (authority_of(url),),
            f"the host of {url} could not be looked up ({reason}), {keeps}: check the name and the resolver",
        )
