"""What the tests of the gateway share: its limit, how one is made, how it is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.errors import SourceError
from exporter.qdrant.gateway import Answer, Gateway
from tests.kit.servers import WireServer, answering_once

LIMIT_BYTES = 1_000_000
GatewayTo = Callable[..., Gateway]


async def ask(
    gateway: Gateway,
    path: str = "/cluster",
    *,
    endpoint: str | None = None,
    deadline_seconds: float = 10.0,
    limit_bytes: int | None = None,
) -> Answer:
    """Ask for a path; where its template is not given, it is the path without its query."""
    return await gateway.get(
        path,
        endpoint=endpoint or path.partition("?")[0],
        deadline_seconds=deadline_seconds,
        limit_bytes=limit_bytes,
    )


async def failure_of(gateway_to: GatewayTo, data: bytes, *, deadline_seconds: float = 10.0) -> SourceError:
    """Return what the gateway raises when a server sends these bytes and closes."""
    async with WireServer(answering_once(data)) as server:
        with pytest.raises(SourceError) as raised:
            await ask(gateway_to(server.url), deadline_seconds=deadline_seconds)
        return raised.value
