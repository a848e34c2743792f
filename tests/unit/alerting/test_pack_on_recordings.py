"""What the shipped rules say of real servers, well and in trouble: recorded, played on sockets, watched.

Whether a condition holds; how long it has to hold is the lifecycle's business. Rules that look back over
a window have nothing to look back on here.
"""

from __future__ import annotations

import asyncio

import pytest

from exporter.alerting.rules.evaluate import Evaluator
from exporter.alerting.rules.load import load_rules
from exporter.alerting.rules.shipped import shipped_rules
from exporter.catalogue import SPECS
from exporter.clock import SystemClock
from tests.kit import scripted
from tests.kit.replay import ReplayServer, replies_of
from tests.kit.scripted import PEERS, ScriptedCluster, Stage
from tests.kit.watching import HASTY, QUICK, Watching, cluster_of

PATIENCE_SECONDS = 8.0
LOOKS = 5  # at telemetry: by then each kind of it was asked for, the slower one too

# With one peer of three away. rf1 has one replica a shard; the collections that lost one miss a copy.
ONE_AWAY = {"PeerDown", "QuorumThin", "ShardUnavailable", "UnderReplicated"}


async def told(watching: Watching, expected: set[str], *, alive: int, dead: int = 0) -> set[str]:
    """Return the rules that hold once every living peer was asked everything, at best when as expected."""
    rules = load_rules(shipped_rules(), specs=SPECS, overrides={}).rules

    def asked(readings: dict[str, float]) -> bool:
        ups = [value for series, value in readings.items() if series.startswith("up{")]
        looks = [
            value
            for series, value in readings.items()
            if series.startswith("requests_to_qdrant_total") and "endpoint=/telemetry,outcome=ok" in series
        ]
        return sorted(ups) == [0.0] * dead + [1.0] * alive and sum(count >= LOOKS for count in looks) == alive

    await watching.until(asked, seconds=PATIENCE_SECONDS)
    evaluator = Evaluator(rules)
    names = await holding(watching, evaluator)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while names != expected:
                await asyncio.sleep(0.05)
                names = await holding(watching, evaluator)
    except TimeoutError:
        return names  # for the test to show
    return names


async def holding(watching: Watching, evaluator: Evaluator) -> set[str]:
    """Return the names of the rules that hold now."""
    await watching.fleet.derive()
    findings = evaluator.evaluate(watching.board.view(), known={}, presence={}, now=SystemClock().now())
    return {finding.rule.name for finding in findings if finding.verdict}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("v1.18.3/single/empty", set()),
        ("v1.18.3/single/small", set()),
        ("v1.18.3/single/green", set()),
        ("v1.16.3/single/green", set()),
        ("v1.12.6/single/green", set()),
        # seen at one moment between two runs, two collections have points waiting and nothing running
        ("v1.18.3/single/yellow", {"IndexingLag", "IndexingStalled"}),
        ("v1.18.3/single/restarted", {"CollectionAsleep", "IndexingLag", "IndexingStalled"}),
        ("v1.18.3/single/broken_shard", {"ShardNotLoaded", "ShardUnavailable"}),
        ("v1.18.3/single/recovery_mode", {"ShardNotLoaded", "ShardUnavailable"}),
        (
            "v1.18.3/single/disk_full/at_once",
            {"CollectionRed", "IndexingLag", "IndexingStalled", "OptimizerNoSpace"},
        ),
    ],
)
async def test_on_one_node_the_rules_hold_that_should_and_no_other(state: str, expected: set[str]) -> None:
    """With no tuning: nothing on an empty or a quiet server, and by name what is wrong with the others."""
    async with (
        ReplayServer(answer=replies_of(state)) as server,
        Watching(cluster_of(server.url)) as watching,
    ):
        assert await told(watching, expected, alive=1) == expected


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (scripted.HEALTHY, set()),
        (scripted.RECOVERED, set()),
        (scripted.ALL_BACK, set()),
        (scripted.PEER_2_DEAD_FOR_9S, ONE_AWAY),
        (scripted.PEER_2_DEAD_AFTER_WRITES, {*ONE_AWAY, "ReplicaDead", "ReplicaNotHealing"}),
        (scripted.PEER_1_FROZEN, ONE_AWAY),
        (scripted.NO_QUORUM, {"PeerDown", "QuorumLost"}),
        (scripted.RESTARTED_ALONE, {"PeerDown", "QuorumLost"}),
        (scripted.CONSENSUS_STOPPED, {"ConsensusStopped", "ReplicaNotHealing", "UnderReplicated"}),
    ],
    ids=(
        "healthy", "recovered", "all back", "one dead", "one dead, written to", "one frozen", "no quorum",
        "restarted alone", "consensus stopped",
    ),
)  # fmt: skip
async def test_on_a_cluster_the_rules_hold_that_should_and_no_other(stage: Stage, expected: set[str]) -> None:
    """Three peers: well, one away, two away, and none that can agree on anything."""
    away = len(stage.dead | stage.frozen)
    poll = HASTY if stage.frozen else QUICK
    async with (
        ScriptedCluster(stage=stage) as cluster,
        Watching(cluster_of(*cluster.urls, poll=poll)) as watching,
    ):
        assert await told(watching, expected, alive=PEERS - away, dead=away) == expected
