"""How far a long chore is, for whoever shows it: a bar on a terminal, or nobody.

A chore goes through steps, one after the other: `begin`, any number of `advance`, `end`. Rate and time
left are the watcher's business; it has the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Who is told how far a chore is. Never awaits, never raises."""

    def begin(self, what: str, total_bytes: int | None) -> None:
        """A step begins. `what` is for people; `total_bytes` None: nobody knows, or nothing is moved."""

    def advance(self, done_bytes: int) -> None:
        """So many bytes of the step are done, counted from its beginning; fewer than before where a part
        is done again."""

    def end(self) -> None:
        """The step is over, well or not."""


class Silent:
    """Nobody watches."""

    def begin(self, what: str, total_bytes: int | None) -> None:
        """Tell nobody."""

    def advance(self, done_bytes: int) -> None:
        """Tell nobody."""

    def end(self) -> None:
        """Tell nobody."""


@contextmanager
def step(progress: Progress, what: str, total_bytes: int | None = None) -> Iterator[None]:
    """Begin a step, and end it whatever comes."""
    progress.begin(what, total_bytes)
    try:
        yield
    finally:
        progress.end()
