"""How an answer becomes a delivery: waiting times, words, and how far a broken call came."""

from __future__ import annotations

import email.utils
import socket
import threading

import httpx
import pytest
import trustme

from exporter.alerting.receivers.answers import UNUSABLE, no_answer, retry_after_seconds
from exporter.alerting.receivers.posting import ANSWER_BYTES, NAME_HANGS, Poster, host_connected_to
from exporter.alerting.words import Outcome
from tests.unit.alerting.receivers.cases import NOW, attempt, receiver, sending
from tests.unit.alerting.receivers.services import Manner, Service


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        (email.utils.formatdate(NOW + 90, usegmt=True), 90.0),
        (email.utils.formatdate(NOW + 90), 90.0),  # "-0000"
        (email.utils.formatdate(NOW - 90, usegmt=True), 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    """As HTTP has it, against the injected now; anything else is nothing."""
    assert seconds == retry_after_seconds(header, NOW)


@pytest.mark.parametrize("status", [429, 503, 408])
async def test_retry_after_comes_with_every_status_that_is_tried_again(status: int) -> None:
    """A service in maintenance names a time as well as one that limits."""
    date = email.utils.formatdate(NOW + 40, usegmt=True)
    async with Service(Manner(status=status, headers={"Retry-After": date})) as service:
        told = receiver("webhook", service.url)
        delivery = await attempt(told, how=sending(now=NOW))
        await told.close()

    assert (delivery.outcome, delivery.retry_after_seconds) == (Outcome.RETRY, 40.0)


async def test_a_body_that_never_ends_changes_nothing_of_its_status() -> None:
    """The status is the answer; the deadline ends the reading of the rest."""
    async with Service(Manner(stops_in_body=True)) as service:
        told = receiver("slack", service.url, deadline_seconds=0.3)
        delivery = await attempt(told)
        await told.close()

    assert (delivery.outcome, delivery.status) == (Outcome.DELIVERED, 200)


async def test_of_a_large_answer_only_the_beginning_is_read() -> None:
    """Whoever answers with a gigabyte does not get our memory."""
    async with Service(Manner(status=500, body=b"x" * 1_000_000)) as service:
        poster = Poster(deadline_seconds=5.0, secrets=[])
        answer = await poster.post(service.url, b"{}")
        await poster.close()

    assert not hasattr(answer, "reason")
    assert len(answer.body) == ANSWER_BYTES
    assert len(poster.shown(answer.body)) == 200


async def test_each_message_has_a_connection_of_its_own() -> None:
    """An idle connection may be dead, and then nobody knows whether the message arrived."""
    async with Service() as service:
        poster = Poster(deadline_seconds=5.0, secrets=[])
        for _ in range(3):
            await poster.post(service.url, b"{}")
        await poster.close()

    assert [posted.headers["connection"] for posted in service.posted] == ["close"] * 3


async def test_a_certificate_of_nobody_is_not_accepted(tls_of_nobody: object) -> None:
    """The message stays here, and the reason says what is wrong."""
    async with Service(tls=tls_of_nobody) as service:
        poster = Poster(deadline_seconds=5.0, secrets=[])
        answer = await poster.post(service.url, b"{}")
        await poster.close()

    assert hasattr(answer, "outcome")
    assert Outcome.RETRY is answer.outcome
    assert "certificate is not trusted" in answer.reason
    assert service.posted == []


async def test_a_certificate_of_an_authority_that_the_system_trusts_is_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """SSL_CERT_FILE names the system's authorities, as for every program of OpenSSL's."""
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with authority.cert_pem.tempfile() as file:
        monkeypatch.setenv("SSL_CERT_FILE", file)
        async with Service(tls=context) as service:
            poster = Poster(deadline_seconds=5.0, secrets=[])
            answer = await poster.post(service.url, b"{}")
            await poster.close()

    assert hasattr(answer, "status")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("error", "written", "outcome"),
    [
        (httpx.ConnectTimeout("x"), False, Outcome.RETRY),
        (httpx.PoolTimeout("x"), False, Outcome.RETRY),
        (httpx.WriteTimeout("x"), False, Outcome.RETRY),
        (httpx.ReadTimeout("x"), True, Outcome.UNKNOWN),
        (TimeoutError(), True, Outcome.UNKNOWN),
        (TimeoutError(), False, Outcome.RETRY),
        (httpx.ReadError("x"), True, Outcome.UNKNOWN),
        (httpx.RemoteProtocolError("x"), True, Outcome.UNKNOWN),
        (httpx.ConnectError("x"), False, Outcome.RETRY),
        (httpx.ProxyError("x"), False, Outcome.RETRY),
        (httpx.UnsupportedProtocol("x"), False, Outcome.REFUSED),
        (httpx.InvalidURL("x"), False, Outcome.REFUSED),
    ],
)
def test_a_call_that_broke_may_have_arrived_only_once_it_was_sent(
    error: Exception, written: bool, outcome: Outcome
) -> None:
    """Before the last byte was written nothing can have arrived, so it is tried again freely."""
    assert outcome is no_answer(error, written=written, deadline_seconds=10.0).outcome


def test_a_host_that_does_not_resolve_is_told_so() -> None:
    """In our words: the exception's own text may hold the URL."""
    error = httpx.ConnectError("https://secret")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    said = no_answer(error, written=False, deadline_seconds=10.0)

    assert said == (Outcome.RETRY, "cannot connect: the host does not resolve")


async def test_a_proxy_of_the_environment_is_used_but_never_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reaches Slack through a proxy only needs HTTP_PROXY, as for every program."""
    async with Service() as proxy, Service() as service:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        poster = Poster(deadline_seconds=5.0, secrets=[])
        await poster.post("http://chat.example/hook", b"{}")
        await poster.post(f"{service.url}/here", b"{}")
        await poster.close()

    assert [posted.path for posted in proxy.posted] == ["http://chat.example/hook"]
    assert [posted.path for posted in service.posted] == ["/here"]


@pytest.mark.parametrize(
    ("environment", "url", "host"),
    [
        ({}, "https://chat.example/hook", "chat.example"),
        ({"https_proxy": "http://proxy.example:3128"}, "https://chat.example/hook", "proxy.example"),
        ({"all_proxy": "proxy.example:3128"}, "https://chat.example/hook", "proxy.example"),
        ({"http_proxy": "http://proxy.example"}, "https://chat.example/hook", "chat.example"),
        ({"https_proxy": "http://p.example", "no_proxy": "a.example"}, "https://a.example/", "a.example"),
        ({"http_proxy": "http://proxy.example"}, "http://localhost:8080/", "localhost"),
    ],
)  # fmt: skip
def test_the_host_that_is_looked_up_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, host: str
) -> None:
    """Behind a proxy nobody here may know the name of the service."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert host == host_connected_to(httpx.URL(url))


async def test_name_servers_that_say_nothing_cost_one_thread_whatever_the_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were each to look up anew, none would be left for the services whose names are known."""
    asked, go_on = [], threading.Event()

    def hangs(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        go_on.wait()
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    poster = Poster(deadline_seconds=0.3, secrets=[])
    try:
        got = [await poster.post("http://dead.example/hook", b"{}") for _ in range(3)]
    finally:
        go_on.set()
        await poster.close()

    assert {(Outcome.RETRY, NAME_HANGS.format("300ms"))} == set(got)
    assert asked == ["dead.example"]


async def test_a_proxy_that_cannot_be_is_told_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is a person's to correct."""
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://proxy")
    poster = Poster(deadline_seconds=5.0, secrets=[])
    answer = await poster.post("https://chat.example/hook", b"{}")
    await poster.close()

    assert answer == (Outcome.REFUSED, UNUSABLE)
