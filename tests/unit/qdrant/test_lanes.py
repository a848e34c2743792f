"""Timed requests over warm connections, each from a real listening socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from exporter.clock import Clock
from exporter.errors import (
    BadPayload,
    SourceAuth,
    SourceError,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    SourceUnsupported,
)
from exporter.model import FaultKind
from exporter.observe.probes.reasons import Failure, Skip, reason_of
from exporter.qdrant.connection import KEEPALIVE_SECONDS, Request
from exporter.qdrant.door import Door
from exporter.qdrant.lanes import Lanes, Timed
from tests.kit.clock import ManualClock
from tests.kit.patience import LoopClock
from tests.kit.recordings import recording
from tests.kit.servers import Play, Wire, WireServer, answering, reply, silent

GOOD = reply(200, b'{"result":{}}')
SEARCH = Request("/collections/docs/points/query?timeout=5")
ENDPOINT = "/collections/{collection}/points/query"
ROOT = "GET / HTTP/1.1"
ASKED = f"GET {SEARCH.path} HTTP/1.1"

LanesTo = Callable[..., Lanes]


@pytest_asyncio.fixture
async def lanes_to() -> AsyncIterator[LanesTo]:
    """Return a function that makes lanes to a url; further arguments are the door's."""
    made: list[Lanes] = []

    def make(url: str, *, clock: Clock | None = None, **door: Any) -> Lanes:
        lanes = Lanes(door=Door(url, **door), clock=clock or LoopClock())
        made.append(lanes)
        return lanes

    yield make
    for lanes in made:
        await lanes.close()


async def call(lanes: Lanes, request: Request = SEARCH, *, deadline_seconds: float = 10.0) -> Timed:
    """Send a search, or another request."""
    return await lanes.call(request, endpoint=ENDPOINT, deadline_seconds=deadline_seconds)


def after_the_root(play: Callable[[Wire, bytes], Awaitable[bool]]) -> Play:
    """Answer GET /, and let `play` answer everything else; it returns whether to go on."""

    async def played(wire: Wire) -> None:
        while head := await wire.request():
            if head.startswith(b"GET / "):
                await wire.send(GOOD)
            elif not await play(wire, head):
                return

    return played


def sending(data: bytes, *, end: bool = True) -> Play:
    """Answer GET / well and every other request with these bytes; then close, if so wanted."""

    async def play(wire: Wire, _: bytes) -> bool:
        await wire.send(data)
        return not end

    return after_the_root(play)


async def test_a_request_finds_its_connection_open(lanes_to: LanesTo) -> None:
    """GET / goes ahead on it: it asks nothing of the server, and the handshake is over."""
    async with WireServer(answering(GOOD)) as server:
        timed = await call(lanes_to(server.url))

    assert (timed.endpoint, timed.body, timed.failure) == (ENDPOINT, b'{"result":{}}', None)
    assert server.request_lines == [ROOT, ASKED]
    assert server.connections == 1


async def test_neither_the_handshake_nor_the_warm_up_is_in_the_time(lanes_to: LanesTo) -> None:
    """Only the request itself, to its last byte: here a quarter second and another one for the body."""
    clock = ManualClock()

    async def play(wire: Wire) -> None:
        clock.advance(7.0)  # the connection
        while head := await wire.request():
            clock.advance(5.0 if head.startswith(b"GET / ") else 0.25)
            await wire.send(GOOD[:-1])
            if not head.startswith(b"GET / "):
                clock.advance(0.25)
            await wire.send(GOOD[-1:])

    async with WireServer(play) as server:
        timed = await call(lanes_to(server.url, clock=clock))

    assert timed.took_seconds == 0.5


async def test_a_lane_that_is_busy_is_not_warmed_again(lanes_to: LanesTo) -> None:
    """While its connection surely lives."""
    clock = ManualClock()
    async with WireServer(answering(GOOD)) as server:
        lanes = lanes_to(server.url, clock=clock)
        for _ in range(4):
            await call(lanes)
            clock.advance(KEEPALIVE_SECONDS / 2)

    assert server.request_lines == [ROOT, ASKED, ASKED, ASKED, ASKED]
    assert server.connections == 1


async def test_an_idle_lane_is_warmed_first(lanes_to: LanesTo) -> None:
    """Its connection may be closed by now, and opening one must not count."""
    clock = ManualClock()
    async with WireServer(answering(GOOD)) as server:
        lanes = lanes_to(server.url, clock=clock)
        await call(lanes)
        clock.advance(KEEPALIVE_SECONDS / 2 + 0.001)
        await call(lanes)

    assert server.request_lines == [ROOT, ASKED, ROOT, ASKED]


@pytest.mark.usefixtures("patient_time")
async def test_a_lane_is_warmed_after_a_failure(lanes_to: LanesTo) -> None:
    """A timeout closed its connection: the next search must not pay for a new one."""
    clock = ManualClock()

    async def play(wire: Wire, _: bytes) -> bool:
        if wire.number == 1:
            await silent(wire)
        await wire.send(GOOD)
        return True

    async with WireServer(after_the_root(play)) as server:
        lanes = lanes_to(server.url, clock=clock)
        failed = await call(lanes, deadline_seconds=0.1)
        timed = await call(lanes)

    assert isinstance(failed.failure, SourceTimeout)
    assert timed.failure is None
    assert server.request_lines == [ROOT, ASKED, ROOT, ASKED]
    assert server.connections == 2


async def test_requests_at_once_get_a_lane_each_and_lanes_are_used_again(lanes_to: LanesTo) -> None:
    """None waits for another, and no more connections are opened than were ever needed at once."""
    waiting = 0
    together = asyncio.Event()

    async def play(wire: Wire, _: bytes) -> bool:
        nonlocal waiting
        waiting += 1
        if waiting == 5:
            together.set()
        await together.wait()
        await wire.send(GOOD)
        return True

    async with WireServer(after_the_root(play)) as server:
        lanes = lanes_to(server.url)
        at_once = await asyncio.gather(*(call(lanes) for _ in range(5)))
        after = [await call(lanes) for _ in range(5)]

    assert [timed.failure for timed in (*at_once, *after)] == [None] * 10
    assert server.connections == 5


@pytest.mark.usefixtures("patient_time")
async def test_a_search_that_hangs_delays_no_other(lanes_to: LanesTo) -> None:
    """Every probe is measured by itself, also beside one that the server never answers."""

    async def play(wire: Wire, head: bytes) -> bool:
        if b"/frozen/" in head:
            await silent(wire)
        await wire.send(GOOD)
        return True

    async with WireServer(after_the_root(play)) as server:
        lanes = lanes_to(server.url)
        frozen = Request("/collections/frozen/points/query")
        hanging = [asyncio.create_task(call(lanes, frozen, deadline_seconds=1.0)) for _ in range(3)]
        while len(server.requests) < 6:
            await asyncio.sleep(0.01)
        others = [await call(lanes) for _ in range(10)]
        still_hanging = not any(task.done() for task in hanging)
        hung = await asyncio.gather(*hanging)

    assert still_hanging
    assert [timed.failure for timed in others] == [None] * 10
    assert max(timed.took_seconds for timed in others) < 0.5
    assert [type(timed.failure) for timed in hung] == [SourceTimeout] * 3


@pytest.mark.parametrize("half", [b"", b"HTTP/1.1 200 OK\r\nContent-", GOOD[:-5]])
@pytest.mark.usefixtures("patient_time")
async def test_a_deadline_is_a_timeout_that_took_the_deadline(lanes_to: LanesTo, half: bytes) -> None:
    """However much of the answer had come: that is how long a user would have waited."""

    async def play(wire: Wire, _: bytes) -> bool:
        await wire.send(half)
        await silent(wire)
        return False

    async with WireServer(after_the_root(play)) as server:
        timed = await call(lanes_to(server.url), deadline_seconds=0.2)

    assert isinstance(timed.failure, SourceTimeout)
    assert timed.took_seconds == pytest.approx(0.2)
    assert timed.body == b""


@pytest.mark.usefixtures("patient_time")
async def test_a_warm_up_that_fails_is_the_failure_of_the_search(lanes_to: LanesTo) -> None:
    """A peer that does not even answer GET / is down, and the search is not sent after it."""
    async with WireServer(silent) as server:
        timed = await call(lanes_to(server.url), deadline_seconds=0.1)

    assert isinstance(timed.failure, SourceTimeout)
    assert timed.endpoint == "/"
    assert server.request_lines == [ROOT]


async def test_a_peer_that_breaks_off_at_the_warm_up_is_unreachable(lanes_to: LanesTo) -> None:
    """It has no connection to offer, and the search is not sent after it."""

    async def play(wire: Wire) -> None:
        await wire.request()

    async with WireServer(play) as server:
        timed = await call(lanes_to(server.url))

    assert isinstance(timed.failure, SourceUnreachable)
    assert timed.endpoint == "/"
    assert server.request_lines == [ROOT]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply(401, b"Must provide an API key"), "auth"),
        (reply(403, b'{"status":{"error":"Forbidden"}}'), "auth"),
        (reply(404), "unsupported"),
        (reply(404, b'{"status":{"error":"Not found"}}'), "refused"),
        (reply(429, b"slow down", "Retry-After: 12"), "refused"),
        (reply(302, b"", "Location: http://elsewhere.test/"), "refused"),
        (reply(502, b"<html>Bad gateway</html>", content_type="text/html"), "refused"),
        (reply(200, b"<html>Welcome</html>", content_type="text/html"), "bad_payload"),
        (reply(204), "bad_payload"),
    ],
)
async def test_a_peer_that_refuses_the_root_is_warm_all_the_same(
    lanes_to: LanesTo, answer: bytes, outcome: str
) -> None:
    """A proxy may let nothing but collections through: what it answers, it answers on an open connection."""

    async def play(wire: Wire) -> None:
        while head := await wire.request():
            await wire.send(answer if head.startswith(b"GET / ") else GOOD)

    clock = ManualClock()
    async with WireServer(play) as server:
        lanes = lanes_to(server.url, clock=clock)
        timed = [await call(lanes) for _ in range(2)]
        clock.advance(KEEPALIVE_SECONDS / 2 + 0.001)
        timed.append(await call(lanes))

    assert [(one.endpoint, one.body, one.failure) for one in timed] == [
        (ENDPOINT, b'{"result":{}}', None)
    ] * 3
    assert server.request_lines == [ROOT, ASKED, ASKED, ROOT, ASKED]
    assert server.connections == 1
    assert (lanes.counts()["/", outcome], lanes.counts()[ENDPOINT, "ok"]) == (2, 3)


async def test_where_nothing_listens_a_search_is_unreachable(lanes_to: LanesTo) -> None:
    """And at once."""
    timed = await call(lanes_to("http://127.0.0.1:9"))

    assert isinstance(timed.failure, SourceUnreachable)
    assert reason_of(timed.failure) is Failure.UNREACHABLE
    assert timed.took_seconds < 5.0


async def test_the_request_says_who_asks_and_declines_compression(lanes_to: LanesTo) -> None:
    """As the gateway's: unpacking would be in the time, and a compressed answer hides its length."""
    async with WireServer(answering(GOOD)) as server:
        await call(lanes_to(server.url, api_key="k3y"))

    for head in server.requests:
        lines = head.decode().splitlines()
        assert {"Accept-Encoding: identity", "api-key: k3y", "User-Agent: qdrant-exporter"} <= set(lines)


async def test_a_body_arrives_as_it_was_written(lanes_to: LanesTo) -> None:
    """POST, as JSON, byte for byte."""
    seen: list[tuple[str, str, bytes]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.content_type, await request.read()))
        return web.json_response({"result": {}})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    body = b'{"query": [0.1, 1e-7],\n "limit":10}'
    lanes = lanes_to(f"http://127.0.0.1:{runner.addresses[0][1]}")
    timed = await call(lanes, Request(SEARCH.path, "POST", body))
    await lanes.close()
    await runner.cleanup()

    assert timed.failure is None
    assert seen[0][0] == "GET"
    assert seen[1] == ("POST", "application/json", body)


HTML = b"<!DOCTYPE html><html><body>Bad gateway</body></html>"
STRICT = b'{"status":{"error":"Bad request: Exact search disabled!. Help: Set exact=false."}}'


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (reply(400, b'{"status":{"error":"Wrong input: expected dim: 128"}}'), SourceRefused, Skip.REFUSED),
        (reply(400, STRICT), SourceRefused, Skip.UNSUPPORTED),
        (reply(403, STRICT), SourceAuth, Skip.UNSUPPORTED),  # so said 1.12
        (reply(401, b"Must provide an API key"), SourceAuth, Failure.AUTH),
        (reply(403, b'{"status":{"error":"Forbidden"}}'), SourceAuth, Failure.AUTH),
        (reply(404, b'{"status":{"error":"Not found"}}'), SourceRefused, Failure.NOT_FOUND),
        (
            reply(404, b'{"status":{"error":"Not found: No point with id 7 found"}}'),
            SourceRefused,
            Skip.REFUSED,
        ),
        (reply(404), SourceUnsupported, Failure.NOT_FOUND),
        (reply(405), SourceUnsupported, Failure.NOT_FOUND),
        (reply(408, b'{"status":{"error":"Timeout"}}'), SourceRefused, Failure.TIMEOUT),
        (reply(422, b"odd"), SourceRefused, Skip.REFUSED),
        (reply(429, b"slow down", "Retry-After: 12"), SourceRefused, Failure.RATE_LIMITED),
        (reply(500, b'{"status":{"error":"Service internal error"}}'), SourceRefused, Failure.SERVER_ERROR),
        (reply(502, HTML, content_type="text/html"), SourceRefused, Failure.SERVER_ERROR),
        (reply(503), SourceRefused, Failure.SERVER_ERROR),
        (reply(302, b"", "Location: http://elsewhere.test/"), SourceRefused, Failure.BAD_ANSWER),
        (reply(204), BadPayload, Failure.BAD_ANSWER),
        (reply(200, HTML, content_type="text/html"), BadPayload, Failure.BAD_ANSWER),
        (reply(200, HTML), BadPayload, Failure.BAD_ANSWER),
        (b"garbage\r\n\r\n", BadPayload, Failure.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", SourceUnreachable, Failure.UNREACHABLE),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\r\n",
            SourceUnreachable,
            Failure.UNREACHABLE,
        ),
        (b"HTTP/1.1 200 OK\r\nConte", SourceUnreachable, Failure.UNREACHABLE),
    ],
)
async def test_what_goes_wrong_is_told_by_its_kind_and_reason(
    lanes_to: LanesTo, answer: bytes, kind: type[SourceError], reason: Failure | Skip
) -> None:
    """As a user of Qdrant would have met it; and how long it took is told all the same."""
    async with WireServer(sending(answer)) as server:
        timed = await call(lanes_to(server.url))

    assert type(timed.failure) is kind
    assert reason_of(timed.failure) is reason
    assert 0 < timed.took_seconds < 10
    assert timed.body == b""
    assert server.request_lines == [ROOT, ASKED]


async def test_a_server_that_asks_for_rest_says_for_how_long(lanes_to: LanesTo) -> None:
    """Since 1.13.3 with a header."""
    answer = reply(429, b"slow down", "Retry-After: 12")
    async with WireServer(sending(answer)) as server:
        timed = await call(lanes_to(server.url))

    assert isinstance(timed.failure, SourceRefused)
    assert timed.failure.retry_after_seconds == 12.0


@pytest.mark.parametrize("version", ["v1.12.6", "v1.16.3", "v1.18.3"])
@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ("strict_exact_400", Skip.UNSUPPORTED),
        ("strict_limit_400", Skip.UNSUPPORTED),
        ("strict_timeout_400", Skip.UNSUPPORTED),
        ("strict_rate_429", Failure.RATE_LIMITED),
        ("wrong_dim_400", Skip.REFUSED),
        ("named_no_using_400", Skip.REFUSED),
        ("timeout_0_422", Skip.REFUSED),
        ("by_id_missing_404", Skip.REFUSED),
        ("query_404", Failure.NOT_FOUND),
        ("no_route_404", Failure.NOT_FOUND),
        ("method_405", Failure.NOT_FOUND),
    ],
)
async def test_recorded_refusals_are_told_by_their_reason(
    lanes_to: LanesTo, version: str, answered: str, reason: Failure | Skip
) -> None:
    """The words of strict mode changed over the versions, and its status too."""
    seen = recording(f"{version}/single/query/{answered}")
    async with WireServer(sending(reply(seen.status, seen.body))) as server:
        timed = await call(lanes_to(server.url))

    assert timed.failure is not None
    assert reason_of(timed.failure) is reason


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_the_server_closed_between_two_requests_costs_no_failure(
    lanes_to: LanesTo, reset: bool
) -> None:
    """The search goes out once more on a fresh one, which ends with it: the lane is warmed again."""
    clock = ManualClock()

    async def play(wire: Wire) -> None:
        answered = 0
        while await wire.request():
            if wire.number == 1 and answered == 2:  # GET / and the first search
                if reset:
                    wire.reset()
                return
            await wire.send(GOOD)
            answered += 1

    async with WireServer(play) as server:
        lanes = lanes_to(server.url, clock=clock)
        timed = [await call(lanes) for _ in range(3)]

    assert [one.failure for one in timed] == [None] * 3
    assert server.request_lines == [ROOT, ASKED, ASKED, ASKED, ROOT, ASKED]
    assert server.connections == 3
    assert lanes.counts()[ENDPOINT, "ok"] == 3


async def test_a_warm_up_that_found_its_connection_closed_leaves_an_open_one(lanes_to: LanesTo) -> None:
    """The search that follows would have a handshake in its time."""
    clock = ManualClock()
    came: list[tuple[int, bool]] = []  # on which connection, and whether it was GET /

    async def play(wire: Wire) -> None:
        answered = 0
        while head := await wire.request():
            came.append((wire.number, head.startswith(b"GET / ")))
            if wire.number == 1 and answered == 2:  # GET / and the first search
                return
            await wire.send(GOOD)
            answered += 1

    async with WireServer(play) as server:
        lanes = lanes_to(server.url, clock=clock)
        await call(lanes)
        clock.advance(KEEPALIVE_SECONDS / 2 + 0.001)
        timed = await call(lanes)

    assert timed.failure is None
    assert came[:4] == [(1, True), (1, False), (1, True), (2, True)]
    searched_on, warm_up = came[-1]
    assert not warm_up
    assert (searched_on, True) in came


async def test_half_an_answer_is_not_asked_for_again(lanes_to: LanesTo) -> None:
    """A peer that dies while it answers failed its user."""
    async with WireServer(sending(GOOD[:20])) as server:
        timed = await call(lanes_to(server.url))

    assert isinstance(timed.failure, SourceUnreachable)
    assert server.request_lines == [ROOT, ASKED]


async def test_nothing_is_held_back_from_a_peer_that_failed(lanes_to: LanesTo) -> None:
    """A breaker would hide the very failures that are to be measured."""
    async with WireServer(sending(reply(500, b"broken"), end=False)) as server:
        lanes = lanes_to(server.url)
        timed = [await call(lanes) for _ in range(10)]

    assert [type(one.failure) for one in timed] == [SourceRefused] * 10
    assert server.request_lines.count(ASKED) == 10


async def test_requests_are_counted_by_endpoint_and_outcome(lanes_to: LanesTo) -> None:
    """All outcomes stand at 0 from the first on; the warm-up is a request too."""
    clock = ManualClock()
    async with WireServer(answering(GOOD, GOOD, GOOD, reply(500, b"no"))) as server:
        lanes = lanes_to(server.url, clock=clock)
        before = dict(lanes.counts())
        for _ in range(3):
            await call(lanes)
        counts = lanes.counts()

    outcomes = dict.fromkeys(("ok", *map(str, FaultKind)), 0)
    expected = {("/", outcome): count for outcome, count in (outcomes | {"ok": 1}).items()}
    expected |= {(ENDPOINT, outcome): n for outcome, n in (outcomes | {"ok": 2, "refused": 1}).items()}
    assert before == {}
    assert counts == expected


@pytest.mark.usefixtures("patient_time")
async def test_closing_ends_the_searches_under_way_as_unreachable(lanes_to: LanesTo) -> None:
    """A reload closes lanes: that is no timeout, and no cancellation nobody asked for."""
    async with WireServer(sending(b"", end=False)) as server:
        lanes = lanes_to(server.url)
        calls = [asyncio.create_task(call(lanes)) for _ in range(3)]
        while server.request_lines.count(ASKED) < 3:
            await asyncio.sleep(0.01)
        await lanes.close()
        ended = await asyncio.wait_for(asyncio.gather(*calls), 1.0)

    assert [type(timed.failure) for timed in ended] == [SourceUnreachable] * 3


async def test_after_closing_nothing_is_sent(lanes_to: LanesTo) -> None:
    """A probe that was due in that moment ends as unreachable."""
    async with WireServer(answering(GOOD)) as server:
        lanes = lanes_to(server.url)
        await call(lanes)
        await lanes.close()
        await lanes.close()
        timed = await call(lanes)

    assert isinstance(timed.failure, SourceUnreachable)
    assert server.request_lines == [ROOT, ASKED]


async def test_lanes_that_were_closed_unused_do_not_connect(lanes_to: LanesTo) -> None:
    """Nobody would close that connection any more."""
    async with WireServer(answering(GOOD)) as server:
        lanes = lanes_to(server.url)
        await lanes.close()
        timed = await call(lanes)

    assert isinstance(timed.failure, SourceUnreachable)
    assert server.connections == 0


async def test_a_cancelled_search_leaves_its_lane_to_the_next(lanes_to: LanesTo) -> None:
    """Cancellation passes through, and the next one is warmed: its connection went with the search."""

    async def play(wire: Wire, _: bytes) -> bool:
        if wire.number == 1:
            await silent(wire)
        await wire.send(GOOD)
        return True

    async with WireServer(after_the_root(play)) as server:
        lanes = lanes_to(server.url)
        search = asyncio.create_task(call(lanes))
        while ASKED not in server.request_lines:
            await asyncio.sleep(0.01)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        timed = await call(lanes)

    assert timed.failure is None
    assert server.request_lines == [ROOT, ASKED, ROOT, ASKED]
    assert server.connections == 2


async def test_after_a_cancelled_warm_up_the_next_search_is_warmed_too(lanes_to: LanesTo) -> None:
    """Its lane was never open."""

    async def play(wire: Wire) -> None:
        if wire.number == 1:
            await silent(wire)
        while await wire.request():
            await wire.send(GOOD)

    async with WireServer(play) as server:
        lanes = lanes_to(server.url)
        search = asyncio.create_task(call(lanes))
        while ROOT not in server.request_lines:
            await asyncio.sleep(0.01)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        timed = await call(lanes)

    assert timed.failure is None
    assert server.request_lines == [ROOT, ROOT, ASKED]
