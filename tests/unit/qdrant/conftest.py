"""Gateways for the tests: made with one call, closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from exporter.qdrant.gateway import Door, Gateway
from tests.kit.gateways import LIMIT_BYTES, GatewayTo
from tests.kit.patience import LoopClock


@pytest_asyncio.fixture
async def gateway_to() -> AsyncIterator[GatewayTo]:
    """Return a function that makes a gateway to a url; further arguments are the door's."""
    made: list[Gateway] = []

    def make(url: str, **door: Any) -> Gateway:
        gateway = Gateway(
            door=Door(url, **door),
            clock=LoopClock(),
            response_limit_bytes=LIMIT_BYTES,
            fast_seconds=15.0,
        )
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        await gateway.close()
