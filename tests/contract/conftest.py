"""Which Qdrant a contract is tested on; without a real one its tests are skipped and say how to run them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.ground import HOW_TO_RUN, Qdrant, embedded_qdrant, real_qdrant, real_urls


@pytest_asyncio.fixture(params=["embedded", "real"])
async def qdrant(request: pytest.FixtureRequest) -> AsyncIterator[Qdrant]:
    """The embedded server, and then the real one."""
    if request.param == "real" and not real_urls():
        pytest.skip(HOW_TO_RUN)
    async with embedded_qdrant() if request.param == "embedded" else real_qdrant() as deployment:
        yield deployment


@pytest_asyncio.fixture
async def real() -> AsyncIterator[Qdrant]:
    """A real server, for what the embedded one has no part for."""
    if not real_urls():
        pytest.skip(HOW_TO_RUN)
    async with real_qdrant() as deployment:
        yield deployment


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Qdrant]:
    """A real cluster of several peers."""
    if len(real_urls()) < 2:
        pytest.skip(f"no real cluster: {HOW_TO_RUN}")
    async with real_qdrant() as deployment:
        yield deployment
