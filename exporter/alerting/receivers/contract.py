"""What every receiver is: a name, what its service can do, and one way to deliver.

A receiver renders and sends; it never retries, never queues, and knows no policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from exporter.alerting.words import Alert, Delivery, Notification


@dataclass(frozen=True, slots=True)
class Sending:
    """What a receiver is told beside the notification."""

    now: float  # Unix seconds
    attempt: int = 1
    maybe_repeat: bool = False  # an earlier attempt may have arrived: say so where the service has no key
    external_url: str = ""  # where people reach this daemon, without a slash at the end; "" unknown
    unsaved: bool = False  # the state directory cannot be written: a restart may repeat this
    idempotency_key: str = ""  # the same for every attempt of one notification


class Receiver(Protocol):
    """One configured place that people read. Made from its settings; connects when it first sends."""

    @property
    def id(self) -> str:
        """Its kind, and a hash of where its messages end up: another key is another receiver."""
        ...

    @property
    def name(self) -> str:
        """As configured; the label `receiver`."""
        ...

    @property
    def drops_repeats(self) -> bool:
        """Whether the service knows a repeat by its key (PagerDuty; a webhook by Idempotency-Key)."""
        ...

    @property
    def wants_reminders(self) -> bool:
        """Whether a reminder does anything there. PagerDuty would only log it."""
        ...

    @property
    def resolve_lives_seconds(self) -> float:
        """How long an undelivered resolve is worth sending."""
        ...

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        """Send once. Never raises for what the service or the network does."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


class Asserter(Protocol):
    """A receiver that is told the whole state again and again: Alertmanager."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def interval_seconds(self) -> float:
        """How often the state is told at the least."""
        ...

    async def tell(self, alerts: Sequence[Alert], sending: Sending) -> Delivery:
        """Tell every member the alerts: firing ones, and those resolved within the last 15 minutes."""
        ...

    async def close(self) -> None: ...
