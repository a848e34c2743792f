"""Collections as last understood, by their bytes: one that did not change is not decoded again.

Most collections of a large deployment are idle from one poll to the next, and a hash of
their bytes costs a fiftieth of decoding them. What is handed out for the same bytes is the
same object, by which those further on see that nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from msgspec import Raw

from exporter.errors import BadPayload
from exporter.qdrant.answers import decode
from exporter.qdrant.payloads import CollectionName, CollectionTelemetry

T = TypeVar("T")


class Remembered(Generic[T]):
    """What one source understood of one peer's collections at its last poll."""

    def __init__(self, *, endpoint: str) -> None:
        self._endpoint = endpoint
        self._process_id = ""
        # keyed by 64 bits of Python's keyed hash: two collections will not meet by chance
        self._by_hash: dict[int, tuple[str, T]] = {}

    def understood(
        self, raws: Sequence[Raw], process_id: str, understand: Callable[[CollectionTelemetry], T]
    ) -> tuple[dict[str, T], tuple[str, ...]]:
        """Return what each collection means, by name, and the names of those that do not read.

        A new server process may mean other things by the same bytes: then nothing is remembered.
        """
        before = self._by_hash if process_id == self._process_id else {}
        kept: dict[int, tuple[str, T]] = {}
        unreadable: list[str] = []
        for raw in raws:
            key = hash(bytes(raw))
            try:
                kept[key] = before[key] if key in before else self._understood(raw, understand)
            except BadPayload:
                unreadable.append(self._name_of(raw))
        self._by_hash, self._process_id = kept, process_id
        return dict(kept.values()), tuple(unreadable)

    def _understood(self, raw: Raw, understand: Callable[[CollectionTelemetry], T]) -> tuple[str, T]:
        told = decode(raw, CollectionTelemetry, self._endpoint)
        return told.id, understand(told)

    def _name_of(self, raw: Raw) -> str:
        try:
            return decode(raw, CollectionName, self._endpoint).id
        except BadPayload:
            return "?"
