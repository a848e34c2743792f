"""What each receiver sends, in files to read; REWRITE_GOLDEN=1 in the environment writes them anew."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.alerting.messages import message, plain
from exporter.alerting.receivers.alertmanager import alert_body
from exporter.alerting.receivers.apprise import texts
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.email import composed
from exporter.alerting.receivers.pagerduty import pagerduty_body
from exporter.alerting.receivers.slack import plain_body, slack_body
from exporter.alerting.receivers.webhook import webhook_body
from exporter.alerting.words import Notification
from tests.unit.alerting.receivers.cases import ROUTING_KEY, notifications

GOLDEN = Path(__file__).parent / "golden"
REWRITE = os.environ.get("REWRITE_GOLDEN") == "1"

CASES = notifications()


def mail_as_data(what: Notification, how: Sending) -> Mapping[str, Any]:
    """Return a mail's headers and its two texts."""
    mail = composed(what, how, sender="watch@example.org", recipients=("ops@example.org",))
    headers = {name: value for name, value in mail.items() if name not in ("Content-Type", "X-Mailer")}
    parts = {part.get_content_subtype(): part.get_content().splitlines() for part in mail.iter_parts()}
    return {**headers, **parts}


RENDERED: Mapping[str, Callable[[Notification, Sending], Any]] = {
    "slack": lambda what, how: slack_body(message(what, how)),
    "slack_plain": lambda what, how: plain_body(message(what, how)),
    "pagerduty": lambda what, how: json.loads(pagerduty_body(what, how, routing_key=ROUTING_KEY)),
    "webhook": lambda what, how: webhook_body(what, how, receiver="ops"),
    "alertmanager": lambda what, how: [alert_body(one, how) for one in (*what.firing, *what.resolved)],
    "email": mail_as_data,
    "apprise": lambda what, how: texts(message(what, how), body_limit=0),
    "plain": lambda what, how: plain(message(what, how), limit=100_000).splitlines(),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", RENDERED)
def test_a_receiver_says_what_its_file_says(kind: str, case: str) -> None:
    """A change of a message shows as a change of a file that a person reads."""
    said = json.loads(json.dumps(RENDERED[kind](*CASES[case])))
    file = GOLDEN / kind / f"{case}.json"

    if REWRITE:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    assert json.loads(file.read_text(encoding="utf-8")) == said


def test_no_file_is_left_of_a_case_that_is_no_more() -> None:
    """Every file belongs to a receiver and a case of today."""
    wanted = {f"{kind}/{case}.json" for kind in RENDERED for case in CASES}

    assert wanted == {str(file.relative_to(GOLDEN)) for file in GOLDEN.rglob("*.json")}
