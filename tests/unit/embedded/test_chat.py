"""The demo's chat takes what Slack takes, and shows what a person would read there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from exporter.alert_verbs.drill import drill
from exporter.clock import SystemClock
from exporter.config.alerting import AlertingSettings, ReceiverSettings, SlackSettings
from exporter.config.clusters import ClusterSettings
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.embedded.chat import Chat

MESSAGE = {
    "text": "[CRITICAL] PeerDown &lt;!channel&gt;",
    "attachments": [
        {
            "blocks": [
                {"type": "section", "text": {"text": "*a is down*\nfirst step:\n```curl &amp; wait```"}},
                {"type": "context", "elements": [{"text": "<http://x/runbooks/A|runbook A>"}]},
            ]
        }
    ],
}


@pytest.fixture
def heard() -> list[list[str]]:
    """What was shown."""
    return []


@pytest.fixture
async def chat(heard: list[list[str]]) -> AsyncIterator[Chat]:
    """A chat that listens."""
    chat = Chat(on_message=heard.append)
    await chat.start()
    yield chat
    await chat.stop()


async def test_a_message_is_shown_without_its_markup(chat: Chat, heard: list[list[str]]) -> None:
    """As it looks there: escapes undone, links with their address, no stars."""
    async with aiohttp.ClientSession() as session, session.post(chat.url, json=MESSAGE) as response:
        answer = (response.status, await response.text())

    assert answer == (200, "ok")
    assert heard == [
        ["[CRITICAL] PeerDown <!channel>", "a is down", "first step:", "curl & wait",
         "runbook A: http://x/runbooks/A"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "word"), [(b"{", "invalid_payload"), (b"[]", "no_text"), (b"{}", "no_text")]
)
async def test_what_is_no_message_is_refused_in_slacks_words(
    chat: Chat, heard: list[list[str]], body: bytes, word: str
) -> None:
    """400 with one word, and nothing is shown."""
    async with aiohttp.ClientSession() as session, session.post(chat.url, data=body) as response:
        assert (response.status, await response.text()) == (400, word)

    assert heard == []


async def test_our_slack_receiver_is_understood(chat: Chat, heard: list[list[str]]) -> None:
    """A drill begins and ends."""
    slack = ReceiverSettings(name="slack", slack=SlackSettings(url=Secret(chat.url)))
    settings = Settings(clusters=(ClusterSettings(),), alerting=AlertingSettings(receivers=(slack,)))

    code = await drill(
        settings, "slack", severity="info", hold_seconds=0.0, say=lambda _: None, clock=SystemClock()
    )

    assert code == 0
    assert len(heard) == 2
    assert "DRILL" in heard[0][0]
