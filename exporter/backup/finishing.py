"""The ends of chores: what is owed also by one that fails, or is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from exporter.errors import ExporterError
from exporter.logs import get_logger

log = get_logger()


async def tried(work: Awaitable[None]) -> None:
    """Do a part of a clean-up. What fails of it is only logged, for another error is the one to tell."""
    try:
        await work
    except ExporterError as error:
        log.warning("backup.left", reason=str(error))


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do what may not be left in the middle: whoever cancels it waits until its outcome is known.

    A manifest on its way must not arrive behind a clean-up that took its archives away.
    """
    task = asyncio.ensure_future(work)
    stopped: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            stopped = error
    if stopped is not None:
        task.exception()  # of which the cancelled run says nothing more
        raise stopped
    await task


async def shielded(work: Coroutine[Any, Any, None], longest_seconds: float) -> None:
    """Do what is owed also by a run that is cancelled, within a time."""
    task = asyncio.ensure_future(asyncio.wait_for(work, longest_seconds))
    try:
        await asyncio.shield(task)
    except TimeoutError:
        log.warning("backup.left", reason=f"not cleaned up within {longest_seconds:g} s")
