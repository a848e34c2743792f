"""What is true of a cluster as a whole: peers, voters, quorum, versions, disagreement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.model import CLUSTER_LABEL, Kind, MetricSpec, Reading
from exporter.observe.derived.view import Membership, PeerView, authority
from exporter.observe.sources.cluster import ClusterSeen
from exporter.qdrant.payloads import Usage

CLUSTER = "GET /cluster"
TELEMETRY = "GET /telemetry?details_level=3"


def _gauge(name: str, what: str, unit: str, source: str = CLUSTER, *labels: str) -> MetricSpec:
    return MetricSpec(f"qdrantx_{name}", Kind.GAUGE, what, unit, source, (CLUSTER_LABEL, *labels))


KNOWN = _gauge("cluster_peers_known", "Peers that the cluster lists", "peers")
WATCHED = _gauge("cluster_peers_watched", "Peers that this daemon polls", "peers", "this daemon")
VERSIONS = _gauge("cluster_versions", "Different server versions among the peers", "versions", TELEMETRY)
VOTERS = _gauge("cluster_voters", "Peers that vote in consensus", "peers")
HEADROOM = _gauge(
    "cluster_quorum_headroom",
    "Answering voters whose consensus works, minus the majority; below 0 there is no quorum",
    "peers",
)
COMMIT_SPREAD = _gauge(
    "cluster_commit_spread", "Highest commit index of an answering peer minus the lowest", "entries"
)
DISAGREEMENT = _gauge(
    "peer_view_disagreement",
    "Answering peers that list other peers (peers) or another commit index (commit) than the newest view, "
    "and shards whose replica states two of them tell differently (replicas)",
    "peers or shards",
    f"{CLUSTER}, {TELEMETRY}",
    "kind",
)
SEND_FAILURES = _gauge(
    "consensus_send_failures",
    "Consensus messages from the leader to another peer that failed in a row",
    "messages",
    CLUSTER,
    "peer",
    "to",
)
SPECS = (KNOWN, WATCHED, VERSIONS, VOTERS, HEADROOM, COMMIT_SPREAD, DISAGREEMENT, SEND_FAILURES)


@dataclass(frozen=True, slots=True)
class ConsensusView:
    """One watched peer's word on consensus; `answering`: its newest /cluster poll succeeded."""

    label: str
    answering: bool
    seen: ClusterSeen


@dataclass(frozen=True, slots=True)
class Joined:
    """Everything known of the cluster, ready for joining."""

    peers: tuple[PeerView, ...]
    consensus: tuple[ConsensusView, ...]
    membership: Membership
    unheard: frozenset[str]  # labels that were not asked for /cluster yet, or refuse to answer it
    usage: Mapping[str, Usage]
    queued: Mapping[str, int]


def readings(cluster: str, joined: Joined, watched: int) -> Iterator[Reading]:
    """Yield the cluster's numbers. `watched` counts the targets, answering or not."""
    yield Reading(WATCHED, (cluster,), float(watched))
    versions = _versions(joined.peers)
    if versions:
        yield Reading(VERSIONS, (cluster,), float(len(versions)))
    told = [one for one in joined.consensus if one.answering]
    enabled = [one for one in told if one.seen.enabled]
    if enabled:
        yield from _clustered(cluster, enabled, joined)
    elif told:
        yield Reading(KNOWN, (cluster,), float(len(told)))


def _versions(peers: Sequence[PeerView]) -> set[str]:
    """Versions the peers say of themselves, and the authority's of those we do not watch."""
    versions = {peer.telemetry.version_text for peer in peers}
    newest = authority(peers)
    if newest is not None:
        ours = {peer.peer_id for peer in peers}
        told = newest.telemetry.peer_versions
        versions |= {version for peer_id, version in told.items() if peer_id not in ours}
    return versions


def listing(views: Sequence[ConsensusView]) -> Mapping[int, str]:
    """Return the peers of the cluster, id to uri, as the newest view has them; empty without one."""
    newest = newest_view([one for one in views if one.answering and one.seen.enabled])
    return {} if newest is None else newest.seen.peers


def newest_view(told: Sequence[ConsensusView]) -> ConsensusView | None:
    """The view that counts: of a peer that most others list, in touch with a leader, then highest
    (term, commit).

    Else a peer that was removed, or cut off and standing for election in ever higher terms, would win.
    """

    def rank(one: ConsensusView) -> tuple[int, bool, int, int, int]:
        seen = one.seen
        listed_by = sum(1 for other in told if seen.peer_id in other.seen.peers)
        return listed_by, seen.working and seen.led, seen.term, seen.commit, -(seen.peer_id or 0)

    return max(told, key=rank, default=None)


def _clustered(cluster: str, told: Sequence[ConsensusView], joined: Joined) -> Iterator[Reading]:
    newest = newest_view(told)
    if newest is None:
        return
    listed = newest.seen.peers
    yield Reading(KNOWN, (cluster,), float(len(listed)))
    members = [one for one in told if one.seen.peer_id in listed]
    voters = voters_of(listed, members)
    yield Reading(VOTERS, (cluster,), float(len(voters)))
    headroom = quorum_headroom(voters, members, joined)
    if headroom is not None:
        yield Reading(HEADROOM, (cluster,), float(headroom))
    if len(told) > 1:
        yield from _disagreement(cluster, told, newest)
    for one in members:
        yield from _send_failures(cluster, one, joined.membership)


def _disagreement(cluster: str, told: Sequence[ConsensusView], newest: ConsensusView) -> Iterator[Reading]:
    """What two answering peers or more tell differently; one alone cannot disagree."""
    commits = [one.seen.commit for one in told]
    yield Reading(COMMIT_SPREAD, (cluster,), float(max(commits) - min(commits)))
    position = (newest.seen.term, newest.seen.commit)
    other_peers = sum(1 for one in told if set(one.seen.peers) != set(newest.seen.peers))
    other_commit = sum(1 for one in told if (one.seen.term, one.seen.commit) != position)
    yield Reading(DISAGREEMENT, (cluster, "peers"), float(other_peers))
    yield Reading(DISAGREEMENT, (cluster, "commit"), float(other_commit))


def voters_of(listed: Mapping[int, str], told: Sequence[ConsensusView]) -> set[int]:
    """The listed peers less those that say they do not vote: one that says nothing is taken to vote."""
    silent = {one.seen.peer_id for one in told if not one.seen.is_voter}
    return {peer_id for peer_id in listed if peer_id not in silent}


def quorum_headroom(voters: set[int], told: Sequence[ConsensusView], joined: Joined) -> int | None:
    """Answering voters whose consensus works, minus the majority.

    None where a voter is not watched, was not polled yet or refuses us: it may well be up, and one URL of a
    cluster must not page.
    """
    label_of = joined.membership.label_of
    if any(voter not in label_of or label_of[voter] in joined.unheard for voter in voters):
        return None
    working = sum(1 for one in told if one.seen.working and one.seen.peer_id in voters)
    return working - (len(voters) // 2 + 1)


def _send_failures(cluster: str, one: ConsensusView, membership: Membership) -> Iterator[Reading]:
    """The leader's failed sends: a follower's map is empty even while a peer is dead."""
    if one.seen.role != "Leader":
        return
    for peer_id, uri in one.seen.peers.items():
        if peer_id != one.seen.peer_id:
            count = one.seen.send_failures.get(uri, 0)
            yield Reading(SEND_FAILURES, (cluster, one.label, membership.label(peer_id)), float(count))
