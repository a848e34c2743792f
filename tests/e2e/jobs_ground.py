"""A daemon with jobs and a store, and what a person types beside it, for the end-to-end tests of jobs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter.backup.content import ContentHash
from exporter.backup.shelf import Shelf
from exporter.backup.storage.opening import open_store
from exporter.clock import SystemClock
from exporter.config.backup import StoreSettings
from exporter.jobs.locks import Locks
from tests.crash.ground import Lives, forking
from tests.crash.verb import Life
from tests.kit.daemons import COMMAND, RunningDaemon, eventually, hurried, run_command

if TYPE_CHECKING:
    from tests.unit.embedded.kit import Served

needs_engine = pytest.mark.skipif(
    find_spec("qdrant_edge") is None, reason="the embedded server's engine is not installed: make setup"
)

CLOCK = SystemClock()
NOBODY = "http://127.0.0.1:9/"  # alerts are looked at where the daemon shows them
POLL = {"fast": 0.5, "medium": 0.5, "slow": 1.0, "deadline": 5.0}  # in our seconds
# A vacuum, as an import, looks at a quiet server for seconds before it changes anything.
SPEED = 10.0
VARIABLE = "QDRANT_EXPORTER_CONFIG_FILE"
# Nothing is due while these tests run.
NEVER = {"cron": "0 0 29 2 *"}
NIGHTLY = {"name": "nightly", "kind": "backup", "schedule": NEVER}
PROOF = {"name": "proof", "kind": "verify", "level": 4, "schedule": NEVER}
TIDY = {"name": "tidy", "kind": "prune", "schedule": NEVER}


class Ground:
    """A server's URL, the configuration of a daemon that watches it, and the verbs of a person beside it."""

    def __init__(self, folder: Path, *urls: str, lives: Lives | None = None, speed: float = 1.0) -> None:
        """`lives`: of verbs that have everything imported. `speed`: how many seconds pass in one of ours."""
        self.folder = folder
        self.urls = urls
        self.file = folder / "config.yaml"
        self.store = folder / "store"
        self.store.mkdir()
        store = open_store(StoreSettings(url=str(self.store)), CLOCK)
        self.shelf = Shelf(store, CLOCK)
        self.locks = Locks(store=store, owner="elsewhere 4711", clock=CLOCK)
        self.lives = lives
        self.speed = speed
        self.daemon = self.another(COMMAND if speed == 1.0 else hurried(speed))
        self.configure(NIGHTLY, PROOF, TIDY)

    def another(self, command: Sequence[str] = COMMAND) -> RunningDaemon:
        """Return a daemon of the same configuration, not started."""
        flags = (f"--config.file={self.file}", "--web.enable-lifecycle")
        return RunningDaemon(self.folder, *flags, command=command)

    def configure(self, *jobs: dict[str, Any]) -> None:
        """Write the configuration with these jobs."""
        peers = [{"url": url, "storage_path": str(self.folder)} for url in self.urls]
        poll = {name: f"{self.speed * seconds * 1000:.0f}ms" for name, seconds in POLL.items()}
        cluster = {"name": "shop", "peers": peers, "poll": poll | {"budget_ratio": 0.5}}
        tree = {
            "clusters": [cluster | {"probes": {"enabled": False}}],
            "state": {"dir": "state"},
            "backup": {
                "store": {"url": "store"},
                "verify": {"allow_same_cluster": True},
                "retention": {"last": 1, "daily": 0, "weekly": 0, "monthly": 0},
            },
            "jobs": list(jobs),
            "alerting": {
                "receivers": [{"name": "hook", "webhook": {"url": NOBODY}}],
                "rules": {
                    "CollectionMissing": {"levels": {"critical": {"for": "0s"}}},
                    "VacuumIntentOpen": {"levels": {"warning": {"threshold": 0}}},
                },
            },
        }
        self.file.write_text(yaml.safe_dump(tree), encoding="utf-8")

    def let_leases_end(self) -> None:
        """Have more than five minutes gone by for who holds a lock in the store."""
        for path in self.store.glob("locks/**/*.json"):
            claim = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps(claim | {"until": claim["until"] - 400.0}), encoding="utf-8")

    async def verb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type a verb; the environment says where the configuration is."""
        if self.lives is None:
            return await self.slow_verb(*arguments)
        output = self.folder / f"said-{len(list(self.folder.glob('said-*')))}"
        life = Life([*arguments], output=str(output), speed=self.speed, has_engine=True)
        await self.lives.begin(life)
        code = os.waitstatus_to_exitcode(await self.lives.ended())
        return subprocess.CompletedProcess(life.arguments, code, output.read_text(encoding="utf-8"))

    async def slow_verb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type one that begins from nothing, and runs beside others."""
        return await run_command(*arguments, more_environment={VARIABLE: str(self.file)})

    async def document(self, *arguments: str, code: int = 0) -> Any:
        """Return what a verb that ends so printed for programs."""
        done = await self.verb(*arguments, "--output=json")
        assert done.returncode == code, (done, self.daemon.log)
        return json.loads(done.stdout)

    async def told(self, alert: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        """Type the command that an alert names in its last line."""
        program, *arguments = shlex.split(alert["annotations"]["action"].splitlines()[-1])
        assert program == "qdrant-exporter"
        return await self.verb(*arguments)

    async def firing(self, rule: str, *, by: RunningDaemon | None = None) -> dict[str, Any]:
        """Return the alert of a rule as soon as it fires."""

        async def look() -> dict[str, Any] | None:
            alerts = (await (by or self.daemon).get("/api/v1/alerts")).json()["data"]["alerts"]
            found = (one for one in alerts if one["labels"]["alertname"] == rule and one["state"] == "firing")
            return next(found, None)

        return await eventually(look, what=f"{rule} fires")


@asynccontextmanager
async def quick_ground(folder: Path, url: str) -> AsyncIterator[Ground]:
    """A ground on which what waits for seconds waits for a tenth of them, and verbs begin at once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(VARIABLE, str(folder / "config.yaml"))
        async with forking() as lives:
            yield Ground(folder, url, lives=lives, speed=SPEED)


async def content(served: Served, collection: str) -> str:
    """What a collection of the server holds, as one number."""
    found = ContentHash()
    body = {"limit": 1_000, "with_payload": True, "with_vector": True}
    page = await served.result("POST", f"/collections/{collection}/points/scroll", body)
    for point in page["points"]:
        found.add_record(point)
    return str(found)


def flip_a_byte(archive: Path) -> None:
    """Damage a file in its middle."""
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
