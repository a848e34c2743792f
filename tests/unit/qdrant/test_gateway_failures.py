"""No exception of the HTTP client, and no secret, ever leaves the gateway."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import traceback
from collections.abc import Iterator
from threading import Event

import aiohttp
import pytest
from aiohttp import http_exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.clock import SystemClock
from exporter.errors import SourceError, SourceTimeout, SourceUnreachable
from exporter.qdrant.failures import CLIENT_FAILURES, Progress, source_error
from exporter.qdrant.gateway import Door, Gateway, decode
from exporter.qdrant.names import HostLookup
from tests.kit.gateways import LIMIT_BYTES, GatewayTo, ask
from tests.kit.servers import WireServer, answering, answering_once, reply

API_KEY = "s3cr3t-key"
TOKEN = "s3cr3t-token"
DOOR = Door("http://127.0.0.1:6333")


def classes_below(root: type[BaseException]) -> Iterator[type[BaseException]]:
    """Yield a class and everything that inherits from it."""
    yield root
    for child in root.__subclasses__():
        yield from classes_below(child)


def client_exceptions() -> list[type[BaseException]]:
    """Return every exception class that aiohttp's client declares, by walking its tree."""
    roots = (aiohttp.ClientError, http_exceptions.HttpProcessingError)
    found = {kind for root in roots for kind in classes_below(root)}
    return sorted(
        (kind for kind in found if kind.__module__.startswith("aiohttp")), key=lambda kind: kind.__name__
    )


@pytest.mark.parametrize("kind", client_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_client_has_a_meaning(kind: type[BaseException]) -> None:
    """Each class of aiohttp's tree is caught at the door and becomes one of our errors, even bare."""
    bare = kind.__new__(kind)

    assert isinstance(bare, CLIENT_FAILURES)
    assert isinstance(source_error(bare, "/x", DOOR, Progress()), SourceError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), SourceTimeout),
        (ConnectionResetError(104, "reset"), SourceUnreachable),
        (socket.gaierror(-2, "Name or service not known"), SourceUnreachable),
        (ssl.SSLError(1, "[SSL] odd"), SourceUnreachable),
        (OSError("no number"), SourceUnreachable),
    ],
)
def test_the_systems_own_errors_have_a_meaning(error: Exception, kind: type[SourceError]) -> None:
    """Those that reach the door unwrapped are caught there too."""
    assert isinstance(error, CLIENT_FAILURES)
    assert type(source_error(error, "/x", DOOR, Progress())) is kind


def test_the_list_of_the_clients_exceptions_is_not_empty() -> None:
    """The walk above finds what aiohttp documents; an import that changed would make it vain."""
    names = {kind.__name__ for kind in client_exceptions()}

    assert {"ServerDisconnectedError", "ClientPayloadError", "TooManyRedirects", "BadStatusLine"} <= names


GOOD = reply(200, b'{"result":{},"status":"ok"}')
CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'


@st.composite
def spoilt_answers(draw: st.DrawFn) -> bytes:
    """Take a good answer, change, cut or repeat a part of it."""
    data = bytearray(draw(st.sampled_from([GOOD, CHUNKED])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        data[place : place + length] = draw(st.binary(max_size=8))
    return bytes(data)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=spoilt_answers())
def test_spoilt_answers_are_answers_or_errors_of_ours(data: bytes) -> None:
    """Whatever a server sends, the caller sees an Answer or a SourceError, in time."""

    async def one() -> None:
        async with WireServer(answering_once(data)) as server:
            gateway = Gateway(
                door=Door(server.url),
                clock=SystemClock(),
                response_limit_bytes=LIMIT_BYTES,
                fast_seconds=15.0,
            )
            try:
                decode((await ask(gateway, deadline_seconds=0.3)).body, dict, "/collections")
            except SourceError as error:
                assert error.detail  # noqa: PT017  # both ends are good ones
            finally:
                await gateway.close()

    asyncio.run(one())


def everything_said_of(error: BaseException | None) -> str:
    """Return the text, the repr and the traceback of an error and of all that is chained to it."""
    said = []
    while error is not None:
        said += [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(said)


ECHO = f"you sent {API_KEY} and Bearer {TOKEN}".encode()


@pytest.mark.parametrize(
    "data",
    [
        reply(401, ECHO, content_type="text/plain"),
        reply(500, b'{"status":{"error":"' + ECHO + b'"}}'),
        reply(302, b"", f"Location: http://{TOKEN}@h/?api-key={API_KEY}"),
        reply(302, b"", f"Location: http://{API_KEY}.test/"),
        reply(429, ECHO),
        reply(200, b"<html>" + ECHO),
        b"garbage " + ECHO + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ],
)
async def test_no_error_holds_a_secret_nor_anything_chained_to_it(
    gateway_to: GatewayTo, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    """Not in its words, not in its causes, which know the request's headers, and not in a log."""
    caplog.set_level(logging.DEBUG)
    async with WireServer(answering_once(data)) as server:
        with pytest.raises(SourceError) as raised:
            await ask(gateway_to(server.url, api_key=API_KEY, bearer_token=TOKEN))

    assert b"s3cr3t-key" in server.requests[0]
    assert "s3cr3t" not in everything_said_of(raised.value) + caplog.text


async def test_a_refused_connection_holds_no_secret_either(gateway_to: GatewayTo) -> None:
    """The same where nothing listens."""
    with pytest.raises(SourceError) as raised:
        await ask(gateway_to("http://127.0.0.1:9", api_key=API_KEY, bearer_token=TOKEN))

    assert "s3cr3t" not in everything_said_of(raised.value)


def test_a_door_shows_no_secret() -> None:
    """Its repr may be logged."""
    door = Door("http://127.0.0.1:6333", api_key=API_KEY, bearer_token=TOKEN)

    assert "s3cr3t" not in repr(door) + str(door)


@pytest.mark.parametrize(
    "door",
    [
        {"url": "localhost:6333"},
        {"url": "ftp://localhost:6333"},
        {"url": "http://"},
        {"url": "http://user:s3cr3t@localhost:6333"},
        {"url": "http://localhost:6333/?api-key=s3cr3t"},
        {"url": "http://localhost:6333/#s3cr3t"},
        {"url": "http://localhost:s3cr3t"},
        {"url": "http://localhost:6333", "api_key": "s3cr3t\nX-Evil: 1"},
        {"url": "http://localhost:6333", "api_key": ""},
        {"url": "http://localhost:6333", "bearer_token": "s3cr3t\x00"},
    ],
)
def test_a_door_that_cannot_be_used_is_refused_without_its_value(door: dict[str, str]) -> None:
    """What would fail or leak at the first call is said at once, and not repeated."""
    with pytest.raises(ValueError, match=r"url|api_key|bearer_token") as raised:
        Door(**door)

    assert "s3cr3t" not in everything_said_of(raised.value)


async def test_callers_of_one_host_share_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs holds one thread for a host, however many wait for it."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def counting(host, *rest, **more):
        asked.append(host)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", counting)
    lookup = HostLookup()
    found = await asyncio.gather(*(lookup.resolve("localhost", 6333) for _ in range(10)))
    await lookup.close()

    assert asked == ["localhost"]
    assert {address["host"] for address in found[0]} <= {"127.0.0.1", "::1"}
    assert all(addresses == found[0] for addresses in found)


async def test_a_resolver_that_hangs_ends_with_the_deadline_and_with_close(
    gateway_to: GatewayTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither holds the call, nor the next one, nor the end of the gateway."""
    released = Event()

    def hanging(*_: object, **__: object) -> list[object]:
        released.wait(5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    gateway = gateway_to("http://slow.test:6333")
    for _ in range(2):
        with pytest.raises(SourceTimeout):
            await ask(gateway, deadline_seconds=0.05)
    waiting = asyncio.create_task(ask(gateway, deadline_seconds=5.0))
    await asyncio.sleep(0.02)
    await gateway.close()
    with pytest.raises(SourceUnreachable):
        await asyncio.wait_for(waiting, 4.0)
    released.set()


async def test_a_name_without_addresses_is_unreachable(gateway_to: GatewayTo) -> None:
    """A server is not found, and the reader learns that it is the name."""
    with pytest.raises(SourceUnreachable) as raised:
        await ask(gateway_to("http://no-such-host.invalid:6333"))

    assert raised.value.detail.startswith("the host does not resolve")


async def test_good_answers_are_not_spoilt_by_the_care_taken(gateway_to: GatewayTo) -> None:
    """The unspoilt forms of the answers above decode."""
    async with WireServer(answering(GOOD, CHUNKED)) as server:
        gateway = gateway_to(server.url)
        first, second = await ask(gateway), await ask(gateway)

    assert decode(first.body, dict, "/collections") == {"result": {}, "status": "ok"}
    assert decode(second.body, dict, "/collections") == {"a": 1}
