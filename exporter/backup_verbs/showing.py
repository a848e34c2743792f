"""Where a verb's answer goes: a table or JSON to stdout, bars to stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.table import Table
from rich.text import Text

from exporter.backup.progress import Progress, Silent
from exporter.backup_verbs.words import Output
from exporter.printable import printable

_ON_ONE_LINE = ("id", "points", "size", "proven")


@dataclass(frozen=True, slots=True)
class Showing:
    """How one verb answers."""

    output: Output
    console: Console
    errors: Console

    @property
    def is_json(self) -> bool:
        """The answer is read by a program."""
        return self.output is Output.JSON

    def document(self, document: Any) -> None:
        """Print JSON."""
        self.console.out(json.dumps(document, indent=2), highlight=False)

    def say(self, text: str) -> None:
        """Print a line that stands for the answer; nothing where a program reads."""
        if not self.is_json:
            self.console.print(Text(printable(text)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a line to stderr, whoever reads the answer."""
        self.errors.print(Text(printable(text)), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows below these headings; whatever stands in a cell is text.

        On a narrow terminal cells go over several lines, and nothing of them is left out. Ids, which are
        there to be copied, and short cells stay on one.
        """
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name, overflow="fold", no_wrap=name in _ON_ONE_LINE)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.console.print(table)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Yield who is told how far it is: bars with rate and time left on a terminal, else nobody."""
        if not self.errors.is_terminal:
            yield Silent()
            return
        bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            _Bytes(binary_units=True),
            _Speed(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.errors,
            transient=True,
        )
        with bars:
            yield _Drawn(bars)


class _Bytes(DownloadColumn):
    """Bytes done; nothing in a step that moves none, such as waiting for an optimizer."""

    def render(self, task: Task) -> Text:
        return super().render(task) if _moves_bytes(task) else Text()


class _Speed(TransferSpeedColumn):
    """Bytes a second, as far as there are any."""

    def render(self, task: Task) -> Text:
        return super().render(task) if _moves_bytes(task) else Text()


def _moves_bytes(task: Task) -> bool:
    return task.total is not None or task.completed > 0


class _Drawn:
    """A chore's steps as bars, one at a time."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def begin(self, what: str, total_bytes: int | None) -> None:
        """Draw a bar."""
        self._task = self._bars.add_task(printable(what), total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        """Move it."""
        if self._task is not None:
            self._bars.update(self._task, completed=done_bytes)

    def end(self) -> None:
        """Take it away."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


def day(at: float | None) -> str:
    """Return a moment in UTC to the second, "never" for None."""
    return "never" if at is None else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def size(size_bytes: int) -> str:
    """Return bytes in the unit that leaves one to four digits before the point."""
    number, units = float(size_bytes), ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {units[-1]}"
