"""Alertmanager is told by every member, in batches, with ends that mean what they must."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest

from exporter.alerting.receivers.alertmanager import Alertmanager, alert_body
from exporter.alerting.words import Alert, AlertState, Outcome
from exporter.config.alerting import AlertmanagerSettings
from tests.unit.alerting.receivers.cases import HOSTILE, NOW, alert, labels_of, resolved, sending
from tests.unit.alerting.receivers.services import Manner, Posted, Service, closed_port


def asserter(*urls: str, **more: object) -> Alertmanager:
    """Return an Asserter of these members."""
    settings = AlertmanagerSettings.model_construct(urls=urls, deadline_seconds=5.0, **more)
    return Alertmanager(id="am-1", name="am", settings=settings)


async def tell(one: Alertmanager, alerts: Sequence[Alert]) -> tuple[Outcome, str]:
    """Tell and close; return outcome and reason."""
    delivery = await one.tell(alerts, sending())
    await one.close()
    return delivery.outcome, delivery.reason


class Picky(Service):
    """Refuses every request with an alert whose collection is "bad"."""

    def _answer(self) -> bytes:
        posted: Posted = self.posted[-1]
        bad = any(told["labels"].get("collection") == "bad" for told in json.loads(posted.body))
        self.manner.status, self.manner.body = (400, b"bad label") if bad else (200, b"")
        return super()._answer()


class Tiring(Service):
    """Takes one request, and no more."""

    def _answer(self) -> bytes:
        self.manner.status = 200 if len(self.posted) == 1 else 503
        return super()._answer()


async def test_every_member_is_told_itself() -> None:
    """Alertmanager's members share silences, not the alerts of their clients."""
    async with Service() as one, Service() as other:
        said = await tell(asserter(one.url, f"{other.url}/prefix"), [alert()])

    assert said == (Outcome.DELIVERED, "")
    assert [posted.path for posted in one.posted] == ["/api/v2/alerts"]
    assert [posted.path for posted in other.posted] == ["/prefix/api/v2/alerts"]


async def test_one_member_is_enough_and_the_other_is_named() -> None:
    """They tell each other; but a member that is down for long is worth knowing of."""
    down = f"http://127.0.0.1:{closed_port()}"
    async with Service() as service:
        outcome, reason = await tell(asserter(down, service.url), [alert()])

    assert Outcome.DELIVERED is outcome
    assert reason.startswith(f"{down.removeprefix('http://')}: cannot connect")


async def test_when_no_member_takes_it_the_most_hopeful_answer_counts() -> None:
    """One that is away may come back; the wait is that of the slowest."""
    limited = Manner(status=429, headers={"Retry-After": "9"})
    async with Service(Manner(status=403)) as refusing, Service(limited) as busy:
        one = asserter(refusing.url, busy.url)
        delivery = await one.tell([alert()], sending())
        await one.close()

    assert (delivery.outcome, delivery.status, delivery.retry_after_seconds) == (Outcome.RETRY, 429, 9.0)


async def test_a_bad_alert_costs_only_itself() -> None:
    """A batch with one fails as a whole, so each goes by itself then."""
    alerts = [alert(collection=name) for name in ("a", "bad", "b")]
    async with Picky() as service:
        said = await tell(asserter(service.url), alerts)

    assert len(service.posted) == 4
    assert said == (
        Outcome.REJECTED,
        "not taken by any member: IndexingLag (bad, prod, search, warning);"
        f" 127.0.0.1:{service.port}: 1 alerts not taken: 400: bad label",
    )


async def test_an_alert_that_one_member_rejects_and_another_takes_is_delivered() -> None:
    """They may be of different versions; the one that took it tells the other."""
    alerts = [alert(collection=name) for name in ("a", "bad")]
    async with Picky() as picky, Service() as service:
        one = asserter(picky.url, service.url)
        delivery = await one.tell(alerts, sending())
        await one.close()

    assert (delivery.outcome, delivery.taken) == (Outcome.DELIVERED, {each.fingerprint for each in alerts})
    assert delivery.reason == f"127.0.0.1:{picky.port}: 1 alerts not taken: 400: bad label"


async def test_an_alert_that_every_member_that_answers_rejects_is_rejected() -> None:
    """One that is down is named beside it; what else there was is taken."""
    alerts = [alert(collection=name) for name in ("a", "bad")]
    async with Picky() as picky:
        one = asserter(picky.url, f"http://127.0.0.1:{closed_port()}")
        delivery = await one.tell(alerts, sending())
        await one.close()

    assert (delivery.outcome, delivery.taken) == (Outcome.REJECTED, {alerts[0].fingerprint})
    assert delivery.reason.startswith("not taken by any member: IndexingLag (bad")
    assert "cannot connect" in delivery.reason


async def test_what_a_member_takes_before_it_breaks_counts() -> None:
    """The rest is to be told again soon."""
    alerts = [alert(collection=f"c{number}") for number in range(300)]
    async with Tiring() as service:
        one = asserter(service.url)
        delivery = await one.tell(alerts, sending())
        await one.close()

    assert (delivery.outcome, len(delivery.taken)) == (Outcome.RETRY, 256)


async def test_without_alerts_a_member_is_asked_whether_it_takes_anything() -> None:
    """An empty list changes nothing there."""
    async with Service() as service, Service(Manner(status=403)) as closed:
        said = [await tell(asserter(each.url), []) for each in (service, closed)]

    assert [outcome for outcome, _ in said] == [Outcome.DELIVERED, Outcome.REFUSED]
    assert [posted.body for posted in service.posted] == [b"[]"]


async def test_many_alerts_go_in_batches() -> None:
    """256 a request, as Prometheus sends them."""
    async with Service() as service:
        await tell(asserter(service.url), [alert(collection=f"c{number}") for number in range(600)])

    assert [len(json.loads(posted.body)) for posted in service.posted] == [256, 256, 88]


async def test_a_member_that_is_away_is_not_asked_batch_by_batch() -> None:
    """It would take a deadline each."""
    async with Service(Manner(status=503)) as service:
        await tell(asserter(service.url), [alert(collection=f"c{number}") for number in range(600)])

    assert len(service.posted) == 1


async def test_nothing_to_tell_asks_nobody() -> None:
    """Pending alerts are ours alone, and what resolved long ago was told."""
    pending = alert(state=AlertState.PENDING, fired_at=None)
    old = alert(state=AlertState.RESOLVED, resolved_at=NOW - 901)
    async with Service() as service:
        said = await tell(asserter(service.url), [pending, old])

    assert said == (Outcome.DELIVERED, "")
    assert service.posted == []


async def test_headers_of_the_configuration_are_sent() -> None:
    """Mimir wants to know the tenant."""
    async with Service() as service:
        await tell(asserter(service.url, headers={"X-Scope-OrgID": "team-a"}, username="u"), [alert()])

    assert service.posted[0].headers["x-scope-orgid"] == "team-a"
    assert service.posted[0].headers["authorization"].startswith("Basic ")


def test_what_fires_ends_four_rounds_from_now_and_what_resolved_when_it_did() -> None:
    """A daemon that dies ends its alerts after four minutes; one that resolved must not end in the future."""
    firing, ended = alert_body(alert(), sending()), alert_body(resolved(alert()), sending())

    assert firing is not None
    assert ended is not None
    assert (firing["startsAt"], firing["endsAt"]) == ("2027-01-15T07:50:00.000Z", "2027-01-15T08:04:00.000Z")
    assert ended["endsAt"] == "2027-01-15T07:59:00.000Z"


def test_no_alert_ends_before_it_began() -> None:
    """Alertmanager refuses that; a clock that was set back makes it."""
    body = alert_body(alert(state=AlertState.RESOLVED, fired_at=NOW - 5, resolved_at=NOW - 9), sending())

    assert body is not None
    assert body["startsAt"] == body["endsAt"]


@pytest.mark.parametrize("name", HOSTILE)
def test_labels_are_such_as_every_alertmanager_takes(name: str) -> None:
    """Names of the classic form, values that are text and not empty."""
    labels = labels_of(alertname="A", collection=HOSTILE[name], empty="")
    odd = (("a-b.c", "x"), ("0day", "y"), ("half", "\ud800"))
    body = alert_body(alert(labels=labels + odd), sending())

    assert body is not None
    assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label) for label in body["labels"])
    assert {"alertname", "collection", "a_b_c", "_0day", "half"} == body["labels"].keys()
    json.dumps(body).encode()


def test_the_runbook_is_a_link_under_the_name_that_templates_look_for() -> None:
    """Where this daemon has an address; else there is none to give."""
    with_url, without = alert_body(alert(), sending()), alert_body(alert(), sending(external_url=""))

    assert with_url is not None
    assert without is not None
    assert with_url["annotations"]["runbook_url"] == "https://watch.example/runbooks/IndexingLag"
    assert "runbook_url" not in without["annotations"]
    assert "generatorURL" not in without
