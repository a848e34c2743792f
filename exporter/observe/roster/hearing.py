"""What a poll's answer, a look-up or a person changes in the Knowledge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from exporter.config.addresses import authority_of
from exporter.config.clusters import ClusterSettings
from exporter.observe.roster.identity import History, Sighting, follow
from exporter.observe.roster.knowledge import Heard, Knowledge, Place
from exporter.observe.roster.places import label_at, listed_host, port_of, urls_for
from exporter.observe.roster.words import Origin
from exporter.state import KnownPeer


def restored(settings: ClusterSettings, remembered: Sequence[KnownPeer]) -> Knowledge:
    """Return what the state directory tells at start.

    What the configuration no longer asks for does not come back: a URL or DNS name that was
    removed, or discovered peers where discovery was switched off.
    """
    configured = {peer.label: peer.url for peer in settings.peers}
    written: dict[str, KnownPeer] = {}
    found: dict[int, KnownPeer] = {}
    for peer in sorted(remembered, key=lambda peer: peer.last_seen_seconds):
        if peer.cluster != settings.name:
            continue
        if peer.origin == Origin.CONFIGURED:
            if configured.get(peer.label) == peer.url:
                written[peer.label] = peer
        elif peer.peer_id is not None and peer.label not in configured and _still_wanted(settings, peer):
            found[peer.peer_id] = peer
    claimed = {peer.peer_id for peer in written.values()}
    found = {peer_id: peer for peer_id, peer in found.items() if peer_id not in claimed}
    return Knowledge(settings, written=written, found=found)


def _still_wanted(settings: ClusterSettings, peer: KnownPeer) -> bool:
    if peer.origin == Origin.DISCOVERED:
        return settings.discovery.enabled
    return peer.url in settings.dns if peer.address is not None else bool(settings.dns)


def heard_from(known: Knowledge, label: str, heard: Heard, *, unix_seconds: float) -> Knowledge:
    """Return what is known after the target of this label answered. An unknown label changes nothing."""
    found = known.found_by_label(label)
    configured = next((peer for peer in known.settings.peers if peer.label == label), None)
    if configured is not None:
        known = _seen_at(known, Place(configured.url), heard)
        heard = _with_process(known, label, heard)
        known = _written_heard(_without_ended_process(known, label, heard), label, heard, unix_seconds)
    elif found is not None:
        place = Place(found.url, found.address)
        known = _seen_at(known, place, heard)
        if known.alternates(place, heard.monotonic_seconds):  # never was a peer's own door
            known = forgotten(known, label)
        else:
            known = _found_heard(known, found, heard, unix_seconds)
    else:
        url = next((url for url in known.settings.dns if authority_of(url) == label), None)
        if url is None:
            return known
        if not heard.answer.enabled:  # a name with many peers behind it is no balancer for that
            known = _seen_at(known, Place(url), heard)
        known = replace(known, heard={**known.heard, label: _with_process(known, label, heard)})
    return settled(known, heard.monotonic_seconds)


def _seen_at(known: Knowledge, place: Place, heard: Heard) -> Knowledge:
    sighting = Sighting(heard.answer.peer_id, heard.process_id)
    history = follow(known.histories.get(place, History()), sighting, heard.monotonic_seconds)
    return replace(known, histories={**known.histories, place: history})


def _with_process(known: Knowledge, label: str, heard: Heard) -> Heard:
    # An answer without a process id: while the peer is the same, the one we had still holds.
    before = known.heard.get(label)
    if heard.process_id is not None or before is None or before.answer.peer_id != heard.answer.peer_id:
        return heard
    return replace(heard, process_id=before.process_id)


def _without_ended_process(known: Knowledge, label: str, heard: Heard) -> Knowledge:
    # A standalone server under two URLs restarts under both: the old process must not make the
    # other URL look like a second server until it is polled again.
    before = known.heard.get(label)
    ended = before.process_id if before is not None else None
    if ended is None or ended == heard.process_id:
        return known
    others = {
        other: replace(one, process_id=None) if one.process_id == ended else one
        for other, one in known.heard.items()
    }
    return replace(known, heard=others)


def _written_heard(known: Knowledge, label: str, heard: Heard, unix_seconds: float) -> Knowledge:
    stored = known.written.get(label)
    peer = KnownPeer(
        cluster=known.settings.name,
        label=label,
        url=next(peer.url for peer in known.settings.peers if peer.label == label),
        address=None,
        peer_id=heard.answer.peer_id,
        origin=Origin.CONFIGURED.value,
        first_seen_seconds=stored.first_seen_seconds if stored is not None else unix_seconds,
        last_seen_seconds=unix_seconds,
    )
    return replace(known, written={**known.written, label: peer}, heard={**known.heard, label: heard})


def _found_heard(known: Knowledge, peer: KnownPeer, heard: Heard, unix_seconds: float) -> Knowledge:
    expected, answered = peer.peer_id, heard.answer.peer_id
    if expected is None:
        return known
    if answered is None or answered == expected:
        known = replace(known, heard={**known.heard, peer.label: heard})
        if answered is None:  # a standalone server: troubles say so, the peer is not there
            return known
        peer = replace(peer, last_seen_seconds=unix_seconds)
        return replace(known, found={**known.found, expected: peer}, met=known.met | {expected})
    return _another_answered(known, peer, expected, heard)


def _another_answered(known: Knowledge, peer: KnownPeer, expected: int, heard: Heard) -> Knowledge:
    """Another peer sits where a found one was: a new pod got the address, or the storage was wiped.

    With a host of its own, the peer we knew stays a target there. Otherwise its place is now the
    new peer's, and the old id shows among the unwatched while the cluster still lists it.
    """
    answered = heard.answer.peer_id
    uris = known.listing(heard.monotonic_seconds) | dict(heard.answer.peers)
    others = {label: other for label, other in known.heard.items() if label != peer.label}
    found = {peer_id: other for peer_id, other in known.found.items() if peer_id != expected}
    own_host = listed_host(uris.get(expected, ""))
    if answered is None:
        return known
    if peer.address is not None and own_host not in (None, listed_host(uris.get(answered, ""))):
        urls = urls_for(uris[expected], expected, known.settings)
        if urls:
            same_port = [url for url in urls if port_of(url) == port_of(peer.url)]
            found[expected] = replace(peer, url=(same_port or urls)[0], address=None)
            return replace(known, found=found, heard=others)
    if answered not in known.found and answered not in known.claimed(heard.monotonic_seconds):
        label = label_at(uris.get(answered), port_of(peer.url), peer_id=answered)
        if label in labels_taken(known, found.values()):
            label = f"id:{answered}"
        found[answered] = replace(peer, peer_id=answered, label=label)
        others[label] = heard
    return replace(known, found=found, heard=others, met=known.met | {answered})


def looked_up(known: Knowledge, url: str, addresses: Sequence[str], now: float) -> Knowledge:
    """Return what is known after a DNS name answered with a list that is not empty."""
    resolved = {**known.resolved, url: tuple(sorted(set(addresses)))}
    failures = {other: why for other, why in known.lookup_failures.items() if other != url}
    identified = {
        place: peer_id
        for place, peer_id in known.identified.items()
        if place.url != url or place.address in resolved[url]
    }
    places = {Place(peer.url, peer.address) for peer in known.found.values()}
    histories = {  # pods come and go: the past of an address that nobody has any more is nothing
        place: history
        for place, history in known.histories.items()
        if place.url != url or place.address in (None, *resolved[url]) or place in places
    }
    known = replace(
        known, resolved=resolved, lookup_failures=failures, identified=identified, histories=histories
    )
    return settled(known, now)


def look_up_failed(known: Knowledge, url: str, reason: str) -> Knowledge:
    """Return what is known after a look-up failed: the last list stays."""
    return replace(known, lookup_failures={**known.lookup_failures, url: reason})


def forgotten(known: Knowledge, label: str) -> Knowledge:
    """Return what is known without a found peer. A configured one stays: it is asked for."""
    peer = known.found_by_label(label)
    if peer is None or peer.peer_id is None:
        return known
    return _without(known, {peer.peer_id})


def labels_taken(known: Knowledge, found: Iterable[KnownPeer]) -> set[str]:
    """Return the labels of the configured peers and of these found ones."""
    return {peer.label for peer in known.settings.peers} | {peer.label for peer in found}


def settled(known: Knowledge, now: float) -> Knowledge:
    """Drop the found peers that turned out to be configured ones, or that the cluster let go."""
    claimed = known.claimed(now)
    known = _without(known, {peer_id for peer_id in known.found if peer_id in claimed})
    known = _heard_of_targets(known)
    apart = len(known.islands(now)) > 1
    since = now if known.apart_since is None else known.apart_since
    known = replace(known, apart_since=since if apart else None)
    chief = known.chief(now)
    if chief is None:
        return known
    # What DNS names now is wanted, listed or not: a peer that is about to join, for one.
    gone = {
        peer_id
        for peer_id, peer in known.found.items()
        if peer_id not in chief.peers and not known.in_dns(peer)
    }
    refusals = {peer_id: why for peer_id, why in known.refusals.items() if peer_id in chief.peers}
    return replace(_without(known, gone), refusals=refusals)


def _heard_of_targets(known: Knowledge) -> Knowledge:
    """Forget what was heard under labels that are no target's: it would count as a voice for ever."""
    labels = labels_taken(known, known.found.values())
    labels |= {authority_of(url) for url in known.settings.dns if not known.stands_for_peers(url)}
    return replace(known, heard={label: heard for label, heard in known.heard.items() if label in labels})


def _without(known: Knowledge, gone: set[int]) -> Knowledge:
    if not gone:
        return known
    labels = {known.found[peer_id].label for peer_id in gone}
    return replace(
        known,
        found={peer_id: peer for peer_id, peer in known.found.items() if peer_id not in gone},
        met=known.met - gone,
        heard={label: heard for label, heard in known.heard.items() if label not in labels},
    )
