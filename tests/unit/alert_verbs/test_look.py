"""`rules test`: one look at a deployment that is played from recordings."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console

from exporter.alert_verbs.alerts import Output
from exporter.alert_verbs.look import look
from exporter.config.alerting import AlertingSettings, LevelOverride, RuleOverride
from exporter.config.clusters import ClusterSettings, CollectionSettings, PollSettings
from exporter.config.settings import Settings
from tests.kit.replay import ReplayServer, replies_of
from tests.kit.watching import cluster_of

POLL = PollSettings(fast_seconds=15.0, medium_seconds=60.0, slow_seconds=600.0, fanout_deadline_seconds=1.0)


async def looked(cluster: ClusterSettings, output: Output = Output.TABLE, **alerting: Any) -> tuple[int, str]:
    """Look and return exit code and output."""
    written = io.StringIO()
    settings = Settings.model_construct(clusters=(cluster,), alerting=AlertingSettings(**alerting))
    code = await look(settings, output, Console(file=written, width=400))
    return code, written.getvalue()


async def test_where_all_is_well_no_rule_is_true() -> None:
    """Exit code 0, and the rules that one look cannot judge are named."""
    async with ReplayServer(answer=replies_of("v1.18.3/single/green")) as server:
        code, text = await looked(cluster_of(server.url, poll=POLL))

    assert (code, text.splitlines()[0]) == (0, "No rule is true of it now.")
    assert "it looks back over time, and this was one look" in text
    assert "blind: the write canary is off" in text


async def test_what_is_true_is_shown_with_its_value_the_worst_first() -> None:
    """40,500 points without an index are over the limit, and a collection that must exist does not."""
    async with ReplayServer(answer=replies_of("v1.18.3/single/yellow")) as server:
        cluster = cluster_of(server.url, poll=POLL, collections=CollectionSettings(expected=("orders",)))
        code, text = await looked(cluster)
        _, as_json = await looked(cluster, Output.JSON)

    assert code == 1
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    assert rows[0][:2] == ["critical", "CollectionMissing"]
    lag = next(row for row in rows if row[1] == "IndexingLag" and "collection docs" in row[2])
    assert lag[0] == "warning"
    assert lag[3] == "40,500 points, limit 10,000 points"
    assert lag[4] == "15m"
    true = {(one["rule"], one["labels"].get("collection")): one for one in json.loads(as_json)["true"]}
    assert true["IndexingLag", "docs"]["value"] == 40_500


async def test_the_changes_of_the_configuration_count() -> None:
    """It tests the rules in force, not the shipped ones."""
    higher = RuleOverride(levels={"warning": LevelOverride(threshold=10**9, clear=10**8)})
    async with ReplayServer(answer=replies_of("v1.18.3/single/yellow")) as server:
        _, text = await looked(cluster_of(server.url, poll=POLL), rules={"IndexingLag": higher})

    assert "IndexingLag" not in text


async def test_a_peer_that_is_down_is_true_of_the_rule_on_it() -> None:
    """A look that fails is an answer too."""
    code, text = await looked(cluster_of("http://127.0.0.1:1", poll=POLL))

    assert code == 1
    assert "PeerDown" in text
