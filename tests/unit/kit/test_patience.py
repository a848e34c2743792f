"""Time in the tests that stands still while there is something to do."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.kit.patience import LoopClock, patient
from tests.kit.servers import Wire, WireServer


@pytest.mark.usefixtures("patient_time")
async def test_a_wait_is_as_long_as_it_says_and_takes_no_time() -> None:
    """An hour, to whoever asks the loop for the time."""
    clock, began = LoopClock(), time.monotonic()
    started = clock.monotonic()

    await asyncio.sleep(3_600.0)

    assert clock.monotonic() - started == pytest.approx(3_600.0)
    assert time.monotonic() - began < 60.0


@pytest.mark.usefixtures("patient_time")
async def test_work_is_never_late() -> None:
    """Neither what blocks the loop, nor what goes over a socket."""
    clock = LoopClock()
    started = clock.monotonic()

    async def play(wire: Wire) -> None:
        await wire.request()
        time.sleep(0.1)
        await wire.send(b"done")

    async with WireServer(play) as server, asyncio.timeout(0.05):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert answer == b"done"
    assert clock.monotonic() - started < 0.05


@pytest.mark.usefixtures("patient_time")
async def test_what_never_comes_is_given_up_at_its_deadline() -> None:
    """And not before."""
    clock = LoopClock()
    started = clock.monotonic()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 10.0)

    assert clock.monotonic() - started == pytest.approx(10.0)


async def test_afterwards_the_machines_time_is_back() -> None:
    """For whatever the loop does next."""
    with patient(asyncio.get_running_loop()):
        await asyncio.sleep(3_600.0)

    assert asyncio.get_running_loop().time() == pytest.approx(time.monotonic(), abs=60.0)
