"""What the tests of the gateway share: its limit, how one is made, how it is asked."""

from __future__ import annotations

from collections.abc import Callable

from exporter.qdrant.gateway import Answer, Gateway

LIMIT_BYTES = 1_000_000
GatewayTo = Callable[..., Gateway]


async def ask(
    gateway: Gateway,
    path: str = "/cluster",
    *,
    endpoint: str | None = None,
    deadline_seconds: float = 2.0,
    limit_bytes: int | None = None,
) -> Answer:
    """Ask for a path; where its template is not given, it is the path without its query."""
    return await gateway.get(
        path,
        endpoint=endpoint or path.partition("?")[0],
        deadline_seconds=deadline_seconds,
        limit_bytes=limit_bytes,
    )
