"""A state directory as a daemon leaves it, with alerts in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exporter.alerting.identity import fingerprint
from exporter.alerting.stored import encode
from exporter.alerting.words import Alert, AlertState, Ended
from exporter.clock import Clock
from exporter.state import AlertingBatch, AlertingStore, State


def alert(peer: str, now: float, **more: object) -> Alert:
    """PeerDown of a peer, which fires for ten minutes."""
    labels = (("alertname", "PeerDown"), ("peer", peer), ("qdrant_cluster", "prod"), ("severity", "critical"))
    made = Alert(
        fingerprint=fingerprint(labels), rule="PeerDown", labels=labels, state=AlertState.FIRING,
        active_since=now - 720, evaluated_at=now, fired_at=now - 600, value=0.0, limit=0.0, unit="1 or 0",
        annotations=(("summary", f"{peer} is down"),), runbook="PeerDown",
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def ended(peer: str, now: float, reason: str = "recovered") -> Ended:
    """PeerDown of a peer, which fired for five minutes."""
    one = alert(peer, now)
    return Ended(one.fingerprint, one.rule, one.labels, now - 300, now, reason, 0.0)


def store(
    directory: Path, *, clock: Clock, alerts: Sequence[Alert] = (), history: Sequence[Ended] = ()
) -> None:
    """Store them as a daemon does."""
    state = State.open(directory, clock=clock)
    try:
        AlertingStore(state).write(
            AlertingBatch(
                now=clock.now(),
                evaluated_at=clock.now(),
                alerts={one.fingerprint: encode(one) for one in alerts},
                ended=tuple((one.resolved_at, encode(one)) for one in history),
            )
        )
    finally:
        state.close()
