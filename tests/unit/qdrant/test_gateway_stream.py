"""Bodies of any size: streamed, with a limit on stalling only."""

from __future__ import annotations

import asyncio

import pytest

from exporter.errors import SourceAuth, SourceRefused, SourceTimeout, SourceUnreachable
from exporter.qdrant.gateway import Gateway
from tests.kit.gateways import LIMIT_BYTES, GatewayTo
from tests.kit.servers import Wire, WireServer, answering, answering_once, reply, silent

SNAPSHOT = "/collections/{collection}/snapshots/{snapshot}"
PATH = "/collections/docs/snapshots/s.snapshot"


async def read_whole(gateway: Gateway, *, stall_seconds: float) -> bytes:
    """Stream the snapshot to its end."""
    async with gateway.stream(PATH, endpoint=SNAPSHOT, stall_seconds=stall_seconds) as download:
        return b"".join([chunk async for chunk in download])


async def test_a_body_over_the_limit_of_answers_streams_whole(gateway_to: GatewayTo) -> None:
    """A snapshot of any size arrives in chunks, with its ETag and length at hand."""
    body = bytes(range(256)) * (3 * LIMIT_BYTES // 256)
    async with WireServer(answering(reply(200, body, 'ETag: "9a8023"'))) as server:
        gateway = gateway_to(server.url)
        async with gateway.stream(PATH, endpoint=SNAPSHOT, stall_seconds=1.0) as download:
            chunks = [chunk async for chunk in download]

    assert b"".join(chunks) == body
    assert len(chunks) > 1
    assert download.status == 200
    assert (download.headers["etag"], download.headers["content-length"]) == ('"9a8023"', str(len(body)))
    assert gateway.counts()[SNAPSHOT, "ok"] == 1
    assert gateway.spent()[SNAPSHOT].received_bytes == len(body)


async def test_headers_of_a_stream_reach_the_server(gateway_to: GatewayTo) -> None:
    """A Range goes out beside the key, and its 206 is good."""
    async with WireServer(answering(reply(206, b"xyz", "Content-Range: bytes 10-12/100"))) as server:
        gateway = gateway_to(server.url, api_key="k3y")
        async with gateway.stream(
            PATH, endpoint=SNAPSHOT, stall_seconds=1.0, headers={"Range": "bytes=10-12"}
        ) as download:
            chunks = [chunk async for chunk in download]

    assert (download.status, b"".join(chunks)) == (206, b"xyz")
    assert b"Range: bytes=10-12\r\n" in server.requests[0]
    assert b"api-key: k3y\r\n" in server.requests[0]
    assert b"Accept-Encoding: identity\r\n" in server.requests[0]


@pytest.mark.usefixtures("patient_time")
async def test_a_slow_stream_that_never_stalls_ends_well(gateway_to: GatewayTo) -> None:
    """There is no total deadline: it takes longer than the stall limit and is whole."""
    body = b"0123456789" * 4

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(reply(200, body)[: -len(body)])
        for byte in body:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0.015)

    async with WireServer(play) as server:
        began = asyncio.get_running_loop().time()
        received = await read_whole(gateway_to(server.url), stall_seconds=0.3)
        took = asyncio.get_running_loop().time() - began

    assert received == body
    assert took > 0.5


@pytest.mark.usefixtures("patient_time")
async def test_a_slow_reader_is_not_a_stalled_server(gateway_to: GatewayTo) -> None:
    """Time that the caller takes between chunks is its own."""
    async with WireServer(answering(reply(200, b"0123456789"))) as server:
        gateway = gateway_to(server.url)
        async with gateway.stream(PATH, endpoint=SNAPSHOT, stall_seconds=0.1) as download:
            await asyncio.sleep(0.2)
            chunks = [chunk async for chunk in download]

    assert b"".join(chunks) == b"0123456789"


@pytest.mark.usefixtures("patient_time")
async def test_a_stream_that_stalls_is_a_timeout(gateway_to: GatewayTo) -> None:
    """No byte for the stall limit ends it, and says how far it came."""

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        await wire.request()

    async with WireServer(play) as server:
        gateway = gateway_to(server.url)
        with pytest.raises(SourceTimeout) as raised:
            await read_whole(gateway, stall_seconds=0.1)

    assert raised.value.detail == "no byte for 0.1 s after 5 bytes of the answer"
    assert gateway.counts()[SNAPSHOT, "timeout"] == 1


async def test_a_stream_that_never_begins_is_a_timeout(gateway_to: GatewayTo) -> None:
    """The stall limit rules before the first byte too."""
    async with WireServer(silent) as server:
        with pytest.raises(SourceTimeout):
            async with gateway_to(server.url).stream(PATH, endpoint=SNAPSHOT, stall_seconds=0.1):
                pass


async def test_a_stream_cut_short_is_unreachable(gateway_to: GatewayTo) -> None:
    """Fewer bytes than announced are never a whole snapshot."""
    data = reply(200, b"0123456789")[:-4]
    async with WireServer(answering_once(data)) as server:
        gateway = gateway_to(server.url)
        with pytest.raises(SourceUnreachable):
            await read_whole(gateway, stall_seconds=1.0)

    assert gateway.counts()[SNAPSHOT, "unreachable"] == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"Invalid API key or JWT", SourceAuth),
        (404, b"Not found: Snapshot s.snapshot not found", SourceRefused),
        (416, b"", SourceRefused),
        (302, b"", SourceRefused),
    ],
)
async def test_a_refused_stream_raises_at_opening(
    gateway_to: GatewayTo, status: int, body: bytes, kind: type[Exception]
) -> None:
    """Statuses mean the same as for whole answers."""
    async with WireServer(answering(reply(status, body, content_type="text/plain"))) as server:
        with pytest.raises(kind):
            async with gateway_to(server.url).stream(PATH, endpoint=SNAPSHOT, stall_seconds=1.0):
                pass


async def test_leaving_a_stream_early_closes_its_connection(gateway_to: GatewayTo) -> None:
    """What is left of a body never runs into the next answer; an error of the reader stays its own."""

    async def play(wire: Wire) -> None:
        while await wire.request():
            await wire.send(reply(200, b"x" * 5_000_000))

    async def read_and_fail() -> None:
        async with gateway.stream(PATH, endpoint=SNAPSHOT, stall_seconds=1.0) as download:
            await anext(download)
            raise ZeroDivisionError

    async with WireServer(play) as server:
        gateway = gateway_to(server.url)
        with pytest.raises(ZeroDivisionError):
            await read_and_fail()
        async with gateway.stream(PATH, endpoint=SNAPSHOT, stall_seconds=1.0):
            pass

    assert server.connections == 2
    assert gateway.counts()[SNAPSHOT, "ok"] == 2


async def test_a_cancelled_stream_passes_the_cancellation_on(gateway_to: GatewayTo) -> None:
    """A job that is stopped stops, and its connection with it."""

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        await wire.request()

    async with WireServer(play) as server:
        gateway = gateway_to(server.url)
        reading = asyncio.create_task(read_whole(gateway, stall_seconds=5.0))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
