"""Whether the contract is tested on a real server in this run."""

from __future__ import annotations

import pytest

from exporter.qdrant.versions import parse_version
from tests.contract.ground import HOW_TO_RUN, real_qdrant, real_urls

OLDEST_VERSION = (1, 10, 0)


async def test_the_real_server_is_a_qdrant_that_we_support() -> None:
    """Every peer says who it is."""
    if not real_urls():
        pytest.skip(HOW_TO_RUN)
    async with real_qdrant() as qdrant:
        told = [(await qdrant.ask("GET", "/", url=url)).json for url in qdrant.urls]

    assert {one["title"] for one in told} == {"qdrant - vector search engine"}
    assert all((parse_version(one["version"]) or (0, 0, 0)) >= OLDEST_VERSION for one in told)
