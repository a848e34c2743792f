"""A real Alertmanager takes our pushes: it lists them, tells its own webhook, and hears when they end."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exporter.alerting.receivers.contract import Asserter
from exporter.alerting.receivers.made import make
from exporter.alerting.receivers.webhook import webhook_body
from exporter.alerting.words import AlertState, Outcome
from exporter.config.alerting import ReceiverSettings
from tests.e2e.ground import Program
from tests.kit.daemons import eventually
from tests.kit.scripted import free_port
from tests.unit.alerting.receivers.cases import HOSTILE, alert, notification, sending
from tests.unit.alerting.receivers.services import Service, closed_port

# Debian has the server under a name of its own, and amtool in the same package.
SERVER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
AMTOOL = shutil.which("amtool")

pytestmark = pytest.mark.skipif(
    SERVER is None or AMTOOL is None,
    reason="alertmanager and amtool are not installed: sudo apt install prometheus-alertmanager",
)


class Ground(NamedTuple):
    """One Alertmanager, and the webhook that it tells."""

    server: Program
    heard: Service

    def messages(self) -> list[dict[str, Any]]:
        """Return what the webhook was told so far."""
        return [json.loads(posted.body) for posted in self.heard.posted]

    async def hears(self, status: str) -> None:
        """Wait until the webhook is told something of this status."""

        async def is_told() -> bool:
            return any(message["status"] == status for message in self.messages())

        await eventually(is_told, what=f"the webhook is told that it is {status}")

    def listed(self) -> list[dict[str, Any]]:
        """Return the alerts that amtool sees."""
        arguments = [AMTOOL or "", f"--alertmanager.url={self.server.url}", "-o", "json", "alert", "query"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=True)
        return list(json.loads(done.stdout))


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    """Start an Alertmanager that tells everything at once."""
    async with Service() as heard:
        server = alertmanager(tmp_path, heard.url)
        await asyncio.to_thread(server.start)
        try:
            yield Ground(server, heard)
        finally:
            await asyncio.to_thread(server.stop)


def alertmanager(folder: Path, webhook_url: str) -> Program:
    """Return an Alertmanager on a free port, alone and with a directory of its own, not started yet."""
    config = folder / "alertmanager.json"  # JSON is YAML
    route = {"receiver": "ops", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    hook = {"url": webhook_url, "send_resolved": True}
    receivers = [{"name": "ops", "webhook_configs": [hook]}]
    config.write_text(json.dumps({"route": route, "receivers": receivers}), encoding="utf-8")
    address = f"127.0.0.1:{free_port(('127.0.0.1',))}"
    arguments = [
        SERVER or "",
        f"--config.file={config}",
        f"--storage.path={folder / 'storage'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    log = folder / "alertmanager.log"
    return Program(arguments=arguments, url=f"http://{address}", ready_path="/-/ready", log=log)


def asserter(*urls: str) -> Asserter:
    """Return what pushes to these members."""
    settings = ReceiverSettings.model_validate({"name": "am", "alertmanager": {"urls": list(urls)}})
    made = make(settings)
    assert hasattr(made, "tell")
    return made


async def test_an_alert_appears_there_is_told_on_and_resolves(ground: Ground) -> None:
    """amtool lists it under our fingerprint, its webhook fires once and then resolves, once."""
    now = time.time()
    firing = alert(active_since=now - 60, fired_at=now - 30)
    ours = asserter(ground.server.url)

    for _ in range(3):  # as it is told again and again
        delivery = await ours.tell([firing], sending(now=time.time()))
        assert (delivery.outcome, delivery.reason) == (Outcome.DELIVERED, "")
    await ground.hears("firing")
    listed = await asyncio.to_thread(ground.listed)

    assert [one["fingerprint"] for one in listed] == [firing.fingerprint]
    assert listed[0]["labels"] == dict(firing.labels)
    assert listed[0]["annotations"]["runbook_url"] == "https://watch.example/runbooks/IndexingLag"

    ended = alert(
        active_since=now - 60, fired_at=now - 30, state=AlertState.RESOLVED, resolved_at=time.time()
    )
    for _ in range(3):
        await ours.tell([ended], sending(now=time.time()))
    await ground.hears("resolved")
    await ours.close()

    assert await asyncio.to_thread(ground.listed) == []
    assert [message["status"] for message in ground.messages()] == ["firing", "resolved"]


async def test_it_takes_every_name_that_a_collection_may_have(ground: Ground) -> None:
    """Hundreds of alerts, hostile ones among them: all stored, all under our fingerprints."""
    now = time.time()
    names = [*HOSTILE.values(), *(f"tenant_{number:03}" for number in range(300))]
    alerts = [alert(collection=name, active_since=now - 60, fired_at=now - 30) for name in names]
    ours = asserter(ground.server.url)

    delivery = await ours.tell(alerts, sending(now=now))
    await ours.close()
    listed = await asyncio.to_thread(ground.listed)

    assert (delivery.outcome, delivery.reason) == (Outcome.DELIVERED, "")
    assert {one["fingerprint"] for one in listed} == {one.fingerprint for one in alerts}


async def test_what_its_webhook_sends_has_the_shape_of_what_ours_sends(ground: Ground) -> None:
    """The same keys, the same end of what has none, the same key of a group, for the same alert."""
    now = time.time()
    firing = alert(active_since=now - 60, fired_at=now - 30)
    ours = asserter(ground.server.url)
    await ours.tell([firing], sending(now=now))
    await ours.close()
    await ground.hears("firing")

    theirs = ground.messages()[0]
    what = notification(firing=(firing,), group_labels=firing.labels)
    said = json.loads(json.dumps(webhook_body(what, sending(now=now), receiver="ops")))
    assert theirs.keys() == said.keys() - {"qdrantx"}
    for key in ("receiver", "status", "groupLabels", "commonLabels", "commonAnnotations", "version",
                "groupKey", "truncatedAlerts"):  # fmt: skip
        assert theirs[key] == said[key], key
    (their_alert,), (our_alert,) = theirs["alerts"], said["alerts"]
    for key in ("status", "labels", "annotations", "endsAt", "generatorURL", "fingerprint"):
        assert their_alert[key] == our_alert[key], key
    assert their_alert.keys() == our_alert.keys()


async def test_a_member_that_is_down_does_not_keep_the_others_from_hearing(ground: Ground) -> None:
    """It is delivered, and the reason names the member."""
    down = f"http://127.0.0.1:{closed_port()}"
    ours = asserter(down, ground.server.url)
    now = time.time()

    delivery = await ours.tell([alert(active_since=now - 60, fired_at=now - 30)], sending(now=now))
    await ours.close()

    assert delivery.outcome is Outcome.DELIVERED
    assert down.removeprefix("http://") in delivery.reason
    assert len(await asyncio.to_thread(ground.listed)) == 1
