"""Killed again and again while alerts come and go: nothing is lost, nobody is told twice.

`CRASH_KILLS` says how often, `CRASH_SEED` what happens; `make crash` kills 300 times.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.alerting.outbox import Row, RowState
from exporter.alerting.words import NotificationKind
from exporter.clock import SystemClock
from exporter.state import AlertingStore, State
from tests.crash.child import KEYED, KEYLESS, Life
from tests.kit.receiver import (
    BUSY,
    BUSY_BUT_TAKES,
    CLOSE,
    HANG,
    HANG_BUT_TAKE,
    RESET,
    RESET_BUT_TAKE,
    TAKE,
    TOO_MANY,
    Arrival,
    Play,
    ScriptedReceiver,
)

KILLS = int(os.environ.get("CRASH_KILLS", "25"))
SEED = int(os.environ.get("CRASH_SEED", "7"))
SPEED = 3_000.0  # fifty minutes a second
# A life ends after so many messages, and a moment that hits it anywhere; or after so long without any.
LIFE_MESSAGES = 12
MOMENT_SECONDS = 0.05
QUIET_SECONDS = 1.0
# How often a service does what, in percent.
PLAYS: tuple[tuple[Play, int], ...] = (
    (TAKE, 60),
    (TOO_MANY, 10),
    (BUSY, 6),
    (BUSY_BUT_TAKES, 4),
    (HANG, 4),
    (HANG_BUT_TAKE, 3),
    (RESET, 5),
    (RESET_BUT_TAKE, 3),
    (CLOSE, 5),
)


def moody(dice: random.Random) -> ScriptedReceiver:
    """Return a service that does now this, now that."""
    plays, weights = zip(*PLAYS, strict=True)
    return ScriptedReceiver(lambda: dice.choices(plays, weights)[0])


@dataclass
class Lives:
    """The process that is killed, over all its lives."""

    process: asyncio.subprocess.Process
    life: Life
    kills: list[float] = field(default_factory=list)  # monotonic seconds
    alive: int | None = None  # its pid
    rows: dict[int, Row] = field(default_factory=dict)  # the last of each that was found on disk

    async def live(self, service: ScriptedReceiver, messages: int, seconds: float) -> None:
        """Let it send so many messages, and live so long after them; kill it, and look at what it left."""
        pid = await self._begin(self.life)
        with suppress(TimeoutError):
            await service.wait_for(len(service.arrivals) + messages, seconds=QUIET_SECONDS)
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        assert await self._ended() == signal.SIGKILL
        self.kills.append(time.monotonic())
        self._look()

    async def settle(self) -> dict[str, Any]:
        """Let nothing change any more, and return what should be believed when all was told."""
        calm_at = self.life.began_at + (time.time() - self.life.began_at) * SPEED
        await self._begin(replace(self.life, calm_at=calm_at))
        async with asyncio.timeout(60.0):
            assert await self._ended() == 0
        self._look()
        report: dict[str, Any] = json.loads((Path(self.life.directory) / "report.json").read_text())
        return report

    async def _begin(self, life: Life) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(life)).encode() + b"\n")
        self.alive = int(await self._line())
        return self.alive

    async def _ended(self) -> int:
        """Return how it ended, as wait() tells it."""
        status = int(await self._line())
        self.alive = None
        return status

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        return await self.process.stdout.readline()

    def _look(self) -> None:
        with closing(State.open(Path(self.life.directory), clock=SystemClock())) as state:
            stored = AlertingStore(state).load()
        for row in stored.rows:
            self.rows[row.id] = msgspec.json.decode(row.document, type=Row)


@asynccontextmanager
async def lives(directory: Path, keyed: ScriptedReceiver, keyless: ScriptedReceiver) -> AsyncIterator[Lives]:
    """Start the process that forks the lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.crash.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    life = Life(
        directory=str(directory),
        keyed_url=keyed.url,
        keyless_url=keyless.url,
        seed=SEED,
        began_at=time.time(),
        speed=SPEED,
        calm_at=None,
    )
    found = Lives(process, life)
    try:
        yield found
    finally:
        if found.alive is not None:
            os.kill(found.alive, signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


Key = str


@dataclass
class Belief:
    """What a service believes of one key after what it took, in order."""

    firing: list[str] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)  # episode that opened each incident
    told: set[int] = field(default_factory=set)  # episodes of which it took that they fire
    over: set[int] = field(default_factory=set)  # episodes of which it took the resolve
    out_of_order: int = 0  # told to fire after its resolve

    def take(self, body: Any) -> None:
        """Believe one notification."""
        kind, episode = body["qdrantx"]["kind"], body["qdrantx"]["episode"]
        if kind == NotificationKind.RESOLVE:
            self.over.add(episode)
            self.firing = []
            return
        self.out_of_order += episode in self.over
        if not self.firing:
            self.opened.append(episode)
        self.told.add(episode)
        self.firing = sorted(alert["fingerprint"] for alert in body["alerts"] if alert["status"] == "firing")


def beliefs(service: ScriptedReceiver, *, drops_repeats: bool) -> dict[Key, Belief]:
    """Return what a service believes in the end. One with keys acts on each notification once."""
    found: dict[Key, Belief] = defaultdict(Belief)
    seen: set[str] = set()
    for arrival in service.taken:
        idempotency_key = arrival.headers["idempotency-key"]
        if not (drops_repeats and idempotency_key in seen):
            found[arrival.json["qdrantx"]["key"]].take(arrival.json)
        seen.add(idempotency_key)
    return found


def repeats(service: ScriptedReceiver) -> Iterator[Arrival]:
    """Yield what came again though it had been answered with 200: the answer was lost with the process.

    What comes again after a reset or a hang is no kill's doing, though an earlier attempt was answered.
    """
    answered: dict[str, bool] = {}  # the newest attempt, by idempotency key
    for arrival in service.arrivals:
        name = arrival.headers["idempotency-key"]
        if answered.get(name):
            yield arrival
        answered[name] = arrival.play is TAKE


@dataclass(frozen=True, slots=True)
class Fate:
    """What the outbox says of one episode of one key at one receiver."""

    delivered: bool  # something of it was told, and we know it
    maybe: bool  # something may have been told
    resolve_lost: bool  # its resolve was given up
    lost: bool  # the newest of what fires was given up, after four attempts without an answer


def fates(rows: dict[int, Row], receiver: str) -> dict[tuple[Key, int], Fate]:
    """Return the fate of every episode."""
    by_episode: dict[tuple[Key, int], list[Row]] = defaultdict(list)
    for row in rows.values():
        if row.receiver == f"{receiver}-1":
            by_episode[row.key, row.notification.episode].append(row)
    found = {}
    for place, of_episode in by_episode.items():
        resolves = [row for row in of_episode if row.kind is NotificationKind.RESOLVE]
        asserted = [row for row in of_episode if row not in resolves]
        found[place] = Fate(
            delivered=any(row.state is RowState.DONE for row in asserted),
            maybe=any(row.maybe_delivered for row in asserted),
            resolve_lost=any(row.state is RowState.DEAD for row in resolves),
            lost=bool(asserted) and max(asserted, key=lambda row: row.id).state is RowState.DEAD,
        )
    return found


@dataclass
class Counts:
    """What is printed."""

    episodes: int = 0
    collapsed: int = 0
    unsure: int = 0
    opened: int = 0
    repeats: int = 0

    def __str__(self) -> str:
        return (
            f"{self.episodes} episodes, {self.collapsed} collapsed, {self.unsure} of unknown fate; "
            f"{self.opened} incidents opened; {self.repeats} repeats after a kill"
        )


def judge(
    receiver: str, service: ScriptedReceiver, report: dict[str, Any], lives: Lives, *, drops_repeats: bool
) -> Counts:
    """Compare what a service believes with the engine's truth and with the outbox; return the counts."""
    believed = beliefs(service, drops_repeats=drops_repeats)
    counts = Counts(repeats=sum(1 for _ in repeats(service)))
    of_episodes = fates(lives.rows, receiver)
    for place, truth in report.items():
        name, key = place.split()
        if name == f"{receiver}-1":
            lost = truth["firing"] and of_episodes[key, truth["episodes"]].lost
            assert lost or believed[key].firing == truth["firing"], f"{place} ends up wrong"
            assert believed[key].out_of_order == 0, f"{place}: a resolve came before its trigger"
            counts.episodes += truth["episodes"]
    for (key, episode), fate in of_episodes.items():
        told = episode in believed[key].told
        assert told or not fate.delivered, f"{key} {episode}: said to be delivered, and was not"
        assert not told or fate.delivered or fate.maybe, f"{key} {episode}: collapsed, and was told"
        counts.collapsed += not (fate.delivered or fate.maybe)
        counts.unsure += fate.maybe and not fate.delivered
    for key, belief in believed.items():
        lost = sum(of_episodes[key, episode].resolve_lost for episode in belief.told)
        assert len(belief.opened) == len(set(belief.opened)), f"{key}: opened twice for one episode"
        assert len(belief.told) - lost <= len(belief.opened) <= len(belief.told), f"{key}: wrong count"
        counts.opened += len(belief.opened)
    return counts


async def test_killed_at_any_moment_it_tells_everything_once_and_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alerts come and go; services answer 200, 429, 500, hang and reset; each kill is a SIGKILL."""
    dice = random.Random(SEED)
    async with moody(dice) as keyed, moody(dice) as keyless:
        async with lives(tmp_path / "state", keyed, keyless) as process:
            for _ in range(KILLS):
                service, messages = dice.choice((keyed, keyless)), dice.randrange(LIFE_MESSAGES)
                await process.live(service, messages, dice.uniform(0.0, MOMENT_SECONDS))
            keyed.script()
            keyless.script()
            report = await process.settle()

        of_keyed = judge(KEYED, keyed, report, process, drops_repeats=True)
        of_keyless = judge(KEYLESS, keyless, report, process, drops_repeats=False)
        for repeat in (so_far := list(repeats(keyless))):
            kills = sum(1 for at in process.kills if at < repeat.at)
            assert so_far.index(repeat) + 1 <= kills, "more than one repeat for a kill"

    with capsys.disabled():
        print(f"\n{len(process.kills)} kills, seed {SEED}")
        print(f"  a receiver with keys: {of_keyed}")
        print(f"  one without: {of_keyless}")
    assert len(process.kills) == KILLS
    assert of_keyed.opened > KILLS, "hardly anything happened"
