"""Whom to ask beyond the targets, and what an answer makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from exporter.config.addresses import authority_of
from exporter.observe.roster.hearing import heard_from, labels_taken, settled
from exporter.observe.roster.identity import History, Sighting, follow
from exporter.observe.roster.knowledge import Heard, Knowledge, Place
from exporter.observe.roster.places import label_at, port_of, urls_for
from exporter.observe.roster.watching import twins, watched_as
from exporter.observe.roster.words import ClusterAnswer, Origin, Target
from exporter.state import KnownPeer


@dataclass(frozen=True, slots=True)
class Candidate:
    """Doors to try one after the other until one answers as the peer that is expected.

    `peer_id` None: whoever answers. `refusals` are doors that need not be tried, and why.
    """

    doors: tuple[Target, ...]
    peer_id: int | None = None
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a candidate: the door that answered as expected, or why none did."""

    candidate: Candidate
    door: Target | None = None
    answer: ClusterAnswer | None = None
    reason: str = ""


class Moment(NamedTuple):
    """Now, on both clocks."""

    monotonic_seconds: float
    unix_seconds: float


def candidates(known: Knowledge, now: float) -> tuple[Candidate, ...]:
    """Return whom to ask: listed peers without a target, resolved addresses, twins that were dropped."""
    listed = _listed(known, now) if known.settings.discovery.enabled else ()
    return (*listed, *_resolved(known, now), *_dropped_twins(known, now))


def _listed(known: Knowledge, now: float) -> Iterator[Candidate]:
    claimed = known.claimed(now)
    for peer_id, uri in known.listing(now).items():
        urls = urls_for(uri, peer_id, known.settings)
        holder = known.found.get(peer_id)
        if peer_id in claimed or (holder is not None and not _may_have_moved(known, holder, urls, now)):
            continue
        doors, refusals = [], [] if urls else [f"its uri {uri!r} names no host"]
        for url in urls:
            if known.alternates(Place(url), now):
                refusals.append(f"{url} is a load balancer")
                continue
            taken = next(watched_as(known, url), None)
            if taken is None:
                label = label_at(uri, port_of(url), peer_id=peer_id)
                doors.append(Target(known.settings.name, label, url, Origin.DISCOVERED, peer_id=peer_id))
                continue
            stored = known.written.get(taken.label)
            who = f"is peer {stored.peer_id}" if stored is not None else "has not answered yet"
            refusals.append(f"{url} is watched as {taken.label} and {who}")
        yield Candidate(tuple(doors), peer_id, tuple(refusals))


def _may_have_moved(known: Knowledge, holder: KnownPeer, urls: tuple[str, ...], now: float) -> bool:
    if holder.address is not None:
        return known.silent(holder.label, now)
    return holder.url not in urls  # listed on another host than the one we poll


def _resolved(known: Knowledge, now: float) -> Iterator[Candidate]:
    in_use = {Place(peer.url, peer.address) for peer in known.found.values()}
    claimed = known.claimed(now)
    for url, addresses in known.resolved.items():
        for address in addresses:
            place = Place(url, address)
            if place in in_use or known.alternates(place, now):
                continue
            peer_id = known.identified.get(place)
            holder = known.found.get(peer_id) if peer_id is not None else None
            label = claimed.get(peer_id) if peer_id is not None else None
            label = holder.label if holder is not None else label
            # A second address of a peer that answers elsewhere needs no look until that falls silent.
            if label is None or known.silent(label, now):
                door = Target(known.settings.name, authority_of(url), url, Origin.DNS, address=address)
                yield Candidate((door,))


def _dropped_twins(known: Knowledge, now: float) -> Iterator[Candidate]:
    for group in twins(known, now):
        for peer in group.others if group.kept_answers else ():
            yield Candidate((Target(known.settings.name, peer.label, peer.url, Origin.CONFIGURED),))


def after(known: Knowledge, outcome: Outcome, at: Moment) -> Knowledge:
    """Return what is known after a candidate answered, or did not."""
    door, answer = outcome.door, outcome.answer
    if door is None or answer is None:
        peer_id = outcome.candidate.peer_id
        if peer_id is None:
            return known
        return replace(known, refusals={**known.refusals, peer_id: outcome.reason})
    if door.origin is Origin.CONFIGURED:
        heard = Heard(answer, None, at.monotonic_seconds)
        return heard_from(known, door.label, heard, unix_seconds=at.unix_seconds)
    if door.address is not None:
        known = _address_answered(known, Place(door.url, door.address), answer, at)
        if known.alternates(Place(door.url, door.address), at.monotonic_seconds):
            return known
    return _accepted(known, door, answer, at)


def _address_answered(known: Knowledge, place: Place, answer: ClusterAnswer, at: Moment) -> Knowledge:
    identified = {other: peer_id for other, peer_id in known.identified.items() if other != place}
    if answer.peer_id is not None:
        identified[place] = answer.peer_id
    history = follow(
        known.histories.get(place, History()), Sighting(answer.peer_id, None), at.monotonic_seconds
    )
    return replace(known, identified=identified, histories={**known.histories, place: history})


def _accepted(known: Knowledge, door: Target, answer: ClusterAnswer, at: Moment) -> Knowledge:
    now, peer_id = at.monotonic_seconds, answer.peer_id
    if peer_id is None or peer_id in known.claimed(now):
        return known
    holder = known.found.get(peer_id)
    if holder is not None and door.address is not None and not _gives_way(known, holder, now):
        return known
    label = _free_label(known, door, known.listing(now) | dict(answer.peers), peer_id)
    accepted = KnownPeer(
        cluster=door.cluster,
        label=label,
        url=door.url,
        address=door.address,
        peer_id=peer_id,
        origin=door.origin.value,
        first_seen_seconds=holder.first_seen_seconds if holder is not None else at.unix_seconds,
        last_seen_seconds=at.unix_seconds,
    )
    heard = {**known.heard, label: Heard(answer, None, now)}
    if holder is not None and holder.label != label:
        heard.pop(holder.label, None)
    return settled(
        replace(
            known,
            found={**known.found, peer_id: accepted},
            met=known.met | {peer_id},
            heard=heard,
            refusals={other: why for other, why in known.refusals.items() if other != peer_id},
        ),
        now,
    )


def _gives_way(known: Knowledge, holder: KnownPeer, now: float) -> bool:
    left_dns = holder.address is not None and not known.in_dns(holder)
    return left_dns or known.silent(holder.label, now)


def _free_label(known: Knowledge, door: Target, uris: Mapping[int, str], peer_id: int) -> str:
    label = label_at(uris.get(peer_id), port_of(door.url), peer_id=peer_id)
    taken = labels_taken(known, (peer for peer in known.found.values() if peer.peer_id != peer_id))
    return label if label not in taken else f"id:{peer_id}"
