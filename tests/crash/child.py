"""The process that is killed: an engine, a ledger and a deliverer on one state directory, in a hurry.

`python -m tests.crash.child` reads one line of JSON on stdin for each life, forks, and writes the pid
and, when that life ended, its exit status. Forked, because imports take longer than a life should.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.alerting.deliverer import Deliverer
from exporter.alerting.engine import Engine, ReceiverFacts, Setup
from exporter.alerting.ledger import Ledger
from exporter.alerting.routing import RoutingTree
from exporter.alerting.words import Alert, AlertState, Finding, Level, Rule
from exporter.config.alerting import RouteSettings
from exporter.logs import Redactor, configure
from exporter.state import AlertingStore, State, StateLock
from tests.kit.receiver import Webhook, webhook
from tests.kit.timeline import a_rule, critical, described, pairs, warning

KEYED, KEYLESS = "keyed", "keyless"
RULES = 30
COLLECTIONS = 3  # of each rule: one group
# For so long a thing is true or not: shorter, and the flap guard would soon let nothing resolve.
TRUTH_SECONDS = 2_000.0
CALM_SECONDS = 1_500.0  # over the flap guard's 15 minutes, after which nothing may be left to tell
STEP_SECONDS = 0.01  # of real time
DEADLINE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Life:
    """What one life is told."""

    directory: str
    keyed_url: str
    keyless_url: str
    seed: int
    began_at: float  # real Unix time at which the hurry began, the same for every life
    speed: float  # seconds that pass in a second
    calm_at: float | None  # from then on nothing changes; the life ends when all is told


class HurriedClock:
    """Real time since a moment, times a factor; it goes on while nobody lives."""

    def __init__(self, *, began_at: float, speed: float) -> None:
        self._began_at = began_at
        self._speed = speed

    def now(self) -> float:
        return self._began_at + (time.time() - self._began_at) * self._speed

    def monotonic(self) -> float:
        return time.monotonic() * self._speed


def rules() -> tuple[Rule, ...]:
    """Return as many that page at once as that wait for company."""
    levels: tuple[Level, ...] = (critical(), warning())
    return tuple(a_rule(f"Trouble{number}", levels[number % 2]) for number in range(RULES))


def is_true(life: Life, rule: str, collection: int, now: float) -> bool:
    """Whether something is wrong at a moment: by the seed, the same in every life."""
    at = now if life.calm_at is None else min(now, life.calm_at)
    offset = TRUTH_SECONDS * collection / COLLECTIONS
    slot = int((at - life.began_at + offset) / TRUTH_SECONDS)
    return hashlib.sha256(f"{life.seed} {rule} {collection} {slot}".encode()).digest()[0] < 96


def findings(life: Life, known: tuple[Rule, ...], now: float) -> Iterator[Finding]:
    """Yield what is found of every rule and collection."""
    for rule in known:
        for collection in range(COLLECTIONS):
            series = pairs({"qdrant_cluster": "shop", "collection": f"c{collection}"})
            verdict = is_true(life, rule.name, collection, now)
            yield Finding(rule, rule.levels[0], series, verdict, 20.0 if verdict else 0.0, 10.0)


def setup(known: tuple[Rule, ...]) -> Setup:
    """Return the setup: every alert goes to both receivers."""
    pace = {"group_interval": "2m", "group_wait": None, "repeat_interval": "7d"}
    routes = [{"receiver": KEYED, "continue": True}, {"receiver": KEYLESS}]
    return Setup(
        rules=known,
        routing=RoutingTree(
            written=RouteSettings.model_validate({"receiver": KEYED, "routes": routes, **pace}),
            receivers=[KEYED, KEYLESS],
        ),
        receivers=(ReceiverFacts(f"{KEYED}-1", KEYED), ReceiverFacts(f"{KEYLESS}-1", KEYLESS)),
    )


def receivers(life: Life) -> dict[str, Webhook]:
    """Return both by id."""
    made = (
        webhook(life.keyed_url, name=KEYED, deadline_seconds=DEADLINE_SECONDS),
        webhook(life.keyless_url, name=KEYLESS, keyless=True, deadline_seconds=DEADLINE_SECONDS),
    )
    return {receiver.id: receiver for receiver in made}


async def live(life: Life) -> None:
    """Live until killed, or until everything was told after the calm began."""
    clock = HurriedClock(began_at=life.began_at, speed=life.speed)
    directory = Path(life.directory)
    with StateLock(directory=directory):
        state = State.open(directory, clock=clock)
        ledger = Ledger(store=AlertingStore(state), clock=clock)
        sinks = receivers(life)
        restored = await ledger.load(dict.fromkeys(sinks, b"{}"))
        known = rules()
        engine = Engine(setup=setup(known))
        now = clock.now()
        since = now if restored.evaluated_at is None else restored.evaluated_at
        engine.restore(restored.alerts, restored.groups, evaluated_at=since, now=now)
        deliverer = Deliverer(ledger=ledger, receivers=sinks, owed={}, clock=clock)
        delivering = asyncio.create_task(deliverer.run())
        quiet_since = now
        while life.calm_at is None or clock.now() < max(life.calm_at, quiet_since) + CALM_SECONDS:
            now = clock.now()
            changes = engine.step(
                tuple(findings(life, known, now)), now, silences=ledger.silences, describe=described
            )
            await ledger.commit(changes)
            if changes.notifications or any(True for _ in ledger.outbox.rows()):
                quiet_since = now
            deliverer.wake()
            await asyncio.sleep(STEP_SECONDS)
        (directory / "report.json").write_text(json.dumps(report(engine)), encoding="utf-8")
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        state.close()


def report(engine: Engine) -> dict[str, Any]:
    """Return what each receiver should believe by now, by receiver id and key."""
    firing = {alert.fingerprint for alert in engine.alerts() if is_firing(alert)}
    return {
        f"{group.receiver} {group.key}": {
            "episodes": group.episode,
            "firing": sorted(firing.intersection(group.heard)),
        }
        for group in engine.groups()
    }


def is_firing(alert: Alert) -> bool:
    return alert.state is AlertState.FIRING


def main() -> None:
    configure(level="error", format="json", redactor=Redactor())
    for line in sys.stdin:
        life = Life(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            # An exception is printed and ends this process with 1, as anywhere.
            asyncio.run(live(life))
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
