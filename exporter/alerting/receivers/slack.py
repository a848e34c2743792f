"""Slack by an incoming webhook: one coloured message a notification, plain text where blocks are refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from exporter.alerting.messages import Line, Message, message, plain
from exporter.alerting.receivers.answers import Answer, NoAnswer, delivery_of
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.posting import Poster, secrets_of_url
from exporter.alerting.spoken import units
from exporter.alerting.words import Delivery, Notification, Outcome
from exporter.config.alerting import SlackSettings

# Limits of https://docs.slack.dev/reference/block-kit/blocks
HEADER_CHARACTERS = 150
SECTION_CHARACTERS = 3_000
# Of all blocks together; documented nowhere, and at 13,200 characters Slack answered msg_blocks_too_long.
BLOCKS_CHARACTERS = 10_000
TEXT_CHARACTERS = 4_000  # what Slack advises for `text`; it cuts at 40,000

ALERT_CHARACTERS = SECTION_CHARACTERS - 100  # a margin: whether it counts an escape as one is not documented
FRAME_CHARACTERS = 2_000  # of the budget, for headline, notes and foot
LINK_CHARACTERS = 500  # a longer address leaves too little room for the rest
_MAY_GO = frozenset({"changed", "note"})
SHORT_CHARACTERS = 350  # of an alert for whose details no room is left: 20 of them are under the budget

# A resolve in a chat is news for an hour; after that it only puzzles.
RESOLVE_LIVES_SECONDS = 3_600.0

# Words of Slack's that say the hook itself is no good, whatever the status.
_DEAD_HOOK = frozenset(
    {
        "action_prohibited", "channel_is_archived", "channel_not_found", "invalid_token", "no_active_hooks",
        "no_service", "no_service_id", "no_team", "posting_to_general_channel_denied", "team_disabled",
        "user_not_found",
    }
)  # fmt: skip


class Slack:
    """One incoming webhook, which is one channel. It knows no repeat, and can change no message."""

    drops_repeats = False
    wants_reminders = True
    resolve_lives_seconds = RESOLVE_LIVES_SECONDS

    def __init__(self, *, id: str, name: str, settings: SlackSettings) -> None:
        self.id = id
        self.name = name
        self._url = settings.url.reveal()
        self._poster = Poster(deadline_seconds=settings.deadline_seconds, secrets=secrets_of_url(self._url))

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        """Send once; where Slack does not like our blocks, once more as plain text."""
        said = message(notification, sending)
        answer = await self._post(slack_body(said))
        if _is_about_the_body(answer):
            answer = await self._post(plain_body(said))
        dead = isinstance(answer, Answer) and _word(answer) in _DEAD_HOOK
        return delivery_of(
            answer, now=sending.now, shown=self._poster.shown, outcome=Outcome.REFUSED if dead else None
        )

    async def close(self) -> None:
        """Let connections go."""
        await self._poster.close()

    async def _post(self, body: dict[str, Any]) -> Answer | NoAnswer:
        return await self._poster.post(self._url, msgspec.json.encode(body))


def _is_about_the_body(answer: Answer | NoAnswer) -> bool:
    return isinstance(answer, Answer) and answer.status == 400 and _word(answer) not in _DEAD_HOOK


def _word(answer: Answer) -> str:
    return answer.body.decode("utf-8", "replace").strip()


def slack_body(said: Message) -> dict[str, Any]:
    """Return the message: a headline, then the alerts beside a bar in the level's colour.

    `text` is what a phone's lock screen shows.
    """
    title = {"type": "plain_text", "text": escaped(said.title, HEADER_CHARACTERS), "emoji": False}
    return {
        "text": escaped(said.title, TEXT_CHARACTERS),
        "blocks": [{"type": "header", "text": title}],
        "attachments": [
            {
                "color": said.colour,
                "fallback": escaped(said.title, TEXT_CHARACTERS),
                "blocks": _blocks(said),
            }
        ],
    }


def plain_body(said: Message) -> dict[str, Any]:
    """Return the same as text only, for when the blocks are refused."""
    return {"text": escaped(plain(said, limit=TEXT_CHARACTERS), TEXT_CHARACTERS), "mrkdwn": False}


def escaped(text: str, limit: int) -> str:
    """Return a text in which nothing is a mention or a link, at most `limit` UTF-16 units with the escapes.

    Slack reads &, < and > only; `<!channel>` in a collection's name would call everybody.
    """
    if units(_escape(text)) <= limit:
        return _escape(text)
    low, high = 0, len(text)
    while low < high:  # the longest beginning that fits, so that no escape is cut in two
        middle = (low + high + 1) // 2
        fits = units(_escape(text[:middle])) < limit
        low, high = (middle, high) if fits else (low, middle - 1)
    return _escape(text[:low]) + "…"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _blocks(said: Message) -> list[dict[str, Any]]:
    notes = [_section("\n".join(f"*{escaped(note, 250)}*" for note in said.notes))] if said.notes else []
    foot = [escaped(line, 100) for line in said.ending()]
    home = _address(said.home_url)
    foot += [f"<{home}|what is known now>"] if 0 < len(home) <= LINK_CHARACTERS else []
    foot.append(escaped(said.key, 100))
    footer = {"type": "context", "elements": [_text(" · ".join(foot))]}
    return [*notes, *(_section(text) for text in _alerts(said)), footer]


def _alerts(said: Message) -> list[str]:
    """Return each alert's text, the first ones with all details for as long as the budget lasts."""
    told = [*said.firing, *said.resolved]
    short = [_words(line.brief, SHORT_CHARACTERS) for line in told]
    left = BLOCKS_CHARACTERS - FRAME_CHARACTERS - sum(map(units, short))
    texts: list[str] = []
    for line, brief in zip(told, short, strict=True):
        full = _alert(line)
        left -= units(full) - units(brief)
        if left < 0:
            break
        texts.append(full)
    return texts + short[len(texts) :]


def _alert(line: Line) -> str:
    """Return one alert with its details; those that do not fit go, those to act on stay."""
    facts = line.facts()
    kept = [f"*{_words(line.headline, 400)}*"]
    kept += [f"{name}: {_words(text, 300)}" for name, text in facts if name not in _MAY_GO]
    if line.ended:
        return "\n".join(kept)
    more = [f"{name}: {_words(text, 300)}" for name, text in facts if name in _MAY_GO]
    more += [_words(line.description, 600)] if line.description else []
    step = [f"first step:\n```{_words(line.action, 900)}```"] if line.action else []
    step += [_runbook(line)] if line.runbook else []
    while more and units("\n".join([*kept, *more, *step])) > ALERT_CHARACTERS:
        more.pop()
    return "\n".join([*kept, *more, *step])


def _runbook(line: Line) -> str:
    address = _address(line.runbook_url)
    name = f"runbook {escaped(line.runbook, 100)}"
    return f"<{address}|{name}>" if 0 < len(address) <= LINK_CHARACTERS else name


def _words(text: str, limit: int) -> str:
    """Return a text, escaped, that begins and ends no block of code: ours would be turned inside out."""
    return escaped(text.replace("```", "'''"), limit)


def _address(url: str) -> str:
    """Return a URL for between < and |: what would end it is percent-encoded."""
    return _escape(quote(url, safe=":/?#[]@!$&'()*+,;=%~"))


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> dict[str, Any]:
    # verbatim: no name of a collection becomes a link to a channel or a site
    return {"type": "mrkdwn", "text": text, "verbatim": True}
