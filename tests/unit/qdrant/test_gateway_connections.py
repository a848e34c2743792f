"""Connections kept, broken and queued for, and what the gateway counts of them."""

from __future__ import annotations

import asyncio
import os

import pytest

from exporter.errors import SourceError, SourceTimeout, SourceUnreachable
from exporter.model import FaultKind
from exporter.qdrant import connection
from exporter.qdrant.gateway import CALLS_AT_ONCE, quote_segment
from tests.kit.gateways import GatewayTo, ask
from tests.kit.servers import (
    Wire,
    WireServer,
    answering,
    answering_late,
    breaking_at_second_request,
    closing_when_idle,
    reply,
    silent,
)

GOOD = reply(200, b"{}")
MEMORY = "/collections/{collection}/memory"


async def test_calls_in_a_row_share_one_connection(gateway_to: GatewayTo) -> None:
    """A cycle of many calls costs one handshake."""
    async with WireServer(answering(GOOD)) as server:
        gateway = gateway_to(server.url)
        for _ in range(5):
            await ask(gateway)

    assert server.connections == 1


async def test_an_error_answer_keeps_its_connection(gateway_to: GatewayTo) -> None:
    """A refusal is read to its end, so that the next call need not connect again."""
    async with WireServer(answering(reply(500, b"why"), GOOD)) as server:
        gateway = gateway_to(server.url)
        with pytest.raises(SourceError):
            await ask(gateway)
        await ask(gateway)

    assert server.connections == 1


@pytest.mark.usefixtures("patient_time")
async def test_polls_slower_than_the_servers_idle_limit_never_fail(gateway_to: GatewayTo) -> None:
    """The server closes what is idle; each poll after that connects anew and nobody notices."""
    async with WireServer(closing_when_idle(GOOD, after_seconds=0.05)) as server:
        gateway = gateway_to(server.url)
        for _ in range(4):
            await ask(gateway)
            await asyncio.sleep(0.12)

    assert server.connections == 4
    assert gateway.counts()["/cluster", "ok"] == 4


async def test_polls_at_the_very_moment_of_the_servers_idle_limit_never_fail(
    gateway_to: GatewayTo,
) -> None:
    """Calls that meet the closing connection half-way are the reason for the second try."""
    async with WireServer(closing_when_idle(GOOD, after_seconds=0.01)) as server:
        gateway = gateway_to(server.url)
        for step in range(60):
            await ask(gateway)
            await asyncio.sleep(0.008 + 0.0001 * step)

    assert gateway.counts()["/cluster", "ok"] == 60


async def test_a_connection_idle_for_longer_than_ours_is_not_used_again(
    gateway_to: GatewayTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We drop it before the server does: it may be closing it as we write."""
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 0.1)
    async with WireServer(answering(GOOD)) as server:
        gateway = gateway_to(server.url)
        await ask(gateway)
        await asyncio.sleep(0.15)
        await ask(gateway)

    assert server.connections == 2


def test_our_idle_limit_leaves_two_seconds_to_the_servers() -> None:
    """Qdrant closes after 5 s; a request must be there before that."""
    assert connection.KEEPALIVE_SECONDS + 2 <= 5


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_connection_that_breaks_is_replaced_by_a_fresh_one(
    gateway_to: GatewayTo, reset: bool
) -> None:
    """The request goes out once more, and the caller sees one good answer."""
    async with WireServer(breaking_at_second_request(GOOD, reset=reset)) as server:
        gateway = gateway_to(server.url)
        await ask(gateway)
        await ask(gateway)

    assert server.connections == 2
    assert gateway.counts()["/cluster", "ok"] == 2


async def test_the_second_try_never_takes_another_kept_connection(gateway_to: GatewayTo) -> None:
    """When all kept connections die at once, one fresh one serves: not one dead after the other."""
    async with WireServer(breaking_at_second_request(GOOD, connections=3)) as server:
        gateway = gateway_to(server.url)
        await asyncio.gather(*(ask(gateway) for _ in range(3)))
        assert server.connections == 3
        await ask(gateway)

    assert server.connections == 4


@pytest.mark.parametrize("half", [b"HTTP/1.1 200 OK\r\nConte", b"H"])
async def test_half_an_answer_is_not_asked_for_again(gateway_to: GatewayTo, half: bytes) -> None:
    """A peer that dies while answering is unreachable: a second try would hide it."""
    async with WireServer(breaking_at_second_request(GOOD, half=half)) as server:
        gateway = gateway_to(server.url)
        await ask(gateway)
        with pytest.raises(SourceUnreachable):
            await ask(gateway)

    assert server.connections == 1


async def test_a_fresh_connection_that_breaks_is_not_tried_again(gateway_to: GatewayTo) -> None:
    """A peer that drops every connection costs one a call."""

    async def hanging_up(wire: Wire) -> None:
        await wire.request()

    async with WireServer(hanging_up) as server:
        with pytest.raises(SourceUnreachable):
            await ask(gateway_to(server.url))

    assert server.connections == 1


@pytest.mark.usefixtures("patient_time")
async def test_a_timeout_on_a_kept_connection_is_not_tried_again(gateway_to: GatewayTo) -> None:
    """What was slow once may hold a lock on the server: asking twice would hold it twice."""

    async def falling_silent(wire: Wire) -> None:
        await wire.request()
        await wire.send(GOOD)
        await silent(wire)

    async with WireServer(falling_silent) as server:
        gateway = gateway_to(server.url)
        await ask(gateway)
        with pytest.raises(SourceTimeout):
            await ask(gateway, deadline_seconds=0.1)

    assert (server.connections, len(server.requests)) == (1, 2)


@pytest.mark.usefixtures("patient_time")
async def test_telemetry_and_metrics_are_never_asked_at_once(gateway_to: GatewayTo) -> None:
    """The server holds one lock over both: a second call would wait inside it."""
    under_way = most_under_way = 0

    async def play(wire: Wire) -> None:
        nonlocal under_way, most_under_way
        while await wire.request():
            under_way += 1
            most_under_way = max(most_under_way, under_way)
            await asyncio.sleep(0.1)
            under_way -= 1
            await wire.send(GOOD)

    async with WireServer(play) as server:
        gateway = gateway_to(server.url)
        paths = ["/telemetry?details_level=3", "/telemetry?details_level=4", "/metrics", "/telemetry"]
        answers = await asyncio.gather(*(ask(gateway, path) for path in paths))

    assert most_under_way == 1
    assert len(answers) == 4
    # the wait in line is ours, not the server's: it is not in the time that a call took
    assert [answer.took_seconds for answer in answers] == pytest.approx([0.1] * 4)


@pytest.mark.usefixtures("patient_time")
async def test_a_call_waits_in_line_for_one_deadline_at_most(gateway_to: GatewayTo) -> None:
    """Behind a call that hangs, the next gives up by itself and says that it sent nothing."""
    async with WireServer(silent) as server:
        gateway = gateway_to(server.url)
        first = asyncio.create_task(ask(gateway, "/telemetry", deadline_seconds=0.4))
        await asyncio.sleep(0.02)
        with pytest.raises(SourceTimeout) as waited:
            await ask(gateway, "/metrics", deadline_seconds=0.1)
        with pytest.raises(SourceTimeout):
            await first

    assert "in line" in waited.value.detail
    assert len(server.requests) == 1
    assert ("/metrics", "timeout") not in gateway.counts()


@pytest.mark.usefixtures("patient_time")
async def test_a_cancelled_call_leaves_the_line(gateway_to: GatewayTo) -> None:
    """Cancellation passes through, and the next call gets its turn."""

    async def play(wire: Wire) -> None:
        await (silent if wire.number == 1 else answering(GOOD))(wire)

    async with WireServer(play) as server:
        gateway = gateway_to(server.url)
        call = asyncio.create_task(ask(gateway, "/telemetry"))
        while not server.requests:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        answer = await ask(gateway, "/telemetry", deadline_seconds=0.5)

    assert answer.status == 200
    counts = gateway.counts()
    assert sum(counts["/telemetry", outcome] for outcome in ("ok", *FaultKind)) == 1


@pytest.mark.usefixtures("patient_time")
async def test_calls_that_hang_leave_room_for_the_other_endpoints(gateway_to: GatewayTo) -> None:
    """What waits for a frozen other peer takes its endpoint's places only."""

    async def play(wire: Wire) -> None:
        while head := await wire.request():
            if b"memory" in head:
                await silent(wire)
            await wire.send(GOOD)

    async with WireServer(play) as server:
        gateway = gateway_to(server.url)
        hanging = [
            asyncio.create_task(
                ask(gateway, f"/collections/c{number}/memory", endpoint=MEMORY, deadline_seconds=0.5)
            )
            for number in range(3 * CALLS_AT_ONCE)
        ]
        await asyncio.sleep(0.05)
        waiting_at_server = len(server.requests)
        for path in ("/telemetry", "/healthz", "/cluster"):
            await ask(gateway, path, deadline_seconds=0.3)
        outcomes = await asyncio.gather(*hanging, return_exceptions=True)

    assert waiting_at_server == CALLS_AT_ONCE
    assert all(isinstance(outcome, SourceError) for outcome in outcomes)


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("docs", "docs"),
        ("a b", "a%20b"),
        ("new\nline", "new%0Aline"),
        ("%41", "%2541"),
        ("emoji🙂", "emoji%F0%9F%99%82"),
        ("данные", "%D0%B4%D0%B0%D0%BD%D0%BD%D1%8B%D0%B5"),
        ("a/b?c#d&e=f+g;h:i@j", "a%2Fb%3Fc%23d%26e%3Df%2Bg%3Bh%3Ai%40j"),
        ('"\\', "%22%5C"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("x" * 255, "x" * 255),
        ("🙂" * 255, "%F0%9F%99%82" * 255),
    ],
)
async def test_a_collection_name_reaches_the_server_whole(
    gateway_to: GatewayTo, name: str, segment: str
) -> None:
    """Encoded once, and not touched on the way: this is the request line as the socket saw it."""
    async with WireServer(answering(GOOD)) as server:
        path = f"/collections/{quote_segment(name)}/memory"
        await ask(gateway_to(server.url), path, endpoint=MEMORY)

    assert server.request_lines == [f"GET /collections/{segment}/memory HTTP/1.1"]


@pytest.mark.parametrize("path", ["cluster", "/a b", "/a\nb", "/é", "/a#b", ""])
async def test_a_path_that_is_not_encoded_is_a_mistake_of_ours(gateway_to: GatewayTo, path: str) -> None:
    """It is refused before anything is sent: a newline would be a second request."""
    async with WireServer(answering(GOOD)) as server:
        with pytest.raises(ValueError, match="percent-encoded"):
            await ask(gateway_to(server.url), path)

    assert server.requests == []


async def test_every_call_is_counted_by_endpoint_and_outcome(gateway_to: GatewayTo) -> None:
    """All outcomes of an endpoint stand at 0 from its first call on; names never appear."""
    async with WireServer(answering(GOOD, GOOD, reply(401, b"no"), reply(500, b"no"))) as server:
        gateway = gateway_to(server.url)
        assert dict(gateway.counts()) == {}
        await ask(gateway, "/healthz")
        await ask(gateway, "/collections/secret-project/memory", endpoint=MEMORY)
        for _ in range(2):
            with pytest.raises(SourceError):
                await ask(gateway, "/collections/secret-project/memory", endpoint=MEMORY)
        counts = gateway.counts()

    expected = dict.fromkeys(("ok", *map(str, FaultKind)), 0) | {"ok": 1, "auth": 1, "refused": 1}
    assert {
        outcome: counts[endpoint, outcome] for endpoint, outcome in counts if endpoint == MEMORY
    } == expected
    assert counts["/healthz", "ok"] == 1
    spent = gateway.spent()
    assert spent["/healthz"].received_bytes == 2
    assert spent[MEMORY].received_bytes == 2 + 2 + 2
    assert spent[MEMORY].seconds > 0


async def test_the_counts_handed_out_do_not_change(gateway_to: GatewayTo) -> None:
    """A snapshot that a renderer holds stays what it was."""
    async with WireServer(answering(GOOD)) as server:
        gateway = gateway_to(server.url)
        await ask(gateway)
        before = gateway.counts()
        await ask(gateway)

    assert (before["/cluster", "ok"], gateway.counts()["/cluster", "ok"]) == (1, 2)
    with pytest.raises(TypeError):
        before["/cluster", "ok"] = 7  # type: ignore[index]


async def test_a_gateway_closed_under_a_call_ends_it_as_unreachable(gateway_to: GatewayTo) -> None:
    """A reload closes gateways: their calls end as faults, not as a cancellation nobody asked for."""
    async with WireServer(silent) as server:
        gateway = gateway_to(server.url)
        call = asyncio.create_task(ask(gateway))
        while not server.requests:
            await asyncio.sleep(0.01)
        await gateway.close()
        with pytest.raises(SourceUnreachable):
            await call
        with pytest.raises(SourceUnreachable):
            await ask(gateway)


async def test_closing_twice_or_unused_is_harmless(gateway_to: GatewayTo) -> None:
    """A gateway that never connected has nothing to close."""
    gateway = gateway_to("http://127.0.0.1:9")
    await gateway.close()
    await gateway.close()


async def test_many_failing_calls_leave_no_socket_behind(gateway_to: GatewayTo) -> None:
    """Timeouts, cuts and refusals close what they opened."""

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")

    async with WireServer(play) as server:
        gateway = gateway_to(server.url)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(200):
            with pytest.raises(SourceError):
                await ask(gateway, "/x", endpoint=f"/{number}")  # an endpoint each: no breaker between
        await asyncio.sleep(0.05)
        after = len(os.listdir("/proc/self/fd"))

    assert after - before <= 5


@pytest.mark.usefixtures("patient_time")
async def test_calls_answered_late_do_not_delay_each_other(gateway_to: GatewayTo) -> None:
    """Different endpoints run side by side on connections of their own."""
    async with WireServer(answering_late(GOOD, after_seconds=0.2)) as server:
        gateway = gateway_to(server.url)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(ask(gateway, path) for path in ("/healthz", "/cluster", "/telemetry", "/issues"))
        )
        took = asyncio.get_running_loop().time() - began

    assert took == pytest.approx(0.2)
