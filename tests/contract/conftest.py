"""Which Qdrant a contract is tested on: the embedded one always, a real one where somebody names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.ground import URLS_VARIABLE, Qdrant, embedded_qdrant, real_qdrant, real_urls

HERE = Path(__file__).parent
NEED_A_REAL_ONE = {"real", "cluster"}  # fixtures


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a real server can answer; test_real_server.py is skipped in place of it all."""
    if real_urls():
        return
    ours = [item for item in items if isinstance(item, pytest.Function) and HERE in item.path.parents]
    left_out = [item for item in ours if NEED_A_REAL_ONE & set(item.fixturenames)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest_asyncio.fixture(params=["embedded", "real"] if real_urls() else ["embedded"])
async def qdrant(request: pytest.FixtureRequest) -> AsyncIterator[Qdrant]:
    """The embedded server, and then the real one."""
    async with embedded_qdrant() if request.param == "embedded" else real_qdrant() as deployment:
        yield deployment


@pytest_asyncio.fixture
async def real() -> AsyncIterator[Qdrant]:
    """A real server, for what the embedded one has no part for."""
    async with real_qdrant() as deployment:
        yield deployment


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Qdrant]:
    """A real cluster of several peers."""
    if len(real_urls()) < 2:
        pytest.skip(f"needs a cluster: several URLs in {URLS_VARIABLE}, separated by commas")
    async with real_qdrant() as deployment:
        yield deployment
