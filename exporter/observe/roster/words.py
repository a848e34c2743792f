"""What the roster takes and gives: answers of GET /cluster in, targets and troubles out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Origin(StrEnum):
    """How a target became one."""

    CONFIGURED = "configured"
    DNS = "dns"
    DISCOVERED = "discovered"
    REMEMBERED = "remembered"  # from the state directory, and not met since we started


@dataclass(frozen=True, slots=True)
class Target:
    """A peer to poll. Its door has to be built anew when url, address or key_allowed change.

    `label` is the peer's metric label and never a resolved address. Without `key_allowed` no
    secret goes there: nobody says at present that this place belongs to the cluster.
    """

    cluster: str
    label: str
    url: str
    origin: Origin
    address: str | None = None  # numeric: connect there, whatever the URL's host resolves to
    peer_id: int | None = None  # None until it answered, and for a server without a cluster
    storage_path: Path | None = None
    key_allowed: bool = True


@dataclass(frozen=True, slots=True)
class ClusterAnswer:
    """What the roster reads of GET /cluster. Not `enabled`: a standalone server, and no more."""

    enabled: bool
    peer_id: int | None = None
    peers: Mapping[int, str] = field(default_factory=dict)  # peer id -> uri between peers
    leader: int | None = None  # None where the server says 0 or null: no quorum
    consensus_working: bool = True
    term: int = 0
    commit: int = 0


@dataclass(frozen=True, slots=True)
class Unwatched:
    """A peer that the cluster lists and we do not poll. `reason` says how to change that."""

    cluster: str
    peer_id: int
    uri: str
    reason: str
    tried: bool  # False: discovery has not got to it yet, so it may be a target in a moment


class TroubleKind(StrEnum):
    """What can be wrong with the addresses a person gave."""

    LOAD_BALANCER = "load_balancer"
    ONE_PEER_TWICE = "one_peer_twice"
    STANDALONE_SERVERS = "standalone_servers"
    TWO_CLUSTERS = "two_clusters"
    DNS_FAILED = "dns_failed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing wrong, for log, metric, status page and `once`. `text` says what to do."""

    kind: TroubleKind
    cluster: str
    labels: tuple[str, ...]
    text: str
