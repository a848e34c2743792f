"""Mail over SMTP: plain text and HTML, threaded by incident."""

from __future__ import annotations

import email.utils
import hashlib
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from html import escape

from exporter.alerting.messages import Line, Message, message, plain
from exporter.alerting.receivers.contract import Sending
from exporter.alerting.receivers.own_threads import OwnThreads
from exporter.alerting.receivers.posting import USER_AGENT
from exporter.alerting.receivers.smtp import submit
from exporter.alerting.spoken import clipped, one_line
from exporter.alerting.words import Delivery, Notification, NotificationKind
from exporter.config.alerting import EmailSettings

SUBJECT_CHARACTERS = 200  # more than any list of mails shows
BODY_CHARACTERS = 100_000  # twenty alerts in full are a third of it
# Conversations at once: those past their deadline are cut, but a name may still be looked up.
THREADS = 2
RESOLVE_LIVES_SECONDS = 86_400.0  # whoever reads mail reads it within the day


class Email:
    """Some mailboxes behind one SMTP server. A repeat has the same Message-ID; some servers drop it."""

    drops_repeats = False
    wants_reminders = True
    resolve_lives_seconds = RESOLVE_LIVES_SECONDS

    def __init__(self, *, id: str, name: str, settings: EmailSettings) -> None:
        self.id = id
        self.name = name
        self._settings = settings
        self._threads = OwnThreads(limit=THREADS)

    async def deliver(self, notification: Notification, sending: Sending) -> Delivery:
        """Hand one mail to the server, for all recipients at once."""
        settings = self._settings
        mail = composed(notification, sending, sender=settings.sender, recipients=settings.recipients)
        return await submit(mail, settings, self._threads)

    async def close(self) -> None:
        """Nothing is kept open."""


def composed(
    notification: Notification, sending: Sending, *, sender: str, recipients: Sequence[str]
) -> EmailMessage:
    """Return the mail. No label can add a header or a tag: headers are one line, HTML is escaped."""
    said = message(notification, sending)
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = clipped(said.title, SUBJECT_CHARACTERS)
    mail["From"] = one_line(sender)
    mail["To"] = ", ".join(map(one_line, recipients))
    mail["Date"] = email.utils.formatdate(sending.now)
    domain = domain_of(sender)
    thread = f"<{notification.key}.{notification.episode}@{domain}>"
    mail["Message-ID"] = f"<{_identity(notification, sending)}@{domain}>"
    # Of no mail: the trigger's own cannot be known here, and one name for all makes the thread too.
    mail["References"] = thread
    if notification.kind is not NotificationKind.TRIGGER:
        mail["In-Reply-To"] = thread
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice, please
    mail["X-Mailer"] = USER_AGENT
    mail.set_content(plain(said, limit=BODY_CHARACTERS), charset="utf-8", cte="quoted-printable")
    mail.add_alternative(html(said), subtype="html", charset="utf-8", cte="quoted-printable")
    return mail


def domain_of(address: str) -> str:
    """Return what is behind the @ of an address, for Message-IDs."""
    domain = email.utils.parseaddr(address)[1].rpartition("@")[2]
    return domain if domain.isascii() and domain.replace(".", "").replace("-", "").isalnum() else "localhost"


def _identity(notification: Notification, sending: Sending) -> str:
    """Return a text that is the same for every attempt of one notification, and of no other."""
    said = (notification.key, notification.episode, notification.kind, notification.created_at)
    return hashlib.sha256(f"{sending.idempotency_key}|{said}".encode()).hexdigest()[:40]


def html(said: Message) -> str:
    """Return the message as one HTML page without scripts, images or outside styles."""
    notes = "".join(f"<p><b>{escape(note)}</b></p>" for note in said.notes)
    alerts = "".join(map(_alert, (*said.firing, *said.resolved)))
    foot = [escape(line) for line in said.ending()]
    foot += [_link(said.home_url, "what is known now")] if said.home_url else []
    return (
        f'<!doctype html><html><body style="font-family: sans-serif">'
        f'<h2 style="border-left: 8px solid {said.colour}; padding-left: 8px">{escape(said.title)}</h2>'
        f"{notes}{alerts}<p>{' · '.join(foot)}</p></body></html>"
    )


def _alert(line: Line) -> str:
    rows = "".join(
        f'<tr><td style="color: #666666; padding-right: 12px">{escape(name)}</td><td>{escape(text)}</td></tr>'
        for name, text in line.facts()
    )
    parts = [f"<h3>{escape(line.headline)}</h3><table>{rows}</table>"]
    if not line.ended:
        parts += [f"<p>{escape(line.description)}</p>"] if line.description else []
        parts += [f"<p>first step:</p><pre>{escape(line.action)}</pre>"] if line.action else []
        book = escape(line.runbook)
        parts += (
            [f"<p>runbook {_link(line.runbook_url, book) if line.runbook_url else book}</p>"] if book else []
        )
    return "".join(parts)


def _link(url: str, escaped_text: str) -> str:
    return f'<a href="{escape(url)}">{escaped_text}</a>'
