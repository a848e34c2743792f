"""The composition root: builds everything, starts it, reloads it, stops it."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

from exporter import __version__
from exporter.board import Board
from exporter.clock import SystemClock
from exporter.config.redaction import redacted_yaml
from exporter.config.settings import Settings
from exporter.duty.plan import plan
from exporter.duty.status import runbook_names, runbook_text
from exporter.duty.watch import AlertingWatch
from exporter.errors import ConfigError, Problem
from exporter.exposition.own import OwnMetrics
from exporter.exposition.press import Press
from exporter.exposition.renderer import Renderer
from exporter.jobs.room import Jobs
from exporter.logs import Redactor, configure, get_logger
from exporter.memory import PeerMemory
from exporter.model import ProducerKey, Reading
from exporter.observe.fleet import Fleet
from exporter.observe.records import RELOAD_AT, RELOAD_SUCCESSFUL
from exporter.reach import peers_of
from exporter.state import AlertingStore, JobStore, State, StateLock
from exporter.status import landing, status
from exporter.web.access import Access
from exporter.web.face import Face, Landing
from exporter.web.routes import web_app
from exporter.web.server import WebServer

log = get_logger()

# Python's cycle collector looks at every object again and again, and what we hold at 1,000 collections
# are half a million objects without cycles: at its default thresholds (700, 10, 10) it took 1.8 s of
# 45 s there, in stops of up to 0.37 s; at these 0.4 s.
COLLECTOR_THRESHOLDS = (50_000, 20, 100)

# Threads of asyncio's own pool, in which libraries look names up: a name server that is silent holds each
# for half a minute, and at its usual size of a few more than the cores one hanging name would hold up all.
LOOKUP_THREADS = 32


class Daemon:
    """`run`: one process that watches the configured clusters until it is told to stop."""

    def __init__(
        self,
        *,
        settings: Settings,
        read_settings: Callable[[], Settings],
        redactor: Redactor,
        flags: Sequence[str] = (),
    ) -> None:
        """`flags`: by which a verb is configured as we are, for commands that are told to people."""
        self.settings = settings
        self._flags = flags
        self._read_settings = read_settings
        self._redactor = redactor
        self._clock = SystemClock()
        self._board = Board(clock=self._clock)
        # Threads that read payloads and derive: three, so that a peer of 10,000 collections, which takes
        # seconds to read, keeps no other waiting. What one source of a peer read is read in order.
        self._reader = ThreadPoolExecutor(max_workers=3, thread_name_prefix="reader")
        self._press = Press(
            board=self._board, renderer=Renderer(clock=self._clock), own=OwnMetrics(version=__version__)
        )
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reload_failure: str | None = None
        self._reloaded_at_seconds = self._clock.now()
        self._server: WebServer | None = None

    async def run(self, on_started: Callable[[Daemon], Awaitable[None]] | None = None) -> None:
        """Run until SIGTERM, SIGINT or `stop`. Raises StateError or OSError where it cannot start."""
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        gc.freeze()  # what was imported stays for good
        lookups = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")
        asyncio.get_running_loop().set_default_executor(lookups)
        async with AsyncExitStack() as stack:
            stack.callback(self._reader.shutdown, wait=False, cancel_futures=True)
            self._handle_signals(stack)
            await self._reloading.acquire()  # a reload asked for during the start waits for its end
            state = await self._open_state(stack)
            remembered = await state.in_thread(state.known_peers) if state else ()
            instance = await state.in_thread(state.instance_id) if state else str(uuid4())
            self._jobs = Jobs(
                peers_of=lambda cluster: peers_of(self.fleet.watches.get(cluster), self._clock),
                board=self._board,
                clock=self._clock,
                store=JobStore(state) if state is not None else None,
                flags=self._flags,
            )
            self.fleet = Fleet(
                board=self._board,
                clock=self._clock,
                off_loop=self._off_loop,
                remembered=remembered,
                instance=instance,
                covered=self._jobs.expected,
            )
            self._alerting = AlertingWatch(
                plan=plan(self.settings),
                board=self._board,
                fleet=self.fleet,
                clock=self._clock,
                store=AlertingStore(state) if state is not None else None,
                off_loop=self._off_loop,
                newest_backup=self._jobs.note,
            )
            await self._alerting.restore()
            works = self._jobs.build(self.settings)
            self._server = self._web()
            await self._server.start()
            stack.push_async_callback(self._server.stop)
            stack.push_async_callback(self.fleet.close)
            self._post_reload()
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._press.run(self.fleet.derive))]
                running.append(tasks.create_task(self.fleet.run()))
                if state is not None:
                    running.append(tasks.create_task(PeerMemory(state=state, fleet=self.fleet).run()))
                await self.fleet.exchange(self.fleet.build(self.settings.clusters))
                # not before: what is watched decides what is gone
                running.append(tasks.create_task(self._alerting.run()))
                await self._jobs.start()
                await self._jobs.exchange(works)
                self._reloading.release()
                log.info("daemon.started", version=__version__, addresses=self.addresses)
                if on_started is not None:
                    await on_started(self)
                await self._stop.wait()
                log.info("daemon.stopping")
                await self._jobs.stop()
                await self._alerting.finish()
                for task in running:
                    task.cancel()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every socket it serves on; empty before it runs."""
        return () if self._server is None else self._server.addresses

    def stop(self) -> None:
        """End `run`."""
        self._stop.set()

    def status(self) -> dict[str, Any]:
        """What is known now, ready for JSON."""
        return status(self.fleet.watches, self._board.view())

    async def reload(self) -> str | None:
        """Read the configuration again and put it in force whole, or keep the old one and say why."""
        async with self._reloading:
            try:
                settings = await asyncio.to_thread(self._read_settings)
                self._refuse_what_needs_a_restart(settings)
                wanted = self.fleet.build(settings.clusters)
                alerting = await asyncio.to_thread(plan, settings, self._alerting.plan)
                works = self._jobs.build(settings)
            except ConfigError as error:
                self._reload_failure = str(error)
                self._post_reload()
                log.error("reload.failed", error=str(error))
                return self._reload_failure
            self._redactor.hide(secret.reveal() for secret in settings.secrets())
            configure(level=settings.log.level, format=settings.log.format, redactor=self._redactor)
            async with self._alerting.exchanging(alerting):
                await self.fleet.exchange(wanted)
                await self._jobs.exchange(works)
            self.settings = settings
            self._reload_failure = None
            self._reloaded_at_seconds = self._clock.now()
            self._post_reload()
            log.info("reload.finished", clusters=len(wanted))
            return None

    def _refuse_what_needs_a_restart(self, settings: Settings) -> None:
        """Sockets and the state directory are taken at start. Raises ConfigError naming what changed."""
        changed = [
            path
            for path, old, new in (
                ("web", self.settings.web, settings.web),
                ("state", self.settings.state, settings.state),
            )
            if old != new
        ]
        if changed:
            message = "changed, and takes effect only at a restart: put it back, or restart the daemon"
            raise ConfigError([Problem("configuration", None, path, message) for path in changed])

    def _post_reload(self) -> None:
        self._board.post(
            ProducerKey("", "", "configuration"),
            (
                Reading(RELOAD_SUCCESSFUL, (), float(self._reload_failure is None)),
                Reading(RELOAD_AT, (), self._reloaded_at_seconds),
            ),
        )

    async def _off_loop(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *arguments)

    async def _open_state(self, stack: AsyncExitStack) -> State | None:
        directory = self.settings.state.dir
        if directory is None:
            log.info("state.off", hint="set --state.dir to remember peers that are down over a restart")
            return None
        lock = StateLock(directory=directory)
        await asyncio.to_thread(lock.acquire)
        stack.callback(lock.release)
        state = await asyncio.to_thread(State.open, directory, clock=self._clock)
        stack.callback(state.close)
        return state

    def _web(self) -> WebServer:
        """Build the HTTP face. Raises ConfigError for what is wrong with the web file."""
        web = self.settings.web
        access = Access(path=web.config_file, clock=self._clock)
        access.open()
        app = web_app(face=self._face(), access=access, enable_lifecycle=web.enable_lifecycle)
        return WebServer(app=app, access=access, listen_addresses=web.listen_addresses)

    def _face(self) -> Face:
        return Face(
            page=lambda: self._press.page,
            ready=lambda: self.fleet.ready,
            status=self.status,
            config_yaml=lambda: redacted_yaml(self.settings),
            reload=self.reload,
            landing=self._landing,
            alerts=self._alerting.alerts_document,
            rules=self._alerting.rules_document,
            runbooks=runbook_names,
            runbook=runbook_text,
        )

    def _landing(self) -> Landing:
        page = landing(self.fleet.watches, self._board.view(), self._reload_failure)
        return replace(
            page,
            external_url=self.settings.web.external_url,
            alerts=self._alerting.landing_alerts(),
        )

    def _handle_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        reloads: set[asyncio.Task[Any]] = set()

        def reload() -> None:
            task = loop.create_task(self.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        for number, act in (
            (signal.SIGTERM, self.stop),
            (signal.SIGINT, self.stop),
            (signal.SIGHUP, reload),
        ):
            # only the main thread may handle signals; elsewhere `stop` is called instead
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, act)
                stack.callback(loop.remove_signal_handler, number)
