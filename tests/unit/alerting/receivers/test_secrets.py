"""No URL, key, token or password shows in a reason or a log line, whatever happens to an attempt."""

from __future__ import annotations

import base64
import html
import json
import logging
import ssl
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import trustme

from exporter.alerting.words import Outcome
from tests.unit.alerting.receivers.cases import PASSWORD, SECRETS, SLACK_SECRET, attempt, receiver
from tests.unit.alerting.receivers.services import Mailbox, Manner, Posted, Service, closed_port

KINDS = ("slack", "pagerduty", "webhook", "alertmanager", "apprise")
STATUSES = (302, 400, 401, 403, 404, 410, 422, 429, 500, 503)


def shapes() -> Iterator[str]:
    """Yield every secret as it may be written, and parts of it that would do as well."""
    for secret in (*SECRETS, base64.b64encode(f"us:{PASSWORD}".encode()).decode()):
        yield from {
            secret, secret.upper(), json.dumps(secret)[1:-1], quote(secret, safe=""), html.escape(secret),
            secret.rsplit("/", 1)[-1], secret[-9:],
        }  # fmt: skip


def assert_silent(*texts: str) -> None:
    """Fail where a secret shows."""
    for text in texts:
        for shape in shapes():
            assert shape.lower() not in text.lower(), shape


class Echoing(Service):
    """Answers with all that it was sent, in the ways that servers and proxies write it."""

    def _answer(self) -> bytes:
        posted: Posted = self.posted[-1]
        said = " ".join([posted.path, *posted.headers.values(), posted.body.decode()])
        forms = (said, said.upper(), json.dumps(said), html.escape(said), quote(said))
        self.manner.body = self._form(forms)
        self.manner.headers = {"Location": f"http://127.0.0.1:1{posted.path}"}
        return super()._answer()

    def _form(self, forms: tuple[str, ...]) -> bytes:
        return forms[len(self.posted) % len(forms)].encode()


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_that_a_server_echoes_shows_a_secret(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Path, headers and body come back in every spelling and at every status; we repeat none of it."""
    caplog.set_level(logging.DEBUG)
    reasons = []
    async with Echoing() as service:
        one = receiver(kind, service.url)
        for status in STATUSES:
            for _ in range(5 if kind != "apprise" else 1):
                service.manner.status = status
                reasons.append((await attempt(one)).reason)
        await one.close()

    assert all(reasons)
    assert_silent(*reasons, caplog.text, repr(one), str(vars(one)) if kind == "apprise" else "")


@pytest.mark.parametrize("kind", KINDS)
async def test_no_broken_call_shows_a_secret(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Refused, reset, hanging, not TLS, not trusted, not HTTP, not a URL."""
    caplog.set_level(logging.DEBUG)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    reasons = []
    async with (
        Service(Manner(resets=True)) as resetting,
        Service(Manner(hangs=True)) as hanging,
        Service(tls=context) as untrusted,
        Service() as plain,
    ):
        urls = {
            "refused": f"http://127.0.0.1:{closed_port()}",
            "reset": resetting.url,
            "hanging": hanging.url,
            "untrusted": untrusted.url,
            "not TLS": plain.url.replace("http", "https"),
            "not a URL": "http://127.0.0.1:99999",
        }
        for url in urls.values():
            one = receiver(kind, url, deadline_seconds=0.3 if url == hanging.url else 1.0)
            delivery = await attempt(one)
            await one.close()
            reasons.append(delivery.reason)
            assert delivery.outcome is not Outcome.DELIVERED

    assert all(reasons)
    assert_silent(*reasons, caplog.text)


async def test_no_trouble_with_mail_shows_the_password(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the server says no to, and where the connection breaks."""
    caplog.set_level(logging.DEBUG)
    reasons = []
    troubles = [{"codes": {step: 554}} for step in ("greeting", "auth", "mail", "rcpt", "data", "end")]
    troubles += [{"resets_at": step} for step in ("greeting", "ehlo", "auth", "mail", "end")]
    for trouble in troubles:
        async with Mailbox(**trouble) as box:
            reasons.append((await attempt(receiver("email", "", port=box.port))).reason)

    assert all(reasons)
    assert_silent(*reasons, caplog.text)


async def test_the_url_of_a_delivered_message_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """httpx tells the log of each request with its URL; for us it does not."""
    caplog.set_level(logging.DEBUG)
    async with Service() as service:
        one = receiver("slack", service.url)
        delivery = await attempt(one)
        await one.close()

    assert Outcome.DELIVERED is delivery.outcome
    assert service.posted[0].path == SLACK_SECRET
    assert_silent(caplog.text)
