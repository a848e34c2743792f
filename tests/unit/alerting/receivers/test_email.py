"""Mails as a mailbox gets them: whole, threaded, harmless, over TLS."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage

import pytest
import trustme

from exporter.alerting.receivers.email import Email, composed
from exporter.alerting.words import NotificationKind, Outcome
from exporter.config.alerting import EmailSettings
from exporter.config.secret import Secret
from tests.unit.alerting.receivers.cases import (
    EXTERNAL_URL,
    HOSTILE,
    PASSWORD,
    alert,
    attempt,
    notification,
    notifications,
    receiver,
    resolved,
    sending,
)
from tests.unit.alerting.receivers.services import Mailbox

CASES = notifications()


def mail(case: str) -> EmailMessage:
    """Return the mail of a case."""
    return composed(*CASES[case], sender="Watch <watch@example.org>", recipients=("ops@example.org",))


def text_of(message: EmailMessage, subtype: str) -> str:
    """Return one of the two texts of a mail."""
    return next(part for part in message.walk() if part.get_content_subtype() == subtype).get_content()


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A server's TLS by an authority that this machine trusts for the test."""
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1").configure_cert(context)
    with made.cert_pem.tempfile() as file:
        monkeypatch.setenv("SSL_CERT_FILE", file)
        yield context


async def test_a_mail_arrives_as_it_was_composed() -> None:
    """Sender, all recipients, the login, and both texts, lines of a single dot too."""
    dotted = alert(annotations=(("summary", "s"), ("description", ".\n..\nend"), ("action", "a")))
    async with Mailbox() as box:
        delivery = await attempt(receiver("email", "", port=box.port), notification(firing=(dotted,)))

    assert Outcome.DELIVERED is delivery.outcome
    assert box.logins == ["\0us\0" + PASSWORD]
    assert box.envelopes == [("watch@example.org", ["ops@example.org", "dba@example.org"])]
    got = email.message_from_bytes(box.mails[0], policy=email.policy.default)
    assert isinstance(got, EmailMessage)
    assert "\n.\n..\nend\n" in text_of(got, "plain").replace("\r\n", "\n")
    assert got["Subject"] == "[WARNING] IndexingLag: s"


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_mail_goes_over_tls(authority: ssl.SSLContext, at_once: bool) -> None:
    """STARTTLS or TLS from the first byte."""
    async with Mailbox(tls=authority, tls_at_once=at_once) as box:
        delivery = await attempt(encrypted(box, "tls" if at_once else "starttls"))

    assert (delivery.outcome, delivery.reason) == (Outcome.DELIVERED, "")
    assert len(box.mails) == 1


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_server_with_a_certificate_of_nobody_gets_no_password(at_once: bool) -> None:
    """It is tried again, because a certificate may be renewed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with Mailbox(tls=context, tls_at_once=at_once) as box:
        delivery = await attempt(encrypted(box, "tls" if at_once else "starttls"))

    assert Outcome.RETRY is delivery.outcome
    assert "certificate is not trusted" in delivery.reason
    assert box.logins == []


async def test_a_server_without_starttls_gets_no_password() -> None:
    """Nothing is sent in clear that was to be encrypted."""
    async with Mailbox() as box:
        delivery = await attempt(encrypted(box, "starttls"))

    assert (delivery.outcome, delivery.reason) == (Outcome.REFUSED, "the server offers no STARTTLS")
    assert box.logins == []


def encrypted(box: Mailbox, tls: str) -> Email:
    """Return a receiver that wants TLS of this server."""
    settings = EmailSettings.model_construct(
        host="127.0.0.1", port=box.port, tls=tls, username="us", password=Secret(PASSWORD),
        sender="watch@example.org", recipients=("ops@example.org",), deadline_seconds=5.0,
    )  # fmt: skip
    return Email(id="mail-1", name="mail", settings=settings)


async def test_one_refused_recipient_does_not_keep_it_from_the_other() -> None:
    """It is delivered, and the reason names who did not get it."""
    async with Mailbox(refused_recipients={"dba@example.org": 550}) as box:
        delivery = await attempt(receiver("email", "", port=box.port))

    assert (delivery.outcome, delivery.reason) == (Outcome.DELIVERED, "dba@example.org was refused with 550")
    assert box.envelopes == [("watch@example.org", ["ops@example.org"])]


async def test_a_server_that_hangs_before_the_mail_has_not_got_it() -> None:
    """What was not sent is tried again freely."""
    async with Mailbox(hangs_at="rcpt") as box:
        delivery = await attempt(receiver("email", "", port=box.port, deadline_seconds=0.3))

    assert Outcome.RETRY is delivery.outcome
    assert "before the mail was sent" in delivery.reason


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_adds_a_header_or_a_tag(name: str) -> None:
    """Headers are those that we set, once each, and the HTML has no element of a name's making."""
    raw = bytes(mail(f"hostile_{name}"))
    got = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(got, EmailMessage)

    assert sorted({*got.keys()}) == sorted(got.keys())
    assert set(mail("trigger").keys()) == set(got.keys())
    page = text_of(got, "html")
    assert page.count("<") == text_of(mail("trigger"), "html").count("<")
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_the_mails_of_one_incident_are_one_thread() -> None:
    """Every mail refers to the same name, made of key and episode; the next incident to another."""
    said = {
        kind: composed(
            notification(kind, firing=(alert(),)) if kind != "resolve" else resolve(),
            sending(idempotency_key=kind), sender="w@example.org", recipients=("o@example.org",),
        )
        for kind in NotificationKind
    }  # fmt: skip
    thread = said[NotificationKind.TRIGGER]["References"]

    assert {thread} == {one["References"] for one in said.values()}
    assert "In-Reply-To" not in said[NotificationKind.TRIGGER]
    assert thread == said[NotificationKind.RESOLVE]["In-Reply-To"]
    assert len(said) == len({one["Message-ID"] for one in said.values()})


def resolve() -> object:
    """Return the end of the incident."""
    return notification(NotificationKind.RESOLVE, ended=(resolved(alert()),))


def test_every_attempt_of_one_notification_is_the_same_mail() -> None:
    """A mailbox that got it twice can tell."""
    what = notification(firing=(alert(),))
    first, second = (
        composed(what, sending(now=now, attempt=1), sender="w@example.org", recipients=("o@example.org",))
        for now in (1_800_000_000.0, 1_800_000_100.0)
    )

    assert first["Message-ID"] == second["Message-ID"]


def test_the_html_links_to_us_only() -> None:
    """The runbook and the overview."""
    page = text_of(mail("trigger"), "html")

    assert [f"{EXTERNAL_URL}/runbooks/IndexingLag", f"{EXTERNAL_URL}/"] == [
        part.split('"')[0] for part in page.split('href="')[1:]
    ]


# What a server says bit by bit: a greeting of many lines, a TLS record of the largest size.
DRIPPING = {"none": b"220-" + b"x" * 4_000, "tls": b"\x16\x03\x03\x40\x00" + b"\x02" * 4_000}


@pytest.mark.parametrize("tls", DRIPPING)
async def test_a_server_that_drips_its_first_words_leaves_no_thread_behind(tls: str) -> None:
    """Each byte comes in time, and the whole never: the deadline cuts the connection."""
    ended = 0

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        with suppress(ConnectionError):
            for byte in DRIPPING[tls]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.02)
        ended += 1
        writer.close()

    before = set(threading.enumerate())
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = EmailSettings.model_construct(
            host="127.0.0.1", port=port, tls=tls, username=None, password=None,
            sender="watch@example.org", recipients=("ops@example.org",), deadline_seconds=0.15,
        )  # fmt: skip
        one = Email(id="mail-1", name="mail", settings=settings)
        for _ in range(3):
            delivery = await attempt(one)
            assert (delivery.outcome, "no answer within" in delivery.reason) == (Outcome.RETRY, True)
        async with asyncio.timeout(5):
            while ended < 3 or set(threading.enumerate()) - before:
                await asyncio.sleep(0.01)
