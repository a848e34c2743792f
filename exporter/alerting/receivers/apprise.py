"""Everything else, through the library apprise, where it is installed.

It says no more than whether it worked: no status, no Retry-After, and no way to stop what runs.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from typing import TYPE_CHECKING

from exporter.alerting.messages import Message, message, plain
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.own_threads import OwnThreads
from exporter.alerting.spoken import clipped, units
from exporter.alerting.words import Delivery, Notification, NotificationKind, Outcome
from exporter.config.alerting import AppriseSettings
from exporter.config.quantities import format_duration

if TYPE_CHECKING:
    import apprise

INSTALL = "apprise is not installed: pip install 'qdrant-exporter[apprise]'"

TITLE_CHARACTERS = 200
BODY_CHARACTERS = 30_000  # where the service names no limit of its own
RESOLVE_LIVES_SECONDS = 3_600.0  # most of these services are chats

# These log addresses, and an address holds the credentials.
_TALKATIVE = ("apprise", "requests", "urllib3")

# Words that call everybody in one chat or another; apprise escapes none of them.
_MENTION = re.compile(r"(?<=@)(?=everyone|here|channel|all\b|room)|(?<=<)(?=[!@#])", re.IGNORECASE)
_INVISIBLE = "\u200b"


def is_installed() -> bool:
    """Whether the extra is here; without importing it, which takes memory."""
    return importlib.util.find_spec("apprise") is not None


class Apprise:
    """One apprise URL. It loads its plugins, some 17 MB, when it first sends."""

    drops_repeats = False
    wants_reminders = True
    resolve_lives_seconds = RESOLVE_LIVES_SECONDS

    def __init__(self, *, id: str, name: str, settings: AppriseSettings) -> None:
        self.id = id
        self.name = name
        self._url = settings.url
        self._deadline_seconds = settings.deadline_seconds
        self._told: apprise.Apprise | None = None
        self._threads = OwnThreads(limit=1)  # its plugins keep state of their own

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        """Send once. After the deadline the attempt goes on in its thread, and may yet arrive."""
        said = message(notification, sending)
        try:
            return await self._threads.attempt(
                lambda: self._send(said, notification), deadline_seconds=self._deadline_seconds
            )
        except TimeoutError:
            return Delivery(Outcome.UNKNOWN, f"no answer within {format_duration(self._deadline_seconds)}")

    async def close(self) -> None:
        """Nothing is kept open."""

    def _send(self, said: Message, notification: Notification) -> Delivery:
        if not is_installed():
            return Delivery(Outcome.REFUSED, INSTALL)
        try:
            told = self._loaded()
            if told is None:
                return Delivery(
                    Outcome.REFUSED, "apprise knows no service with a url like this one: correct it"
                )
            title, body = texts(said, body_limit=told[0].body_maxlen)
            # as text, so that it is escaped for services that show HTML
            taken = told.notify(body=body, title=title, notify_type=_kind(notification), body_format="text")
        except Exception:  # noqa: BLE001  # a plugin, one of 180; its text may hold the url
            return Delivery(Outcome.RETRY, "apprise failed on the way")
        return Delivery(Outcome.DELIVERED) if taken else Delivery(Outcome.RETRY, "apprise did not deliver it")

    def _loaded(self) -> apprise.Apprise | None:
        """Return an apprise of our one service; None where no plugin knows the URL."""
        if self._told is None:
            import apprise

            for talkative in _TALKATIVE:
                logging.getLogger(talkative).setLevel(logging.CRITICAL)
            asset = apprise.AppriseAsset(app_id="qdrant-exporter", async_mode=False, secure_logging=True)
            told = apprise.Apprise(asset=asset)
            if not told.add(self._url.reveal()):
                return None
            self._told = told
        return self._told


def texts(said: Message, *, body_limit: int) -> tuple[str, str]:
    """Return title and body, within what the service takes of both together."""
    limit = min(body_limit, BODY_CHARACTERS) if body_limit > 0 else BODY_CHARACTERS
    title = _harmless(clipped(said.title, min(TITLE_CHARACTERS, limit // 2)))
    room = limit - units(title) - 2  # where a service has no titles, it goes above the body
    return title, clipped(_harmless(plain(said, limit=room, with_title=False)), room)


def _harmless(text: str) -> str:
    return _MENTION.sub(_INVISIBLE, text)


def _kind(notification: Notification) -> str:
    if notification.kind is NotificationKind.RESOLVE:
        return "success"
    return {"critical": "failure", "error": "failure", "info": "info"}.get(notification.severity, "warning")
