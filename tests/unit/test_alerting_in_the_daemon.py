"""Alerting in the running daemon: real processes, three scripted peers, a webhook that keeps what arrives."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest_asyncio
import yaml

from exporter.clock import SystemClock
from exporter.state import AlertingStore, State
from tests.kit.daemons import RunningDaemon, eventually, run_command
from tests.kit.receiver import BUSY, ScriptedReceiver
from tests.kit.scripted import HEALTHY, PEER_2_DEAD_FOR_9S, RECOVERED, ScriptedCluster


class Ground:
    """A cluster, a receiver and the configuration of a daemon that stands between them."""

    def __init__(self, folder: Path, cluster: ScriptedCluster, receiver: ScriptedReceiver) -> None:
        self.folder = folder
        self.cluster = cluster
        self.receiver = receiver
        self.file = folder / "config.yaml"
        self.daemon = RunningDaemon(folder, f"--config.file={self.file}", "--web.enable-lifecycle")
        self.configure()

    def configure(self, **alerting: Any) -> None:
        """Write the configuration: PeerDown fires at the first poll that fails and is told at once."""
        tree = {
            "clusters": [
                {
                    "name": "shop",
                    "peers": list(self.cluster.urls),
                    "discovery": {"enabled": False},
                    "poll": {
                        "fast": "500ms",
                        "medium": "2s",
                        "slow": "5s",
                        "deadline": "4s",
                        "budget_ratio": 0.5,
                    },
                    "probes": {"enabled": False},
                }
            ],
            "state": {"dir": "state"},
            "alerting": {
                "receivers": [{"name": "hook", "webhook": {"url": self.receiver.url}}],
                "rules": {
                    "PeerDown": {"levels": {"critical": {"for": "0s"}}},
                    # each would have to be quicker than what it explains
                    "PeerHung": {"enabled": False},
                    "AccessDenied": {"enabled": False},
                },
                "route": {"receiver": "hook", "group_interval": "1s"},
                **alerting,
            },
        }
        self.file.write_text(yaml.safe_dump(tree), encoding="utf-8")

    def heard(self, alertname: str = "PeerDown") -> list[str]:
        """Return kind after kind of what the receiver took about a rule."""
        told = [arrival.json for arrival in self.receiver.taken]
        return [one["qdrantx"]["kind"] for one in told if one["groupLabels"]["alertname"] == alertname]

    async def until_heard(self, *kinds: str, alertname: str = "PeerDown") -> None:
        """Return once the receiver has taken exactly these."""

        async def look() -> bool:
            return self.heard(alertname) == list(kinds)

        try:
            await eventually(look, what=f"{kinds} about {alertname}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.heard(alertname)}\n{self.daemon.log}") from None

    async def until_booked(self) -> None:
        """Return once the daemon has stored that everything it sent arrived: a kill then repeats nothing."""

        def waiting() -> int:
            with closing(State.open(self.folder / "state", clock=SystemClock())) as state:
                return sum(row.finished_at is None for row in AlertingStore(state).load().rows)

        async def look() -> bool:
            return await asyncio.to_thread(waiting) == 0

        await eventually(look, what="nothing waits in the outbox")

    async def firing(self) -> dict[str, Any]:
        """Return the firing alerts by name."""
        answered = (await self.daemon.get("/api/v1/alerts")).json()
        return {
            one["labels"]["alertname"]: one for one in answered["data"]["alerts"] if one["state"] == "firing"
        }


@pytest_asyncio.fixture
async def ground(tmp_path: Path, scripted_cluster: ScriptedCluster) -> AsyncIterator[Ground]:
    """Everything but the daemon runs."""
    async with ScriptedReceiver() as receiver:
        yield Ground(tmp_path, scripted_cluster, receiver)


async def test_a_dead_peer_is_told_once_over_a_kill_and_its_return_ends_it(ground: Ground) -> None:
    """The daemon dies by SIGKILL while the alert fires, and again while nobody takes its resolve."""
    async with ground.daemon as daemon:
        await daemon.until(lambda page: page.get('qdrantx_rules{state="active"}'), what="rules are in force")
        await ground.cluster.play(PEER_2_DEAD_FOR_9S)
        await ground.until_heard("trigger")
        await ground.until_booked()
        await daemon.stop(signal.SIGKILL)

        await daemon.start()
        await daemon.until(
            lambda page: page.get('qdrantx_alerts{alertname="PeerDown",severity="critical",state="firing"}'),
            what="the alert is known again",
        )
        ground.receiver.script(then=BUSY)
        await ground.cluster.play(RECOVERED)
        await ground.receiver.wait_for(2, seconds=60)
        await daemon.stop(signal.SIGKILL)
        ground.receiver.script()
        await daemon.start()

        await ground.until_heard("trigger", "resolve")
        assert "PeerDown" not in await ground.firing()


async def test_a_message_says_what_where_since_when_and_what_to_do(ground: Ground) -> None:
    """The command in it asks the very peer, and the same stands on /api/v1/alerts."""
    async with ground.daemon:
        await ground.cluster.play(PEER_2_DEAD_FOR_9S)
        await ground.until_heard("trigger")

        (alert,) = ground.receiver.taken[-1].json["alerts"]
        url = ground.cluster.urls[2]
        assert alert["labels"]["peer"] == url.removeprefix("http://")
        assert url in alert["annotations"]["action"]
        assert alert["labels"]["peer"] in alert["annotations"]["summary"]
        shown = (await ground.firing())["PeerDown"]
        assert shown["annotations"] == alert["annotations"]
        assert shown["fingerprint"] == alert["fingerprint"]


async def test_a_receiver_that_a_reload_takes_away_is_told_the_end_first(ground: Ground) -> None:
    """The other one, which comes in its place, is told what fires."""
    async with ScriptedReceiver() as other, ground.daemon as daemon:
        await ground.cluster.play(PEER_2_DEAD_FOR_9S)
        await ground.until_heard("trigger")
        ground.configure(receivers=[{"name": "hook", "webhook": {"url": other.url}}])

        assert (await daemon.reload()).status == 200
        await ground.until_heard("trigger", "resolve")
        arrivals = await other.wait_for(1)

        assert [arrival.told[0] for arrival in arrivals] == ["trigger"]
        resolved = ground.receiver.taken[-1].json["qdrantx"]
        assert resolved["kind"] == "resolve"


async def test_a_receiver_that_a_reload_renames_hears_nothing_new_and_one_end(ground: Ground) -> None:
    """An end and a beginning of one key in two queues could close an incident that goes on."""
    async with ground.daemon as daemon:
        await ground.cluster.play(PEER_2_DEAD_FOR_9S)
        await ground.until_heard("trigger")
        ground.configure(
            receivers=[{"name": "bot", "webhook": {"url": ground.receiver.url}}],
            route={"receiver": "bot", "group_interval": "1s"},
        )

        assert (await daemon.reload()).status == 200
        await daemon.until(
            lambda page: page.get('qdrantx_receiver_up{receiver="bot"}'), what="the new name is on the page"
        )
        await ground.cluster.play(HEALTHY)
        await ground.until_heard("trigger", "resolve")

        ended = ground.receiver.taken[-1].json["qdrantx"]
        assert [one["endReason"] for one in ended["alerts"].values()] == ["recovered"]
        assert ended["episode"] == 1
        assert 'receiver="hook"' not in await daemon.text("/metrics")


async def test_a_cluster_that_a_reload_starts_anew_neither_ends_nor_repeats_an_alert(ground: Ground) -> None:
    """Its settings changed, so it is stopped and begins to learn again: nothing of it is gone."""
    async with ground.daemon as daemon:
        await ground.cluster.play(PEER_2_DEAD_FOR_9S)
        await ground.until_heard("trigger")
        ground.file.write_text(ground.file.read_text().replace("deadline: 4s", "deadline: 5s"))

        assert (await daemon.reload()).status == 200
        await ground.cluster.play(HEALTHY)
        await ground.until_heard("trigger", "resolve")

        ended = ground.receiver.taken[-1].json["qdrantx"]["alerts"]
        assert [one["endReason"] for one in ended.values()] == ["recovered"]


async def test_a_cluster_that_leaves_the_configuration_takes_its_alerts_with_it(ground: Ground) -> None:
    """They end for that reason, and are not said to have recovered."""
    async with ScriptedCluster() as second, ground.daemon as daemon:
        await ground.cluster.play(PEER_2_DEAD_FOR_9S)
        await ground.until_heard("trigger")
        tree = yaml.safe_load(ground.file.read_text())
        tree["clusters"][0] |= {"name": "other", "peers": list(second.urls)}
        ground.file.write_text(yaml.safe_dump(tree))

        assert (await daemon.reload()).status == 200
        await ground.until_heard("trigger", "resolve")

        ended = ground.receiver.taken[-1].json["qdrantx"]["alerts"]
        assert [one["endReason"] for one in ended.values()] == ["the cluster is not watched any more"]


async def test_a_silence_made_beside_the_daemon_holds_back_what_was_not_told(ground: Ground) -> None:
    """It is seen within a second; when it is taken back, what still fires is told."""
    async with ground.daemon as daemon:
        state = f"--state.dir={ground.folder / 'state'}"
        made = await run_command(
            "silence",
            "add",
            'alertname="PeerDown"',
            "--for",
            "1h",
            "--comment",
            "a drill",
            "--author",
            "me",
            state,
        )
        assert made.returncode == 0, made.stderr
        await ground.cluster.play(PEER_2_DEAD_FOR_9S)
        await daemon.until(
            lambda page: page.get('qdrantx_alerts{alertname="PeerDown",severity="critical",state="firing"}'),
            what="the alert fires",
        )
        assert ground.heard() == []
        assert (await ground.firing())["PeerDown"]["heldBack"] == "silenced"
        groups = (await daemon.get("/api/v1/rules")).json()["data"]["groups"]
        alerts = [alert for group in groups for rule in group["rules"] for alert in rule["alerts"]]
        assert [one["heldBack"] for one in alerts if one["labels"]["alertname"] == "PeerDown"] == ["silenced"]
        listed = await run_command("silence", "list", "--output", "json", state)
        (silence,) = yaml.safe_load(listed.stdout)

        expired = await run_command("silence", "expire", silence["id"], state)

        assert expired.returncode == 0, expired.stderr
        await ground.until_heard("trigger")


async def test_one_flag_turns_the_shipped_rules_on(tmp_path: Path, scripted_cluster: ScriptedCluster) -> None:
    """No file: the pack is in force, and a lost quorum is told to the webhook."""
    async with ScriptedReceiver() as receiver:
        daemon = RunningDaemon(
            tmp_path, f"--qdrant.url={scripted_cluster.urls[0]}", f"--alert.webhook={receiver.url}"
        )
        async with daemon:
            page = await daemon.until(
                lambda page: page.get('qdrantx_rules{state="active"}'), what="rules are in force"
            )

            assert page['qdrantx_rules{state="active"}'] > 20
            assert receiver.url not in daemon.log
