"""All that is known of one cluster's peers, as one immutable value, and what follows from it.

The changes are in `hearing` and `candidates`; who is to be polled in `watching`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.config.clusters import ClusterSettings
from exporter.observe.roster.identity import History
from exporter.observe.roster.words import ClusterAnswer
from exporter.state import KnownPeer

# GET /cluster comes at least each 60 s, however the sources stretch; three lost ones are a silence.
SILENT_AFTER_SECONDS = 180.0


class Place(NamedTuple):
    """Where a connection goes: a URL, and the address where a DNS name led to many."""

    url: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest answer under one label."""

    answer: ClusterAnswer
    process_id: str | None  # None: not known
    monotonic_seconds: float


@dataclass(frozen=True, slots=True)
class Knowledge:
    """One cluster. `written` are configured peers that answered once, `found` all others, by id."""

    settings: ClusterSettings
    written: Mapping[str, KnownPeer] = field(default_factory=dict)  # by label
    found: Mapping[int, KnownPeer] = field(default_factory=dict)  # by peer id
    met: frozenset[int] = frozenset()  # those of `found` that answered since we started
    heard: Mapping[str, Heard] = field(default_factory=dict)  # by label
    histories: Mapping[Place, History] = field(default_factory=dict)
    resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # DNS URL -> last good list
    lookup_failures: Mapping[str, str] = field(default_factory=dict)  # DNS URL -> why
    identified: Mapping[Place, int] = field(default_factory=dict)  # peer id at a resolved address
    refusals: Mapping[int, str] = field(default_factory=dict)  # why a listed peer was not accepted
    apart_since: float | None = None  # monotonic: since when answers belong to different clusters

    def alternates(self, place: Place, now: float) -> bool:
        """This place is a load balancer."""
        history = self.histories.get(place)
        return history is not None and history.alternates(now)

    def silent(self, label: str, now: float) -> bool:
        """Nothing was heard under this label for too long, or ever."""
        heard = self.heard.get(label)
        return heard is None or now - heard.monotonic_seconds > SILENT_AFTER_SECONDS

    def heard_lately(self, now: float) -> dict[str, Heard]:
        """Return the answers that still count, by label."""
        return {label: heard for label, heard in self.heard.items() if not self.silent(label, now)}

    def claimed(self, now: float) -> dict[int, str]:
        """Return which configured label stands for which peer id; a balancer stands for none."""
        claims: dict[int, str] = {}
        for peer in self.settings.peers:
            known = self.written.get(peer.label)
            if known is None or known.peer_id is None or self.alternates(Place(peer.url), now):
                continue
            claims.setdefault(known.peer_id, peer.label)
        return claims

    def found_by_label(self, label: str) -> KnownPeer | None:
        """Return the found peer of this label."""
        return next((peer for peer in self.found.values() if peer.label == label), None)

    def in_dns(self, peer: KnownPeer) -> bool:
        """The address of this peer is in the newest list of its DNS name."""
        return peer.address is not None and peer.address in self.resolved.get(peer.url, ())

    def stands_for_peers(self, url: str) -> bool:
        """Peers were found behind this DNS name, so the name itself is no target."""
        addresses = self.resolved.get(url, ())
        identified = any(Place(url, address) in self.identified for address in addresses)
        return identified or any(peer.url == url for peer in self.found.values())

    def islands(self, now: float) -> list[set[str]]:
        """Return the labels heard lately, grouped into those whose lists of peers overlap."""
        islands: list[tuple[set[str], set[int]]] = []
        for label, heard in self.heard_lately(now).items():
            if not heard.answer.enabled:
                continue
            labels, members = {label}, _members(heard.answer)
            for other in [other for other in islands if other[1] & members]:
                islands.remove(other)
                labels |= other[0]
                members |= other[1]
            islands.append((labels, members))
        return [labels for labels, _ in islands]

    def chief(self, now: float) -> ClusterAnswer | None:
        """Return the answer that decides who is a member: with a leader, and furthest in consensus.

        None without one, and where answers belong to different clusters: nobody is dropped then.
        """
        if len(self.islands(now)) > 1:
            return None
        able = [
            heard
            for heard in self.heard_lately(now).values()
            if heard.answer.enabled and heard.answer.leader is not None and heard.answer.consensus_working
        ]
        if not able:
            return None
        newest = max(
            able, key=lambda heard: (heard.answer.term, heard.answer.commit, heard.monotonic_seconds)
        )
        return newest.answer

    def listing(self, now: float) -> dict[int, str]:
        """Return uri by peer id of all members; without a deciding answer, all that anybody lists."""
        chief = self.chief(now)
        if chief is not None:
            return dict(chief.peers)
        listed: dict[int, str] = {}
        for heard in self.heard.values():
            listed |= heard.answer.peers
        return listed


def _members(answer: ClusterAnswer) -> set[int]:
    return set(answer.peers) | ({answer.peer_id} if answer.peer_id is not None else set())
