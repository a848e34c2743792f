"""The processes that are killed: verbs of the real command, in a hurry.

`python -m tests.crash.verb` reads one line of JSON on stdin for each life, forks, and writes the pid and,
when that life ended, its exit status. Forked, because imports take longer than a life should. A life is
`qdrant-exporter` with its arguments, in a world of its own:

- its wall clock is ahead, for whatever waits for minutes between two lives;
- its event loop and its monotonic clock run faster, for whatever waits for seconds in one;
- a chunk of an export holds one page, so that there are several;
- before each of its changes to a file or directory below `store` it takes a step, and may die there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import exporter.app
import exporter.backup.storage.objects
import exporter.backup_verbs.exporting
import exporter.backup_verbs.importing
import exporter.backup_verbs.looking
import exporter.backup_verbs.proving
import exporter.backup_verbs.pruning
import exporter.backup_verbs.restoring
import exporter.backup_verbs.taking
import exporter.backup_verbs.vacuuming
import exporter.one_look  # noqa: F401  # what the verbs import late, all before the first fork
from exporter.backup.exporting.taking import export
from exporter.cli import main as command
from tests.kit.hurried import hurry

CHUNK_BYTES = 1
CHANGES = frozenset({"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir"})


@dataclass(frozen=True, slots=True)
class Life:
    """What one life is told."""

    arguments: list[str]
    output: str  # the file for what it prints; beside it NAME.steps, how many steps it made
    ahead_seconds: float = 0.0
    speed: float = 1.0
    dies_at_step: int | None = None
    has_engine: bool = False  # whether the extra `edge` is installed


class Steps:
    """Counts what is done to files, as the interpreter tells it, and dies in time."""

    def __init__(self, dies_at: int | None) -> None:
        self.made = 0
        self._dies_at = dies_at

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take a step before a change: one that is about to be made is not made by the dead."""
        if event in CHANGES or (event == "open" and _writes(arguments)):
            self.made += 1
            if self.made == self._dies_at:
                os.kill(os.getpid(), signal.SIGKILL)


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, _, flags = arguments
    return isinstance(flags, int) and bool(flags & os.O_CREAT) and "__pycache__" not in str(path)


def live(life: Life) -> int:
    """Live, and return the exit code."""
    output = os.open(life.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(output, standard)
    really = time.time
    time.time = lambda: really() + life.ahead_seconds
    if not life.has_engine:
        sys.modules["qdrant_edge"] = None  # type: ignore[assignment]  # what Python says: not installed
    hurry(life.speed)
    steps = Steps(life.dies_at_step)
    sys.addaudithook(steps.hear)
    sys.argv = ["qdrant-exporter", *life.arguments]
    code: object = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
    made = steps.made
    with open(f"{life.output}.steps", "w", encoding="ascii") as file:
        file.write(str(made))
    with suppress(ValueError):
        sys.stdout.flush()
    return code if isinstance(code, int) else int(code is not None)


def main() -> None:
    export.__kwdefaults__["chunk_bytes"] = CHUNK_BYTES
    for line in sys.stdin:
        life = Life(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            try:
                code = live(life)
            except BaseException:  # noqa: BLE001  # told as the interpreter would tell it
                traceback.print_exc()
                code = 70
            sys.stderr.flush()
            os._exit(code)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
