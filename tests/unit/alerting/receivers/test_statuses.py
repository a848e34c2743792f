"""Every HTTP status and many SMTP codes, over real sockets: taken, tried again, given up, or broken."""

from __future__ import annotations

import pytest

from exporter.alerting.receivers.smtp import Step, refused
from exporter.alerting.words import Outcome
from tests.unit.alerting.receivers.cases import HTTP_KINDS, attempt, receiver
from tests.unit.alerting.receivers.services import Mailbox, Manner, Service

AGAIN = {408, 425, 429, *range(500, 600)}
BROKEN = {401, 403, 404, 405, 407, 410}


def expected(status: int) -> Outcome:
    """Return what a status must mean, written down a second time."""
    if 300 <= status < 400 or status in BROKEN:
        return Outcome.REFUSED
    if status < 200:
        return Outcome.UNKNOWN  # an interim answer, and then nothing
    if status < 300:
        return Outcome.DELIVERED
    return Outcome.RETRY if status in AGAIN else Outcome.REJECTED


@pytest.mark.parametrize("kind", HTTP_KINDS)
async def test_every_status_is_told_apart(kind: str) -> None:
    """2xx is taken; 408, 425, 429 and 5xx come again; what speaks against us, and redirects, break it."""
    seen = {}
    async with Service(Manner(body=b"")) as service:
        told = receiver(kind, service.url)
        for status in range(100, 600):
            service.manner.status = status
            delivery = await attempt(told)
            seen[status] = delivery.outcome
            assert delivery.outcome is Outcome.UNKNOWN or delivery.status == status
        await told.close()

    assert {status: expected(status) for status in range(100, 600)} == seen
    if kind != "slack":  # which says a 400 twice, once without blocks
        assert len(service.posted) == 500


# What servers are known to say; see RFC 5321, RFC 4954 and the registry of enhanced codes.
CODES = (
    421, 432, 450, 451, 452, 454, 455, 500, 501, 502, 503, 504, 521, 523, 530, 534, 535, 538, 541, 550, 551,
    552, 553, 554, 555, 556, 571,
)  # fmt: skip
STEPS = {
    "greeting": Step.CONNECTION,
    "auth": Step.LOGIN,
    "mail": Step.SENDER,
    "rcpt": Step.RECIPIENTS,
    "data": Step.MAIL,
    "end": Step.MAIL,
}


@pytest.mark.parametrize("step", STEPS)
async def test_an_smtp_server_that_says_no_for_now_is_tried_again_and_one_that_says_never_is_not(
    step: str,
) -> None:
    """4xx comes again; 5xx to the mail itself gives it up, and 5xx to us breaks the receiver."""
    async with Mailbox() as box:
        told = receiver("email", "", port=box.port)
        for code in CODES:
            if step == "auth" and code == 503:
                continue  # "already authenticated", says RFC 4954: the sender's reply will tell
            box.codes = {step: code}
            delivery = await attempt(told)

            about_the_mail = step in ("data", "end") or (step == "mail" and code in (552, 554))
            never = Outcome.REJECTED if about_the_mail else Outcome.REFUSED
            assert (code, Outcome.RETRY if code < 500 else never) == (code, delivery.outcome)
            assert delivery.status == code
            assert str(code) in delivery.reason
    assert box.mails == []


@pytest.mark.parametrize("step", Step)
def test_every_smtp_code_has_a_meaning_at_every_step(step: Step) -> None:
    """No code from 200 to 599 that is not the right one counts as delivered; 4xx alone comes again."""
    outcomes = {code: refused(step, code).outcome for code in range(200, 600)}

    assert {code for code, outcome in outcomes.items() if outcome is Outcome.RETRY} == set(range(400, 500))
    assert Outcome.DELIVERED not in outcomes.values()
