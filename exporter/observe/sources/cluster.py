"""GET /cluster: consensus as this peer sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exporter.model import MetricSpec, Reading
from exporter.observe.sources.contract import Ask, Learnt, Pace, Reach, peer_gauge
from exporter.qdrant.payloads import ClusterStatus, result

ENDPOINT = "/cluster"
SOURCE = "GET /cluster"

WORKING = peer_gauge(
    "qdrantx_consensus_working",
    "Whether the consensus thread of the peer runs; 0: it stopped",
    "1 or 0",
    SOURCE,
)
HAS_LEADER = peer_gauge(
    "qdrantx_consensus_has_leader",
    "Whether the peer knows a leader or, being it, reaches a majority; 0: no quorum",
    "1 or 0",
    SOURCE,
)
IS_LEADER = peer_gauge("qdrantx_consensus_is_leader", "Whether the peer is the leader", "1 or 0", SOURCE)
TERM = peer_gauge("qdrantx_consensus_term", "Raft term of the peer", "terms", SOURCE)
COMMIT = peer_gauge("qdrantx_consensus_commit", "Raft commit index of the peer", "entries", SOURCE)
PENDING = peer_gauge(
    "qdrantx_consensus_pending_operations", "Consensus operations waiting on the peer", "operations", SOURCE
)


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """One peer's view of consensus. `leader` is None where the server says 0 or null."""

    enabled: bool
    peer_id: int | None
    peers: Mapping[int, str]  # peer id -> uri between peers
    leader: int | None = None
    role: str | None = None
    term: int = 0
    commit: int = 0
    pending_operations: int = 0
    is_voter: bool = True
    working: bool = True
    send_failures: Mapping[str, int] = field(default_factory=dict)  # uri -> failed sends in a row

    @property
    def led(self) -> bool:
        """It knows a leader; being the leader itself, it reaches a majority.

        A leader that lost the others goes on calling itself one (seen on 1.18.3, two of three
        killed): only its failed sends tell. An entry goes with the first success.
        """
        if self.leader is None:
            return False
        if self.leader != self.peer_id:
            return True
        reached = sum(1 for uri in self.peers.values() if not self.send_failures.get(uri))
        return reached > len(self.peers) // 2


class Cluster:
    """Consensus, and the list of peers that the roster learns from."""

    name = "cluster"
    pace = Pace.FAST
    reach = Reach.PEER
    specs: tuple[MetricSpec, ...] = (WORKING, HAS_LEADER, IS_LEADER, TERM, COMMIT, PENDING)

    async def poll(self, ask: Ask) -> Learnt:
        answer = await ask.gateway.get(ENDPOINT, endpoint=ENDPOINT, deadline_seconds=ask.deadline_seconds)
        seen = read(answer.body)
        return Learnt(seen, tuple(readings(seen, ask.cluster, ask.peer)))


def read(body: bytes) -> ClusterSeen:
    """Understand GET /cluster. Raises BadPayload on what is not its answer."""
    status = result(body, ClusterStatus, ENDPOINT)
    if status.status != "enabled" or status.raft_info is None:
        return ClusterSeen(False, None, {})
    raft = status.raft_info
    thread = status.consensus_thread_status
    return ClusterSeen(
        enabled=True,
        peer_id=status.peer_id,
        peers={peer_id: peer.uri for peer_id, peer in status.peers.items()},
        leader=raft.leader or None,
        role=raft.role,
        term=raft.term,
        commit=raft.commit,
        pending_operations=raft.pending_operations,
        is_voter=raft.is_voter,
        working=thread is None or thread.consensus_thread_status == "working",
        send_failures={uri: failures.count for uri, failures in status.message_send_failures.items()},
    )


def readings(seen: ClusterSeen, cluster: str, peer: str) -> Iterator[Reading]:
    """Yield this peer's view of consensus; nothing on a standalone server.

    The failed sends need every peer's view and its label: derived/consensus.py tells them.
    """
    if not seen.enabled:
        return
    labels = (cluster, peer)
    yield Reading(WORKING, labels, float(seen.working))
    yield Reading(HAS_LEADER, labels, float(seen.led))
    yield Reading(IS_LEADER, labels, float(seen.led and seen.leader == seen.peer_id))
    yield Reading(TERM, labels, float(seen.term))
    yield Reading(COMMIT, labels, float(seen.commit))
    yield Reading(PENDING, labels, float(seen.pending_operations))
