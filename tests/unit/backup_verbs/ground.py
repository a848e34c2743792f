"""Verbs of backups and jobs: as a person types them, and as their bodies are called."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from exporter.backup.shelf import Shelf, place_of
from exporter.backup.storage.opening import open_store
from exporter.backup.words import Level, Manifest, Proof, SetState
from exporter.backup_verbs.showing import Showing
from exporter.backup_verbs.words import Output
from exporter.clock import SystemClock
from exporter.config.backup import BackupSettings, RetentionSettings, StoreSettings
from exporter.config.clusters import ClusterSettings, PeerSettings
from exporter.config.settings import Settings
from exporter.jobs.locks import Locks
from tests.kit.daemons import environment
from tests.kit.sets import exported, manifest

CLOCK = SystemClock()
ENDED_AT = 1_768_464_060.0  # of the sets that are made up: 2026-01-15
_TIMES = {"started_at": ENDED_AT - 60.0, "ended_at": ENDED_AT}


@dataclass(frozen=True, slots=True)
class Typed:
    """What came of a verb that was typed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


# All in one process: each would take most of a second to begin.
_TYPE_THEM_ALL = """
import json, shlex, sys
from typer.testing import CliRunner
from exporter.cli import app
for line in sys.argv[1:]:
    done = CliRunner().invoke(app, shlex.split(line))
    print(json.dumps([done.exit_code, done.stdout, done.stderr]), flush=True)
"""


async def typed(*lines: str, folder: Path) -> list[Typed]:
    """Type verbs in this folder, one after the other, without a terminal."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _TYPE_THEM_ALL, *lines],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return [Typed(*json.loads(line)) for line in done.stdout.splitlines()]


@dataclass(slots=True)
class Answer:
    """Where a body answers to, and what it said."""

    is_json: bool = False
    width: int = 400
    written: io.StringIO = field(default_factory=io.StringIO)
    warned: io.StringIO = field(default_factory=io.StringIO)

    @property
    def showing(self) -> Showing:
        """What the body is given."""
        return Showing(
            output=Output.JSON if self.is_json else Output.TABLE,
            console=Console(file=self.written, width=self.width),
            errors=Console(file=self.warned, width=self.width),
        )

    @property
    def text(self) -> str:
        """What it wrote to stdout."""
        return self.written.getvalue()

    @property
    def lines(self) -> list[str]:
        """The same by lines, without what fills a table up."""
        return [line.rstrip() for line in self.text.splitlines()]

    @property
    def warnings(self) -> str:
        """What it wrote to stderr."""
        return self.warned.getvalue()

    @property
    def document(self) -> Any:
        """What it wrote to stdout, as JSON."""
        return json.loads(self.text)


class Room:
    """A store in a directory, with sets that are made up, and settings that name it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "store"
        self.folder.mkdir()
        self._settings = StoreSettings(url=str(self.folder))
        self.store = open_store(self._settings, CLOCK)
        self.shelf = Shelf(self.store, CLOCK)

    def settings(self, *urls: str, clusters: tuple[str, ...] = ("prod",), **backup: Any) -> Settings:
        """The configuration; every cluster has these peers."""
        peers = tuple(PeerSettings(url=url) for url in urls)
        return Settings(
            clusters=tuple(ClusterSettings(name=name, peers=peers) for name in clusters) if urls else (),
            backup=BackupSettings(store=self._settings, **backup),
        )

    async def keep(self, *, good: bool | None = True, **changed: Any) -> Manifest:
        """Store a set; `good`: proven at level 2, None: nobody looked. Its archive is 4,096 bytes."""
        return await self._keep(manifest(**_TIMES | changed), good)

    async def keep_export(self, *, good: bool | None = True, **changed: Any) -> Manifest:
        """Store an export of ten points. Its chunk is 4,096 bytes."""
        return await self._keep(exported(**_TIMES | changed), good)

    async def _keep(self, made: Manifest, good: bool | None) -> Manifest:
        for part in (*made.archives, *made.chunks):
            path = self.folder / place_of(made).file(part.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * part.size_bytes)
        await self.shelf.save_manifest(made)
        if good is not None and made.state is not SetState.INCOMPLETE:
            problems = () if good else ("a.snapshot is damaged",)
            await self.shelf.save_proof(made, Proof(Level.HASHED, made.ended_at, good, problems, "", 1.0))
        return made

    def locks(self) -> Locks:
        """The locks as another process has them."""
        return Locks(store=self.store, owner="elsewhere 4711", clock=CLOCK)


KEEPS_ONE = RetentionSettings(last=1, daily=0, weekly=0, monthly=0)
