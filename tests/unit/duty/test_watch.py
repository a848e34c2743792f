"""Alerting as it runs, over real sockets: an alarm that is always true, and receivers that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.alerting.receivers.webhook import Webhook
from exporter.board import Board
from exporter.clock import SystemClock
from exporter.config.alerting import WebhookSettings
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.duty.plan import Plan, plan
from exporter.duty.watch import AlertingWatch
from exporter.model import ProducerKey
from exporter.observe.fleet import Fleet
from tests.kit.receiver import REFUSE, ScriptedReceiver

ALWAYS = """\
rules:
  - name: Always
    metric: qdrantx_alerting_unsaved
    op: ">="
    levels: {critical: {threshold: 0}}
    annotations: {summary: "it is"}
"""


def planned(folder: Path, running: Plan | None = None, **receivers: str) -> Plan:
    """Return alerting with one rule that fires at once, and these webhooks by name."""
    file = folder / "always.yaml"
    file.write_text(ALWAYS, encoding="utf-8")
    tree: dict[str, Any] = {
        "rule_files": [str(file)],
        "receivers": [{"name": name, "webhook": {"url": url}} for name, url in receivers.items()],
    }
    return plan(Settings.model_validate({"alerting": tree}), running)


class Running:
    """The alerts of one daemon, and what it says of itself."""

    def __init__(self, of: Plan) -> None:
        self.board = Board(clock=SystemClock())
        fleet = Fleet(board=self.board, clock=SystemClock(), off_loop=asyncio.to_thread)
        self.watch = AlertingWatch(
            plan=of,
            board=self.board,
            fleet=fleet,
            clock=SystemClock(),
            store=None,
            off_loop=asyncio.to_thread,
        )

    def page(self) -> dict[tuple[str, ...], float]:
        """Return the readings of alerting itself, by name and labels."""
        readings = [each for of_one in self.board.view().standing.values() for each in of_one]
        return {(reading.spec.name, *reading.labels): reading.value for reading in readings}

    async def until(self, holds: Callable[[dict[tuple[str, ...], float]], bool]) -> None:
        """Return when something is true of the page."""
        async with asyncio.timeout(20.0):
            while not holds(self.page()):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(of: Plan) -> AsyncIterator[Running]:
    running = Running(of)
    await running.watch.restore()
    task = asyncio.create_task(running.watch.run())
    try:
        yield running
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Watched(Webhook):
    """A webhook that tells when it is let go."""

    def __init__(self, *, id: str, url: str) -> None:
        super().__init__(id=id, name="old", settings=WebhookSettings(url=Secret(url)))
        self.closed = asyncio.Event()

    async def close(self) -> None:
        await super().close()
        self.closed.set()


async def test_a_receiver_that_refuses_us_and_leaves_is_soon_nobodys_alarm(tmp_path: Path) -> None:
    """It is owed nothing, for it never heard of anything; no second reload is needed for it to go."""
    async with ScriptedReceiver(lambda: REFUSE) as old, ScriptedReceiver() as new:
        before = planned(tmp_path, old=old.url)
        (id,) = before.receivers
        leaving = Watched(id=id, url=old.url)
        before = replace(before, receivers={id: leaving})
        async with running(before) as alerting:
            await alerting.until(lambda page: ("qdrantx_alerting_unsaved",) in page)
            alerting.board.post(ProducerKey("", "", "test"), ())  # or it would look in 15 seconds
            await alerting.until(lambda page: page.get(("qdrantx_receiver_up", "old")) == 0.0)
            async with alerting.watch.exchanging(planned(tmp_path, before, new=new.url)):
                pass

            await new.wait_for(1)
            await alerting.until(lambda page: not any(key[1:2] == ("old",) for key in page))
            async with asyncio.timeout(10.0):
                await leaving.closed.wait()

            assert alerting.page()["qdrantx_receiver_up", "new"] == 1.0
