"""Whom to poll, whom we cannot, and who gets the key: pure decisions from the Knowledge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from exporter.config.addresses import authority_of
from exporter.config.clusters import PeerSettings
from exporter.observe.roster.knowledge import Heard, Knowledge, Place
from exporter.observe.roster.places import urls_for
from exporter.observe.roster.words import Origin, Target, Unwatched
from exporter.state import KnownPeer


@dataclass(frozen=True, slots=True)
class Twins:
    """Configured peers that are one and the same server: `kept` is watched for all of them."""

    kept: PeerSettings
    others: tuple[PeerSettings, ...]
    kept_answers: bool  # while it does not, the others are watched too


def twins(known: Knowledge, now: float) -> list[Twins]:
    """Return configured URLs that lead to one peer; one with a name is kept before the first written."""
    groups: dict[int | str, list[PeerSettings]] = {}
    for peer in known.settings.peers:
        heard = known.heard.get(peer.label)
        identity = _identity(heard) if heard is not None else None
        if identity is not None and not known.alternates(Place(peer.url), now):
            groups.setdefault(identity, []).append(peer)
    found = []
    for group in groups.values():
        if len(group) > 1:
            kept, *others = sorted(group, key=lambda peer: peer.name is None)  # stable: order as written
            found.append(Twins(kept, tuple(others), not known.silent(kept.label, now)))
    return found


def _identity(heard: Heard) -> int | str | None:
    # A standalone server has no peer id; its process id tells it from another.
    return heard.answer.peer_id if heard.answer.enabled else heard.process_id


def targets(known: Knowledge, now: float) -> tuple[Target, ...]:
    """Return every peer to poll: configured ones as written, then found ones by label, then names."""
    dropped = {peer.label for group in twins(known, now) if group.kept_answers for peer in group.others}
    listing = known.listing(now)
    presumed = {label: peer_id for peer_id, label in presumed_peers(known, now).items()}
    chosen: dict[str, Target] = {}
    for peer in known.settings.peers:
        if peer.label not in dropped:
            chosen.setdefault(peer.label, _configured_target(known, peer, presumed.get(peer.label)))
    for found in sorted(known.found.values(), key=lambda found: found.label):
        if found.label not in dropped:
            chosen.setdefault(found.label, _found_target(known, found, listing))
    for url in known.settings.dns:
        if not known.stands_for_peers(url):
            target = name_target(known, url)
            chosen.setdefault(target.label, target)
    return tuple(chosen.values())


def name_target(known: Knowledge, url: str) -> Target:
    """Return the target that is a DNS name itself: an outage at start has to show somewhere.

    Also the place of a standalone server, which has no peer id to be known by.
    """
    return Target(known.settings.name, authority_of(url), url, Origin.DNS)


def presumed_peers(known: Knowledge, now: float) -> dict[int, str]:
    """Return which configured label must be which listed peer although it never answered us.

    Whoever starts to watch during an outage has to be told of it: a dead peer's shards and votes
    count as lost only where we know whose they are. Only where one peer fits one label.
    """
    waiting = {peer.url: peer.label for peer in known.settings.peers if peer.label not in known.written}
    claimed = known.claimed(now)
    fitting = {
        peer_id: {waiting[url] for url in urls_for(uri, peer_id, known.settings) if url in waiting}
        for peer_id, uri in known.listing(now).items()
        if peer_id not in claimed and peer_id not in known.found and _was_tried(known, peer_id)
    }
    rivals = Counter(label for labels in fitting.values() for label in labels)
    return {
        peer_id: label
        for peer_id, labels in fitting.items()
        for label in labels
        if len(labels) == 1 and rivals[label] == 1
    }


def _configured_target(known: Knowledge, peer: PeerSettings, presumed: int | None) -> Target:
    stored = known.written.get(peer.label)
    return Target(
        cluster=known.settings.name,
        label=peer.label,
        url=peer.url,
        origin=Origin.CONFIGURED,
        peer_id=stored.peer_id if stored is not None else presumed,
        storage_path=peer.storage_path,
    )


def _found_target(known: Knowledge, peer: KnownPeer, listing: dict[int, str]) -> Target:
    return Target(
        cluster=peer.cluster,
        label=peer.label,
        url=peer.url,
        origin=Origin(peer.origin) if peer.peer_id in known.met else Origin.REMEMBERED,
        address=peer.address,
        peer_id=peer.peer_id,
        key_allowed=_belongs_here(known, peer, listing),
    )


def _belongs_here(known: Knowledge, peer: KnownPeer, listing: dict[int, str]) -> bool:
    """Somebody says now that this place is a peer's: the DNS name of the person, or the cluster.

    An address that left the DNS, or that is only remembered, may be another machine by now.
    """
    if peer.address is not None:
        return known.in_dns(peer)
    uri = listing.get(peer.peer_id) if peer.peer_id is not None else None
    return (
        uri is not None
        and peer.peer_id is not None
        and peer.url in urls_for(uri, peer.peer_id, known.settings)
    )


def unwatched(known: Knowledge, now: float) -> tuple[Unwatched, ...]:
    """Return the listed peers that are no target, each with what to do about it."""
    watched = {*known.claimed(now), *known.found, *presumed_peers(known, now)}
    return tuple(
        Unwatched(
            known.settings.name, peer_id, uri, _why_unwatched(known, peer_id), _was_tried(known, peer_id)
        )
        for peer_id, uri in sorted(known.listing(now).items())
        if peer_id not in watched
    )


def _was_tried(known: Knowledge, peer_id: int) -> bool:
    return not known.settings.discovery.enabled or peer_id in known.refusals


def _why_unwatched(known: Knowledge, peer_id: int) -> str:
    if not known.settings.discovery.enabled:
        return f"discovery is off: {_ADD_ITS_URL}"
    refusal = known.refusals.get(peer_id)
    return f"{refusal}: {_ADD_ITS_URL}, or set discovery.url_template" if refusal else "not tried yet"


_ADD_ITS_URL = "give the peer's own URL, one more --qdrant.url or an entry under peers:"


def watched_as(known: Knowledge, url: str) -> Iterator[PeerSettings]:
    """Yield the configured peer that has this URL."""
    return (peer for peer in known.settings.peers if peer.url == url)


def peers_known(known: Knowledge, now: float) -> int | None:
    """Return how many peers the cluster has: a standalone server is one. None before any answer."""
    listing = known.listing(now)
    if listing:
        return len(listing)
    return 1 if known.heard else None
