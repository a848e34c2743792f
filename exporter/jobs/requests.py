"""What people ask for by `jobs run`: left in the database by a verb, answered here, waited for there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exporter.clock import Clock
from exporter.errors import StateError
from exporter.logs import get_logger
from exporter.state import JobStore, RunRequest

log = get_logger()

# A request that lay longer is of a person who went away, when no daemon was there.
REQUEST_LASTS_SECONDS = 300.0

# Begin a run of a job: its number to come, which is cancelled where none is begun, or why there is none.
Begin = Callable[[str], "asyncio.Future[int] | str"]


class Requests:
    """Answers requests. Without a state directory nobody can leave any."""

    def __init__(self, *, store: JobStore | None, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._failure = ""

    async def look(self, begin: Begin) -> None:
        """Answer what was asked for since the last look. A disk that says no is logged once."""
        store = self._store
        if store is None:
            return
        try:
            for request in await store.in_thread(store.requests):
                await self._answer(store, request, begin)
        except StateError as error:
            if str(error) != self._failure:
                log.error("state.failed", error=str(error))
            self._failure = str(error)
        else:
            self._failure = ""

    async def _answer(self, store: JobStore, request: RunRequest, begin: Begin) -> None:
        number = request.number
        if self._clock.now() - request.requested_at > REQUEST_LASTS_SECONDS:
            begun: asyncio.Future[int] | str = "it was asked for too long ago, when no daemon looked"
        else:
            begun = begin(request.job)
        if not isinstance(begun, str):
            await asyncio.wait([begun])
            if not begun.cancelled():
                run = begun.result()
                await store.in_thread(lambda: store.answer(number, run=run))
                return
            begun = "the daemon is stopping"
        refusal = begun
        await store.in_thread(lambda: store.answer(number, refusal=refusal))
