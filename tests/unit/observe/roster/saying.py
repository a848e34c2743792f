"""What the roster's tests say: clusters of three peers, their answers, and resolvers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.config.clusters import ClusterSettings
from exporter.errors import SourceUnreachable
from exporter.observe.roster import ClusterAnswer, Roster, Target
from exporter.state import KnownPeer
from tests.kit.clock import ManualClock

A, B, C = 101, 102, 103
URIS = {A: "http://q-0:6335/", B: "http://q-1:6335/", C: "http://q-2:6335/"}


def cluster(*urls: str | dict[str, Any], **more: Any) -> ClusterSettings:
    """Settings of a cluster with these peers; the name is default."""
    return ClusterSettings.model_validate({"peers": urls, **more})


def says(
    peer_id: int, *, peers: Mapping[int, str] = URIS, leader: int | None = A, **more: Any
) -> ClusterAnswer:
    """Return the answer of one peer of a cluster with a leader."""
    return ClusterAnswer(enabled=True, peer_id=peer_id, peers=peers, leader=leader, **more)


STANDALONE = ClusterAnswer(enabled=False)


class Names:
    """A resolver over a table that a test changes."""

    def __init__(self, **table: Sequence[str]) -> None:
        self.table: dict[str, Sequence[str]] = dict(table)

    async def __call__(self, host: str, port: int) -> tuple[str, ...]:
        if host not in self.table:
            raise OSError("Name or service not known")
        return tuple(self.table[host])


class Network:
    """Who answers where: by address if the target has one, else by URL. Remembers who was asked."""

    def __init__(self, answers: Mapping[str, ClusterAnswer]) -> None:
        self.answers = dict(answers)
        self.asked: list[Target] = []

    async def __call__(self, target: Target) -> ClusterAnswer:
        self.asked.append(target)
        answer = self.answers.get(target.address or target.url)
        if answer is None:
            raise SourceUnreachable("/cluster", "connection refused")
        return answer

    @property
    def places(self) -> list[str]:
        """Where somebody was asked, sorted."""
        return sorted(target.address or target.url for target in self.asked)


NOBODY = Network({})


def roster(
    settings: ClusterSettings,
    *,
    clock: ManualClock | None = None,
    names: Names | None = None,
    remembered: Sequence[KnownPeer] = (),
    patience_seconds: float = 60.0,
) -> Roster:
    """Return a roster of these settings."""
    return Roster(
        settings=settings,
        clock=clock or ManualClock(),
        resolve=names or Names(),
        remembered=remembered,
        patience_seconds=patience_seconds,
    )


def remembered_peer(label: str, peer_id: int | None, **more: Any) -> KnownPeer:
    """Return a peer as the state directory has it: discovered unless said otherwise."""
    fields = {
        "cluster": "default",
        "url": f"http://{label}",
        "address": None,
        "origin": "discovered",
        "first_seen_seconds": 100.0,
        "last_seen_seconds": 200.0,
    }
    return KnownPeer(label=label, peer_id=peer_id, **{**fields, **more})


def labels(found: Roster) -> list[str]:
    """Return the labels of all targets."""
    return [target.label for target in found.targets()]


def target(found: Roster, label: str) -> Target:
    """Return the target of this label."""
    return next(one for one in found.targets() if one.label == label)
