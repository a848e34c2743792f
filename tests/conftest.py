"""What every test shares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.kit.patience import patient
from tests.kit.scripted import ScriptedCluster


@pytest_asyncio.fixture
async def scripted_cluster() -> AsyncIterator[ScriptedCluster]:
    """Three peers that answer as a healthy recorded cluster; a test switches their stage."""
    async with ScriptedCluster() as cluster:
        yield cluster


@pytest_asyncio.fixture
async def patient_time() -> AsyncIterator[None]:
    """Time that passes only while nothing is left to do; see tests/kit/patience.py for whom."""
    with patient(asyncio.get_running_loop()):
        yield


@pytest_asyncio.fixture(autouse=True)
async def no_task_outlives_its_test() -> AsyncIterator[None]:
    """Fail a test that leaves a task running: in the daemon that would be a leak."""
    before = asyncio.all_tasks()
    yield
    for _ in range(20):  # connections close over a few turns of the loop
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"tasks left behind: {left}")
