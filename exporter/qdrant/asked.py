"""A request that says which route it takes."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.qdrant.connection import Request


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with the name of its route, which says the method where it writes."""

    request: Request
    endpoint: str
