"""What a job does, as the runner asks for it. One file in `bodies` for each kind."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from exporter.config.jobs import JobSettings
from exporter.jobs.words import Part


class Chore(Protocol):
    """One run of a job, opened: with ways to the peers, or whatever it takes."""

    collections: tuple[str, ...]  # what it is about, resolved when it begins, in the order of work

    def turn(self) -> AbstractAsyncContextManager[object]:
        """Return what is held around the work on each collection, and taken before its lock."""
        ...

    async def do(self, collection: str) -> Part:
        """Do it for one collection, whose lock is held. Safe to cancel at any moment.

        Raises JobError and SourceError, which are told as its failure; the next collection goes on.
        """
        ...


class Body(Protocol):
    """What jobs of one kind do."""

    frees: bool  # it only deletes, so it is done also where the store has no room for a lock

    async def make_room(self, cluster: str) -> int:
        """Have bytes of a full store freed for a run, before anything is locked for it; return how many.

        Raises JobError and SourceError.
        """
        ...

    def opened(self, job: JobSettings, cluster: str) -> AbstractAsyncContextManager[Chore]:
        """Open a run. Raises JobError and SourceError where nothing can be done at all."""
        ...
