"""Answers cut short, late, too large or no HTTP at all, and peers that cannot be reached."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from exporter.errors import (
    BadPayload,
    SourceTimeout,
    SourceUnreachable,
)
from exporter.qdrant.gateway import Door
from tests.kit.gateways import LIMIT_BYTES, GatewayTo, ask, failure_of
from tests.kit.servers import (
    WireServer,
    answering,
    dripping,
    reply,
    silent,
)

OK_BODY = b'{"result":{"status":"disabled"},"status":"ok","time":1e-5}'


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ],
)
async def test_a_connection_cut_in_the_answer_is_unreachable(gateway_to: GatewayTo, data: bytes) -> None:
    """Fewer bytes than announced are never taken for the answer."""
    failure = await failure_of(gateway_to, data)

    assert isinstance(failure, SourceUnreachable)
    assert "the connection broke" in failure.detail


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x01\x02\x03" * 100,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_what_is_not_http_is_a_bad_payload(gateway_to: GatewayTo, data: bytes) -> None:
    """Something else listens on that port: an answer came, and it is not one."""
    failure = await failure_of(gateway_to, data)

    assert isinstance(failure, BadPayload)


@pytest.mark.usefixtures("patient_time")
async def test_a_silent_peer_times_out_at_the_total_deadline(gateway_to: GatewayTo) -> None:
    """A frozen process accepts and says nothing: the deadline ends it, and says how far it came."""
    async with WireServer(silent) as server:
        began = asyncio.get_running_loop().time()
        with pytest.raises(SourceTimeout) as raised:
            await ask(gateway_to(server.url), deadline_seconds=0.2)
        took = asyncio.get_running_loop().time() - began

    assert took == pytest.approx(0.2)
    assert raised.value.detail == "no whole answer within 0.2 s, given up before an answer"


@pytest.mark.usefixtures("patient_time")
async def test_a_reply_dripping_byte_by_byte_times_out_at_the_total_deadline(gateway_to: GatewayTo) -> None:
    """Each byte is progress, and none of them buys time."""
    head, body = reply(200, OK_BODY)[: -len(OK_BODY)], OK_BODY

    async def play(wire):
        await wire.request()
        await wire.send(head)
        for byte in body:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0.05)

    async with WireServer(play) as server:
        began = asyncio.get_running_loop().time()
        with pytest.raises(SourceTimeout) as raised:
            await ask(gateway_to(server.url), deadline_seconds=0.3)
        took = asyncio.get_running_loop().time() - began

    assert took == pytest.approx(0.3)
    assert "bytes of the answer" in raised.value.detail


@pytest.mark.usefixtures("patient_time")
async def test_a_head_dripping_byte_by_byte_times_out_too(gateway_to: GatewayTo) -> None:
    """The deadline covers the head as well as the body."""
    async with WireServer(dripping(reply(200, OK_BODY), every_seconds=0.05)) as server:
        with pytest.raises(SourceTimeout):
            await ask(gateway_to(server.url), deadline_seconds=0.2)


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_over_the_limit_is_refused_early(gateway_to: GatewayTo, announced: bool) -> None:
    """A length over the limit is not read at all, an unannounced one only up to it."""
    if announced:
        data = reply(200, b"x" * (LIMIT_BYTES + 1))
    else:
        data = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LIMIT_BYTES + 1)
    failure = await failure_of(gateway_to, data)

    assert isinstance(failure, BadPayload)
    assert f"the limit of an answer is {LIMIT_BYTES} bytes" in failure.detail


async def test_the_limit_counts_what_compression_unfolds(gateway_to: GatewayTo) -> None:
    """A small compressed body that unfolds beyond the limit is as large as what it unfolds to."""
    packed = gzip.compress(b"x" * (10 * LIMIT_BYTES))
    assert len(packed) < LIMIT_BYTES
    failure = await failure_of(gateway_to, reply(200, packed, "Content-Encoding: gzip"))

    assert isinstance(failure, BadPayload)
    assert "limit" in failure.detail


async def test_a_call_can_have_a_limit_of_its_own(gateway_to: GatewayTo) -> None:
    """`limit_bytes` rules over the gateway's, both ways; exactly the limit is allowed."""
    async with WireServer(answering(reply(200, b"1" * 1000))) as server:
        gateway = gateway_to(server.url)
        with pytest.raises(BadPayload):
            await ask(gateway, limit_bytes=999)
        answer = await ask(gateway, limit_bytes=1000)

    assert len(answer.body) == 1000


async def test_a_peer_that_refuses_or_resets_is_unreachable(gateway_to: GatewayTo) -> None:
    """A closed port and a reset read as what they are."""

    async def resetting(wire):
        await wire.request()
        wire.reset()

    async with WireServer(resetting) as server:
        with pytest.raises(SourceUnreachable) as reset:
            await ask(gateway_to(server.url))
    with pytest.raises(SourceUnreachable) as refused:
        await ask(gateway_to(server.url))

    assert "the connection broke" in reset.value.detail
    assert refused.value.detail == "cannot connect: Connection refused"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "127.1"])
async def test_a_host_that_does_not_resolve_is_unreachable(gateway_to: GatewayTo, host: str) -> None:
    """An unknown name, one that DNS cannot hold, and an address that is none."""
    with pytest.raises(SourceUnreachable):
        await ask(gateway_to(f"http://{host}:6333"))


async def test_an_address_is_connected_to_in_place_of_the_host(gateway_to: GatewayTo) -> None:
    """One address of a name that resolves to many is asked by itself, under the name."""
    async with WireServer(answering(reply(200, OK_BODY))) as server:
        await ask(gateway_to(f"http://qdrant.invalid:{server.port}/prefix/", address="127.0.0.1"))
        head = server.requests[0].decode().splitlines()

    assert head[0] == "GET /prefix/cluster HTTP/1.1"
    assert f"Host: qdrant.invalid:{server.port}" in head


async def test_a_name_is_resolved_where_no_address_is_given(gateway_to: GatewayTo) -> None:
    """The ordinary road: the system knows localhost."""
    async with WireServer(answering(reply(200, OK_BODY))) as server:
        answer = await ask(gateway_to(f"http://localhost:{server.port}"))

    assert answer.status == 200


@pytest.mark.parametrize(
    ("url", "address", "target"),
    [
        ("http://q.test:6333", None, "http://q.test:6333/x"),
        ("http://q.test:6333", "10.0.0.7", "http://10.0.0.7:6333/x"),
        ("http://q.test:6333", "fd00::7", "http://[fd00::7]:6333/x"),
        ("http://[::1]:6333/p/", "fd00::7", "http://[fd00::7]:6333/p/x"),
        ("http://10.0.0.1:6333", "10.0.0.7", "http://10.0.0.7:6333/x"),
        ("https://q.test", "10.0.0.7", "https://10.0.0.7/x"),
    ],
)
def test_a_door_leads_to_its_address(url: str, address: str | None, target: str) -> None:
    """Whatever the host is written as, the address takes its place and nothing else changes."""
    assert str(Door(url, address=address).target("/x")) == target
