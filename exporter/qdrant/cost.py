"""What we cost one peer, by endpoint: requests by outcome, seconds, bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from exporter.model import FaultKind

OK = "ok"
OUTCOMES = (OK, *(str(kind) for kind in FaultKind))


@dataclass(frozen=True, slots=True)
class Spent:
    """What one endpoint cost since the start: seconds on the wire, bytes of answers as we read them."""

    seconds: float = 0.0
    received_bytes: int = 0


class CostBook:
    """Counts the calls that went out. One that was held back or cancelled is not a cost and not here."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], int] = {}
        self._spent: dict[str, Spent] = {}

    def open(self, endpoint: str) -> None:
        """Name every outcome of this endpoint, at 0: a counter that starts at 1 hides its first failure."""
        if endpoint not in self._spent:
            self._spent[endpoint] = Spent()
            self._requests.update({(endpoint, outcome): 0 for outcome in OUTCOMES})

    def record(self, endpoint: str, outcome: str, *, seconds: float, received_bytes: int) -> None:
        """Add one call, after its endpoint was opened. `outcome` is "ok" or a FaultKind."""
        self._requests[endpoint, str(outcome)] += 1
        before = self._spent[endpoint]
        self._spent[endpoint] = Spent(before.seconds + seconds, before.received_bytes + received_bytes)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return requests by (endpoint, outcome), as of now."""
        return MappingProxyType(dict(self._requests))

    def spent(self) -> Mapping[str, Spent]:
        """Return seconds and bytes by endpoint, as of now."""
        return MappingProxyType(dict(self._spent))
