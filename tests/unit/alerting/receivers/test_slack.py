"""Slack's limits and its manners: Block Kit, escapes, plain text where blocks are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from exporter.alerting.messages import message
from exporter.alerting.receivers.slack import (
    BLOCKS_CHARACTERS,
    HEADER_CHARACTERS,
    SECTION_CHARACTERS,
    TEXT_CHARACTERS,
    escaped,
    plain_body,
    slack_body,
)
from exporter.alerting.spoken import units
from exporter.alerting.words import Outcome
from tests.unit.alerting.receivers.cases import (
    HOSTILE,
    alert,
    attempt,
    notification,
    notifications,
    receiver,
    sending,
)
from tests.unit.alerting.receivers.services import Manner, Service

# With the most that Qdrant lets a name have, and everything else long too.
LONGEST = tuple(
    alert(
        collection=name,
        changes=("changed " + "c" * 500,) * 9,
        annotations=(("summary", "s&<>" * 400), ("description", "d\n" * 900), ("action", "`" * 3_000)),
        runbook="R" * 300,
    )
    for name in (*HOSTILE.values(), *(f"{number:02}" + "🔥<" * 80 for number in range(25)))
)
CASES = {
    **notifications(),
    "longest": (
        notification(firing=LONGEST, ended=LONGEST),
        sending(external_url="https://x/" + "y|>" * 300),
    ),
}


def blocks_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every block of a message, those in its attachment too."""
    return [*body["blocks"], *(block for part in body["attachments"] for block in part["blocks"])]


def texts_of(body: dict[str, Any]) -> list[str]:
    """Return every text in the blocks."""
    found = []
    for block in blocks_of(body):
        found += [element["text"] for element in block.get("elements", [])]
        found += [block["text"]["text"]] if "text" in block else []
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_message_is_good_block_kit(case: str) -> None:
    """Slack's own models of its blocks accept each of ours."""
    blocks = blocks_of(slack_body(message(*CASES[case])))

    parsed = Block.parse_all(blocks)
    for block in parsed:
        block.validate_json()
    assert len(blocks) == len(parsed)


@pytest.mark.parametrize("case", CASES)
def test_a_message_is_within_every_limit(case: str) -> None:
    """Header 150, section 3,000, context 10 elements, 50 blocks, all text 10,000, `text` never empty."""
    body = slack_body(message(*CASES[case]))
    blocks = blocks_of(body)

    assert len(blocks) <= 50
    for block in blocks:
        if block["type"] == "header":
            assert units(block["text"]["text"]) <= HEADER_CHARACTERS
        if block["type"] == "section":
            assert 0 < units(block["text"]["text"]) <= SECTION_CHARACTERS
        if block["type"] == "context":
            assert len(block["elements"]) <= 10
    assert sum(map(units, texts_of(body))) <= BLOCKS_CHARACTERS
    assert 0 < units(body["text"]) <= TEXT_CHARACTERS
    assert 0 < units(plain_body(message(*CASES[case]))["text"]) <= TEXT_CHARACTERS


@pytest.mark.parametrize("case", CASES)
def test_only_our_own_links_stand_in_angle_brackets(case: str) -> None:
    """Nothing of a name is a mention, and no link leads elsewhere than to us."""
    what, how = CASES[case]
    for text in (*texts_of(slack_body(message(what, how))), plain_body(message(what, how))["text"]):
        for opened in text.split("<")[1:]:
            assert opened.startswith("https://"), text
            assert opened.partition("|")[2].partition(">")[0], text


@given(text=st.text(alphabet=st.sampled_from("a&<>🔥é"), max_size=60), limit=st.integers(5, 80))
def test_an_escaped_text_fits_and_no_escape_is_cut(text: str, limit: int) -> None:
    """The longest beginning that fits, in whole characters, and the mark where something is missing."""
    said = escaped(text, limit)

    assert units(said) <= limit
    plain = said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert plain == text or text.startswith(plain.removesuffix("…"))


def test_the_command_of_the_first_alert_survives_the_worst() -> None:
    """What to do is the last thing to go."""
    action = "curl -X POST http://q-0:6333/collections/docs/index"
    first = alert(annotations=(("summary", "s" * 3_000), ("description", "d" * 3_000), ("action", action)))
    said = message(notification(firing=(first, *LONGEST)), sending())

    assert any(f"```{action}```" in text for text in texts_of(slack_body(said)))


async def test_blocks_that_are_refused_are_said_again_as_plain_text() -> None:
    """Once; the message arrives, if without colours."""
    async with Service(Manner(statuses=(400,), body=b"invalid_blocks")) as service:
        told = receiver("slack", service.url)
        delivery = await attempt(told)
        await told.close()

    assert Outcome.DELIVERED is delivery.outcome
    first, second = (json.loads(posted.body) for posted in service.posted)
    assert "blocks" in first
    assert {"text", "mrkdwn"} == second.keys()


async def test_what_is_refused_as_plain_text_too_is_given_up() -> None:
    """Slack's word is the reason."""
    async with Service(Manner(status=400, body=b"invalid_payload")) as service:
        told = receiver("slack", service.url)
        delivery = await attempt(told)
        await told.close()

    assert (delivery.outcome, delivery.reason) == (Outcome.REJECTED, "400: invalid_payload")
    assert len(service.posted) == 2


@pytest.mark.parametrize(
    ("status", "word"),
    [(400, "invalid_token"), (400, "user_not_found"), (403, "action_prohibited"), (404, "no_service"),
     (404, "channel_not_found"), (410, "channel_is_archived"), (400, "no_team")],
)  # fmt: skip
async def test_a_dead_hook_breaks_the_receiver_at_once(status: int, word: str) -> None:
    """Another try with plain text would change nothing."""
    async with Service(Manner(status=status, body=word.encode())) as service:
        told = receiver("slack", service.url)
        delivery = await attempt(told)
        await told.close()

    assert (Outcome.REFUSED, f"{status}: {word}") == (delivery.outcome, delivery.reason)
    assert len(service.posted) == 1
