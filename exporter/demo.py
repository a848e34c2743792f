"""`demo`: two embedded servers under a scripted load, the daemon that watches them, and whom it alerts."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal

from rich.console import Console

from exporter.alerting.spoken import quantity
from exporter.app import Daemon
from exporter.backup.shelf import Shelf
from exporter.backup.storage.opening import open_store
from exporter.backup.words import Level, StoredSet
from exporter.clock import SystemClock
from exporter.config.addresses import split_listen_address
from exporter.config.alerting import (
    AlertingSettings,
    LevelOverride,
    ReceiverSettings,
    RouteSettings,
    RuleOverride,
    SlackSettings,
)
from exporter.config.alerting_fields import Severity
from exporter.config.backup import BackupSettings, RetentionSettings, StoreSettings
from exporter.config.clusters import ClusterSettings, PeerSettings, PollSettings
from exporter.config.jobs import JobSettings, ScheduleSettings
from exporter.config.probes import CanarySettings, ProbeSettings, ProbesSettings, RecallSettings
from exporter.config.secret import Secret
from exporter.config.settings import LogSettings, Settings, WebSettings
from exporter.embedded.chat import Chat
from exporter.embedded.demo_load import PAPERS, demo_servers, play
from exporter.embedded.server import EmbeddedServer
from exporter.logs import Redactor, configure
from exporter.observe.derived.collections import DELETED, LAG, POINTS
from exporter.status import status_in_force, total_of, value_of

# A script of minutes wants a closer look than a deployment: three times as often as the defaults, and
# the servers, which share two cores with their own load, may spend a tenth of their time on it.
POLL = PollSettings(
    fast_seconds=5.0, medium_seconds=10.0, slow_seconds=30.0, deadline_seconds=4.0, budget_ratio=0.1
)
LOOK_SECONDS = 2.0
# A search a second, so that percentiles and recall move within a scene of half a minute.
PROBES = ProbesSettings(
    budget_ratio=0.1,
    collections=(
        ProbeSettings(interval_seconds=1.0, recall=RecallSettings(interval_seconds=1.0, window_seconds=30.0)),
    ),
    canary=CanarySettings(enabled=True, interval_seconds=5.0),
)


def _after(seconds: float, severity: Severity = "critical", **more: float) -> RuleOverride:
    """A rule that waits only so long."""
    return RuleOverride(levels={severity: LevelOverride(for_seconds=seconds, **more)})


# The shipped rules at the script's pace: a cause still fires before what it explains.
RULES = {
    "AccessDenied": _after(0.0),
    "PeerHung": _after(15.0),
    "PeerDown": _after(30.0),
    "OptimizerNoSpace": _after(0.0),
    "RecallLow": _after(5.0, "warning"),
    "IndexingLag": _after(15.0, "warning", threshold=4_000.0, clear=500.0),
}
ROUTE = RouteSettings(group_wait_seconds=2.0, group_interval_seconds=5.0)


def _job(kind: Literal["backup", "verify", "prune"], every_seconds: float, **more: Any) -> JobSettings:
    schedule = ScheduleSettings(every_seconds=every_seconds)
    return JobSettings(name=kind, kind=kind, cluster=PAPERS.server, schedule=schedule, **more)


# Of the server that nobody writes to: its backups show nothing but themselves, and one that falls due while
# the server is gone fails, as it must.
JOBS = (_job("backup", 60.0), _job("verify", 90.0, level=4), _job("prune", 300.0))
# So that the store does not grow with the rounds.
KEPT = RetentionSettings(last=3, daily=0, weekly=0, monthly=0)


async def demo(listen_address: str) -> None:
    """Run the demo until Ctrl-C. Raises OSError where the address is taken."""
    console = Console(highlight=False)
    redactor = Redactor()
    configure(level="error", format="auto", redactor=redactor)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="qdrantx-demo-backups-"))
        store = StoreSettings(url=folder)
        servers = demo_servers()
        for server in servers.values():
            await server.start()
            stack.push_async_callback(server.stop)
        narrator = Narrator(console)
        chat = Chat(on_message=narrator.hear)
        await chat.start()
        stack.push_async_callback(chat.stop)
        settings = _settings(servers, listen_address, chat, store)
        daemon = Daemon(settings=settings, read_settings=lambda: settings, redactor=redactor)

        async def started(daemon: Daemon) -> None:
            _say_where_to_look(console, servers, daemon, folder)
            shelf = Shelf(open_store(store, SystemClock()), SystemClock())
            told = narrator.follow(daemon), narrator.follow_backups(shelf)
            for work in (play(servers, narrator.say), *told):
                task = asyncio.create_task(work)
                task.add_done_callback(lambda done: _stop_on_failure(done, daemon))
                stack.push_async_callback(_cancelled, task)

        await daemon.run(on_started=started)
        console.print("Stopped.")


def _settings(
    servers: Mapping[str, EmbeddedServer], listen_address: str, chat: Chat, store: StoreSettings
) -> Settings:
    slack = ReceiverSettings(name="slack", slack=SlackSettings(url=Secret(chat.url)))
    return Settings.model_construct(
        clusters=tuple(
            ClusterSettings.model_construct(
                name=name,
                peers=(PeerSettings.model_construct(url=server.url),),
                poll=POLL,
                probes=PROBES,
            )
            for name, server in servers.items()
        ),
        web=WebSettings.model_construct(
            listen_addresses=(listen_address,), external_url=_external_url(listen_address)
        ),
        alerting=AlertingSettings(receivers=(slack,), route=ROUTE, rules=RULES),
        backup=BackupSettings(store=store, retention=KEPT),
        jobs=JOBS,
        log=LogSettings(level="error"),
    )


def _external_url(listen_address: str) -> str | None:
    """Where messages say that runbooks are; None where the system chooses the port."""
    host, port = split_listen_address(listen_address)
    return f"http://{host or '127.0.0.1'}:{port}" if port and ":" not in host else None


def _stop_on_failure(task: asyncio.Task[None], daemon: Daemon) -> None:
    if not task.cancelled() and task.exception() is not None:
        daemon.stop()


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End a task of ours; a failure of it comes out here."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return


def _say_where_to_look(
    console: Console, servers: Mapping[str, EmbeddedServer], daemon: Daemon, folder: str
) -> None:
    host, port = daemon.addresses[0]
    page = f"http://{host}:{port}/"
    lines = ["Two embedded Qdrant servers, each a cluster of one peer:"]
    lines += [f"  {name:<8} {server.url}" for name, server in servers.items()]
    lines += [
        f"The daemon that watches them: {page}  (metrics: {page}metrics)",
        "Its alerts go to a receiver as Slack would be one; what arrives there is shown below.",
        f"  curl -s {page}metrics | grep indexing_lag_points",
        f"  curl -s {page}metrics | grep -E 'latency_p95|recall_ratio|canary_visible'",
        f"It backs {PAPERS.name} up every minute, and restores the newest backup in a test:",
        f"  qdrant-exporter backup list --store {folder}",
        f"  curl -s {page}metrics | grep -E 'qdrantx_(backup|job)'",
        "Ctrl-C stops everything, and deletes the backups.",
        "",
    ]
    for line in lines:
        console.print(line, soft_wrap=True)


class Narrator:
    """Says on the terminal what happens, and what the daemon sees of it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Say one line with the time of day."""
        self._console.print(f"{time.strftime('%H:%M:%S')}  {text}", soft_wrap=True, markup=False)

    def hear(self, lines: Sequence[str]) -> None:
        """Show a message that arrived at the chat."""
        self.say(f"          SLACK  {lines[0]}")
        for line in lines[1:]:
            self._console.print(f"                 | {line}", soft_wrap=True, markup=False)

    async def follow(self, daemon: Daemon) -> None:
        """Say what the daemon sees whenever that changes, until cancelled."""
        while True:
            for name, text in (*_sights(daemon), *_measured(daemon)):
                if self._seen.get(name) != text:
                    self._seen[name] = text
                    self.say(f"          the daemon sees {name}: {text}")
            await asyncio.sleep(LOOK_SECONDS)

    async def follow_backups(self, shelf: Shelf) -> None:
        """Say of each backup when it is whole, and when it is proven, until cancelled."""
        while True:
            for stored in reversed(await shelf.sets()):
                for name, text in _ends(stored):
                    if name not in self._seen:
                        self._seen[name] = text
                        self.say(f"          {text}")
            await asyncio.sleep(LOOK_SECONDS)


def _ends(stored: StoredSet) -> Iterator[tuple[str, str]]:
    """What jobs brought to an end with a backup, by a name that no other end has."""
    manifest = stored.manifest
    what = f"backup {manifest.id} of {manifest.collection}"
    points = "" if manifest.points is None else f", {manifest.points:,} points"
    size = quantity(manifest.size_bytes, "bytes")
    yield what, f"{what} is {manifest.state.value}{points}, {size}"
    for proof in stored.proofs:
        if proof.level is Level.RESTORED:
            held = f"{sum(proof.points.values()):,} points, in {proof.took_seconds:.1f} s"
            good = f"is proven up to level {proof.level.value}: restored in a test, {held}"
            yield f"{what}, proof", f"{what} {good}" if proof.good else f"{what} is BAD: {proof.problems[0]}"


def _sights(daemon: Daemon) -> Iterator[tuple[str, str]]:
    for cluster, watch in daemon.fleet.watches.items():
        for label, poller in watch.pollers().items():
            if poller.up is not None:
                yield f"{cluster}, peer {label}", "up" if poller.up else "DOWN"
        for name in watch.derived.selected:
            readings = watch.derived.blocks[f"collection:{name}"]
            points, lag = value_of(readings, POINTS), total_of(readings, LAG)
            parts = [status_in_force(readings) or "unknown"]
            parts += [f"{points:,.0f} points"] if points is not None else []
            parts += [f"indexing lag {lag:,.0f}"] if lag is not None else []
            parts += [f"deleted {deleted:,.0f}"] if (deleted := value_of(readings, DELETED)) else []
            yield f"{cluster}/{name}", ", ".join(parts)


def _measured(daemon: Daemon) -> Iterator[tuple[str, str]]:
    """What the probes measure, rounded so that it changes only where there is something to see."""
    for cluster, known in daemon.status()["clusters"].items():
        for name, measured in known["probes"]["collections"].items():
            p95, recall = measured["search_p95_seconds"], measured["recall_ratio"]
            if p95 is not None:
                yield f"{cluster}/{name}, search p95", _about(p95)
            if recall is not None:
                yield f"{cluster}/{name}, recall", f"about {round(recall * 10) / 10}"


def _about(seconds: float) -> str:
    """A time to the next of 1, 3, 10, 30, … milliseconds."""
    steps = (1, 3, 10, 30, 100, 300, 1_000, 3_000)
    step = next((step for step in steps if seconds * 1_000 <= step), None)
    return "over 3,000 ms" if step is None else f"at most {step:,} ms"
