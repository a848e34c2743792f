"""What the gateway makes of every kind of answer, each from a real listening socket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from exporter.errors import (
    BadPayload,
    SourceAuth,
    SourceRefused,
    SourceUnsupported,
)
from exporter.qdrant.gateway import decode
from tests.kit.gateways import GatewayTo, ask, failure_of
from tests.kit.recordings import recording
from tests.kit.servers import (
    WireServer,
    answering,
    reply,
)

OK_BODY = b'{"result":{"status":"disabled"},"status":"ok","time":1e-5}'


class Result(msgspec.Struct):
    status: str


class Envelope(msgspec.Struct):
    result: Result


async def test_a_good_answer_comes_whole_with_its_time(gateway_to: GatewayTo) -> None:
    """A 200 is an Answer with the bytes as sent and the seconds it took."""
    async with WireServer(answering(reply(200, OK_BODY))) as server:
        answer = await ask(gateway_to(server.url))

    assert (answer.status, answer.body, answer.endpoint) == (200, OK_BODY, "/cluster")
    assert 0 < answer.took_seconds < 2
    assert decode(answer.body, Envelope, answer.endpoint).result.status == "disabled"


async def test_the_request_says_who_asks_and_declines_compression(gateway_to: GatewayTo) -> None:
    """The server gets the key, our name, its own host as the url writes it, and is told not to gzip."""
    async with WireServer(answering(reply(200, OK_BODY))) as server:
        await ask(gateway_to(server.url, api_key="k3y", bearer_token="t0ken"))
        head = server.requests[0].decode().splitlines()

    assert head[0] == "GET /cluster HTTP/1.1"
    for line in (
        f"Host: 127.0.0.1:{server.port}",
        "Accept-Encoding: identity",
        "User-Agent: qdrant-exporter",
        "api-key: k3y",
        "Authorization: Bearer t0ken",
    ):
        assert line in head


async def test_the_proxy_of_the_environment_is_not_used(
    gateway_to: GatewayTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer is asked itself even where HTTP_PROXY is set."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with WireServer(answering(reply(200, OK_BODY))) as server:
        answer = await ask(gateway_to(server.url))

    assert answer.status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_never_followed(gateway_to: GatewayTo, status: int) -> None:
    """A 3xx names the host it points to, without the secrets that its Location may hold."""
    async with WireServer(answering(reply(200, OK_BODY))) as elsewhere:
        location = f"Location: http://user:hunter2@127.0.0.1:{elsewhere.port}/x?token=hunter3"
        failure = await failure_of(gateway_to, reply(status, b"", location))

    assert isinstance(failure, SourceRefused)
    assert failure.status == status
    assert f"redirect to http://127.0.0.1:{elsewhere.port}," in failure.detail
    assert "hunter" not in str(failure)
    assert elsewhere.connections == 0


async def test_a_redirect_without_a_usable_location_is_still_a_redirect(gateway_to: GatewayTo) -> None:
    """A Location that is no URL costs its mention, nothing else."""
    failure = await failure_of(gateway_to, reply(302, b"", "Location: http://[::1"))

    assert isinstance(failure, SourceRefused)
    assert "redirect, never followed" in failure.detail


@pytest.mark.parametrize(
    "data",
    [
        reply(200, b"<!DOCTYPE html><html>login</html>", content_type="text/html; charset=utf-8"),
        reply(200, b"hello", content_type="text/html"),
        reply(200, b"\n <HTML>sorry</HTML>"),
    ],
)
async def test_html_with_status_200_is_a_bad_payload(gateway_to: GatewayTo, data: bytes) -> None:
    """A login page is not a healthy peer, whatever endpoint was asked."""
    failure = await failure_of(gateway_to, data)

    assert isinstance(failure, BadPayload)
    assert "HTML" in failure.detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (OK_BODY[:-20], "JSON that ends too early, 38 bytes"),
        (b"", "JSON that ends too early, 0 bytes"),
        (b"healthz check passed", "not JSON, 20 bytes"),
        (b'{"result":{"status":"\xff"}}', "not JSON, 25 bytes"),
        (b'{"result":{"status":7}}', "Expected `str`, got `int` - at `$.result.status`"),
        (b'{"status":"ok"}', "Object missing required field `result`"),
    ],
)
async def test_a_body_that_does_not_decode_says_where(
    gateway_to: GatewayTo, body: bytes, detail: str
) -> None:
    """Truncated JSON, other text and wrong types are bad payloads that name the path."""
    async with WireServer(answering(reply(200, body))) as server:
        answer = await ask(gateway_to(server.url))

    with pytest.raises(BadPayload) as raised:
        decode(answer.body, Envelope, answer.endpoint)
    assert detail == raised.value.detail
    assert raised.value.endpoint == "/cluster"


def test_json_nested_beyond_reason_is_a_bad_payload() -> None:
    """A hundred thousand brackets exhaust nothing but themselves."""
    with pytest.raises(BadPayload):
        decode(b"[" * 100_000, list, "/x")


@pytest.mark.parametrize(
    ("status", "body", "content_type", "detail"),
    [
        (401, b"Invalid API key or JWT", "text/plain", "401: Invalid API key or JWT"),
        (403, b"Wrong issuer", "text/plain", "403: Wrong issuer"),
        (401, b"", "text/plain", "401: no reason given"),
        (
            403,
            b'{"status":{"error":"Forbidden: Global manage access is required"},"time":6e-6}',
            "application/json",
            "403: Forbidden: Global manage access is required",
        ),
    ],
)
async def test_401_and_403_are_auth_in_plain_text_and_in_json(
    gateway_to: GatewayTo, status: int, body: bytes, content_type: str, detail: str
) -> None:
    """Qdrant's key check answers in plain text, its role check in JSON."""
    failure = await failure_of(gateway_to, reply(status, body, content_type=content_type))

    assert isinstance(failure, SourceAuth)
    assert detail == failure.detail


async def test_the_recorded_answer_without_a_key_is_auth(gateway_to: GatewayTo) -> None:
    """What a real server says to a call without a key reaches the reader in its words."""
    said = recording("v1.18.3/single/auth/none.cluster")
    failure = await failure_of(gateway_to, reply(said.status, said.body))

    assert isinstance(failure, SourceAuth)
    assert failure.detail == "401: Must provide an API key or an Authorization bearer token"


async def test_404_with_an_empty_body_is_unsupported(gateway_to: GatewayTo) -> None:
    """That is what every recorded server answers for a route that it does not have."""
    failure = await failure_of(gateway_to, reply(404))

    assert isinstance(failure, SourceUnsupported)


async def test_405_is_unsupported(gateway_to: GatewayTo) -> None:
    """1.19 answers so where its mode lacks the operation."""
    failure = await failure_of(gateway_to, reply(405, b'{"status":{"error":"standalone"},"time":0}'))

    assert isinstance(failure, SourceUnsupported)


@pytest.mark.parametrize(
    ("body", "content_type", "detail"),
    [
        (
            b'{"status":{"error":"Not found: Collection `nosuch` doesn\'t exist!"},"time":3e-5}',
            "application/json",
            "404: Not found: Collection `nosuch` doesn't exist!",
        ),
        (b"Not found: Snapshot x not found", "text/plain", "404: Not found: Snapshot x not found"),
        (
            b"<html>nginx</html>",
            "text/html",
            "404: an HTML page: something other than Qdrant answers here",
        ),
    ],
)
async def test_404_with_a_body_is_refused(
    gateway_to: GatewayTo, body: bytes, content_type: str, detail: str
) -> None:
    """A thing that is missing is not an endpoint that is missing."""
    failure = await failure_of(gateway_to, reply(404, body, content_type=content_type))

    assert isinstance(failure, SourceRefused)
    assert (404, detail) == (failure.status, failure.detail)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [(("Retry-After: 12",), 12.0), (("Retry-After: 1.5",), 1.5), ((), None), (("Retry-After: soon",), None)],
)
async def test_429_carries_the_time_to_wait_where_the_server_names_one(
    gateway_to: GatewayTo, headers: tuple[str, ...], seconds: float | None
) -> None:
    """Retry-After in seconds is read; absent or nonsense, there is none."""
    body = b'{"status":{"error":"Rate limiting exceeded: Read rate limit exceeded"},"time":0}'
    failure = await failure_of(gateway_to, reply(429, body, *headers))

    assert isinstance(failure, SourceRefused)
    assert (429, seconds) == (failure.status, failure.retry_after_seconds)
    assert failure.detail == "429: Rate limiting exceeded: Read rate limit exceeded"


@pytest.mark.parametrize(("ahead_seconds", "lowest", "highest"), [(120, 110.0, 120.0), (-60, 0.0, 0.0)])
async def test_429_with_a_date_waits_until_it(
    gateway_to: GatewayTo, ahead_seconds: int, lowest: float, highest: float
) -> None:
    """Retry-After as an HTTP date is seconds from now, never less than none."""
    date = (datetime.now(UTC) + timedelta(seconds=ahead_seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    failure = await failure_of(gateway_to, reply(429, b"", f"Retry-After: {date}"))

    assert isinstance(failure, SourceRefused)
    assert failure.retry_after_seconds is not None
    assert lowest <= failure.retry_after_seconds <= highest


@pytest.mark.parametrize("status", [304, 400, 408, 409, 422, 500, 502, 503, 507])
async def test_any_other_no_is_refused_with_its_status(gateway_to: GatewayTo, status: int) -> None:
    """The status and the server's own words come along."""
    body = b"" if status == 304 else b'{"status":{"error":"Service internal error: why"},"time":0}'
    failure = await failure_of(gateway_to, reply(status, body))

    assert isinstance(failure, SourceRefused)
    assert failure.status == status
    assert status == 304 or failure.detail == f"{status}: Service internal error: why"


IN_THREADS = """
import sys, threading
from exporter.qdrant.payloads import Telemetry, result
from tests.kit.recordings import recording

sys.setswitchinterval(1e-6)
body = recording("v1.18.3/cluster/02_healthy/peer0/telemetry_3").body
together, versions = threading.Barrier(4), []

def read():
    together.wait()
    versions.append(result(body, Telemetry, "/telemetry").app.version)

threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*versions)
"""


def test_the_first_answers_of_a_process_may_be_read_in_several_threads() -> None:
    """msgspec alone ends the process then, more often than not."""
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", IN_THREADS], capture_output=True, text=True, check=False)

        assert (ran.returncode, ran.stdout) == (0, "1.18.3 1.18.3 1.18.3 1.18.3\n"), ran.stderr


@pytest.mark.parametrize("status", [201, 202, 204, 206])
async def test_another_good_status_is_not_the_answer_that_was_asked_for(
    gateway_to: GatewayTo, status: int
) -> None:
    """Only a 200 is read; Qdrant gives no other to what we ask."""
    failure = await failure_of(gateway_to, reply(status))

    assert isinstance(failure, BadPayload)


async def test_a_long_error_text_is_cut_to_one_line(gateway_to: GatewayTo) -> None:
    """A 500 for dead replicas repeats itself over many lines: one short line is kept."""
    body = b'{"status":{"error":"2 of 2 failed:\\n  ' + b"connect error " * 100_000 + b'"},"time":0}'
    failure = await failure_of(gateway_to, reply(500, body[:60_000]))

    assert failure.detail.startswith('500: {"status":{"error":"2 of 2 failed:\\n connect error')
    assert len(failure.detail) <= 310
    assert "\n" not in failure.detail
    assert failure.detail.endswith("…")


@pytest.mark.usefixtures("patient_time")
async def test_an_endless_error_body_is_not_read_to_its_end(gateway_to: GatewayTo) -> None:
    """Sixty-four KiB of a refusal are enough: the deadline is not used up on it."""
    head = b"HTTP/1.1 500 X\r\nContent-Length: 9999999999\r\n\r\n"

    async def play(wire):
        await wire.request()
        await wire.send(head + b"x" * 200_000)
        await wire.request()

    async with WireServer(play) as server:
        with pytest.raises(SourceRefused) as raised:
            await asyncio.wait_for(ask(gateway_to(server.url), deadline_seconds=5.0), 1.0)
    assert raised.value.status == 500
