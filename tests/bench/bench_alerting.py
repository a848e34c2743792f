"""How long after a poll that shows trouble is somebody told? Rules without `for`, groups that do not wait.

The real daemon as a process of its own, with its state on disk, three played peers and a webhook. A
telemetry answer shows more points than the next rule allows; the time runs from that answer to the
request at the webhook.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.bench.verdict import judge, say
from tests.kit.daemons import RunningDaemon, eventually
from tests.kit.receiver import ScriptedReceiver
from tests.kit.scripted import ScriptedCluster, local_shard

ROUNDS = 20
STEP_POINTS = 1_000_000
COLLECTION, SHARD, PEER = "rf3", 0, 0
TARGET_SECONDS = 1.0


def rules() -> dict[str, Any]:
    """Return a rule for every round, each with a higher limit."""
    return {
        "rules": [
            {
                "name": f"Points{number}",
                "metric": "qdrantx_replica_points",
                "op": ">",
                "levels": {"critical": {"threshold": number * STEP_POINTS}},
                "annotations": {"summary": "{collection} has {value}", "action": "look"},
                "runbook": "PeerDown",
            }
            for number in range(1, ROUNDS + 1)
        ]
    }


def configuration(cluster: ScriptedCluster, receiver: ScriptedReceiver) -> dict[str, Any]:
    """Return settings that poll each second."""
    return {
        "clusters": [
            {
                "peers": list(cluster.urls),
                "discovery": {"enabled": False},
                "poll": {"fast": "1s", "medium": "5s", "slow": "10s", "deadline": "4s", "budget_ratio": 0.5},
                "probes": {"enabled": False},
            }
        ],
        "state": {"dir": "state"},
        "alerting": {
            "rule_files": ["rules.yaml"],
            "receivers": [{"name": "hook", "webhook": {"url": receiver.url}}],
        },
    }


async def measured(
    cluster: ScriptedCluster, receiver: ScriptedReceiver, daemon: RunningDaemon
) -> list[float]:
    """Return the seconds of every round."""
    await daemon.until(lambda page: page.get('qdrantx_rules{state="active"}'), what="rules are in force")
    await daemon.until(lambda page: any("replica_points" in series for series in page), what="replicas")
    seconds = []
    for number in range(1, ROUNDS + 1):
        shown_at: list[float] = []

        def show(payload: Any, points: int = number * STEP_POINTS + 1, at: list[float] = shown_at) -> None:
            local_shard(payload, COLLECTION, SHARD)["num_points"] = points
            at.append(time.monotonic())

        cluster.edit(PEER, "/telemetry", show)
        name = f"Points{number}"

        async def told(name: str = name) -> float | None:
            found = [one for one in receiver.taken if one.json["groupLabels"]["alertname"] == name]
            return found[0].at if found else None

        arrived_at = await eventually(told, what=name)
        seconds.append(arrived_at - min(shown_at))
        await asyncio.sleep(0.3 + number % 7 / 10)  # not always at the same moment of the daemon's own beat
    return seconds


async def main() -> None:
    """Measure, and print each figure beside its target."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with ScriptedCluster() as cluster, ScriptedReceiver() as receiver:
            (folder / "rules.yaml").write_text(yaml.safe_dump(rules()), encoding="utf-8")
            file = folder / "config.yaml"
            file.write_text(yaml.safe_dump(configuration(cluster, receiver)), encoding="utf-8")
            async with RunningDaemon(folder, f"--config.file={file}") as daemon:
                seconds = await measured(cluster, receiver, daemon)
    say("poll that shows it to request at the webhook, median", f"{statistics.median(seconds):.3f} s")
    judge("the slowest of them", max(seconds), "s", below=TARGET_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
