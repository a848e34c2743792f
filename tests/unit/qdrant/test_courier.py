"""The courier over real sockets: what is sent once, bodies both ways, and what stalls."""

from __future__ import annotations

import asyncio
import email
import gc
import re
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme

from exporter.errors import (
    BadPayload,
    SourceAuth,
    SourceError,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    StoreShort,
)
from exporter.qdrant import keeping
from exporter.qdrant.courier import Courier
from exporter.qdrant.door import Door, Tls
from tests.kit.patience import LoopClock
from tests.kit.servers import (
    Play,
    Wire,
    WireServer,
    answering,
    answering_late,
    answering_once,
    breaking_at_second_request,
    reply,
    silent,
)

GOOD = reply(200, b'{"result":true,"status":"ok","time":0.1}')
ACCEPTED = reply(202, b'{"status":"accepted","time":0.1}')
PATH = keeping.shard_upload_path("docs", 3)
LARGE = bytes(range(256)) * 16_384  # 4 MiB: more than a socket and its peer's buffer hold
CourierTo = Callable[..., Courier]


@pytest_asyncio.fixture
async def courier_to() -> AsyncIterator[CourierTo]:
    """Return a function that makes a courier to a url; further arguments are the door's."""
    made: list[Courier] = []

    def make(url: str, **door: Any) -> Courier:
        courier = Courier(Door(url, **door), LoopClock())
        made.append(courier)
        return courier

    yield make
    for courier in made:
        await courier.close()


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Give these chunks."""
    for part in parts:
        yield part


async def send(
    courier: Courier,
    chunks: AsyncIterator[bytes],
    size_bytes: int,
    *,
    stall_seconds: float = 5.0,
    answer_seconds: float = 5.0,
    file_name: str = "shard-3.snapshot",
) -> bytes:
    """Upload a shard."""
    return await courier.upload(
        PATH,
        endpoint=keeping.SHARD_UPLOAD,
        file_name=file_name,
        size_bytes=size_bytes,
        chunks=chunks,
        stall_seconds=stall_seconds,
        answer_seconds=answer_seconds,
    )


class Received:
    """A server's part of an upload: reads a whole request and keeps it."""

    def __init__(self, answer: bytes = GOOD) -> None:
        self.head = b""
        self.body = b""
        self._answer = answer

    async def __call__(self, wire: Wire) -> None:
        self.head = await wire.request() or b""
        length = int(re.search(rb"Content-Length: (\d+)", self.head)[1])  # type: ignore[index]
        self.body = await wire.body(length)
        await wire.send(self._answer)

    def part(self) -> email.message.Message:
        """Return the only part of the form."""
        content_type = re.search(rb"Content-Type: multipart[^\r]*", self.head)
        assert content_type is not None
        form = email.message_from_bytes(content_type[0] + b"\r\n\r\n" + self.body)
        parts = form.get_payload()
        assert isinstance(parts, list)
        assert len(parts) == 1
        assert isinstance(parts[0], email.message.Message)
        return parts[0]


async def swallowing(wire: Wire) -> None:
    """Read whatever comes and never answer."""
    await wire.request()
    while await wire.body(1024):
        pass


async def deaf(wire: Wire) -> None:
    """Take the head and read nothing more."""
    await wire.request()
    await asyncio.Event().wait()


async def refusing_at_once(wire: Wire) -> None:
    """Say no as soon as the head is there, as a server does that checks the key first."""
    await wire.request()
    await wire.send(reply(401, b"Invalid API key or JWT", content_type="text/plain"))
    await asyncio.Event().wait()


async def test_an_upload_is_a_form_of_one_part_with_its_length_announced(courier_to: CourierTo) -> None:
    """The bytes arrive as they were, in a part named snapshot, without chunked encoding."""
    received = Received()
    async with WireServer(received) as server:
        answer = await send(courier_to(server.url, api_key="k3y"), pieces(b"abc", b"", LARGE), 3 + len(LARGE))

    assert b'"result":true' in answer
    assert received.head.startswith(b"POST " + PATH.encode())
    assert b"api-key: k3y\r\n" in received.head
    assert b"Transfer-Encoding" not in received.head
    part = received.part()
    assert part.get_param("name", header="content-disposition") == "snapshot"
    assert part.get_filename() == "shard-3.snapshot"
    assert b"abc" + LARGE in received.body


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_upload_goes_over_tls_to_a_server_that_is_trusted(
    courier_to: CourierTo, tmp_path: Path, trusted: bool
) -> None:
    """To another not a byte of the file goes."""
    authority, own = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (authority if trusted else own).issue_cert("127.0.0.1").configure_cert(context)
    received = Received()
    async with WireServer(received, tls=context) as server:
        courier = courier_to(server.url, tls=Tls(ca_file=tmp_path / "ca.pem"))
        if trusted:
            await send(courier, pieces(LARGE), len(LARGE))
        else:
            with pytest.raises(SourceUnreachable):
                await send(courier, pieces(LARGE), len(LARGE))

    assert (LARGE in received.body) == trusted
    assert bool(received.head) == trusted


async def test_an_empty_file_is_sent_too(courier_to: CourierTo) -> None:
    """No chunk at all is a part without content."""
    received = Received()
    async with WireServer(received) as server:
        await send(courier_to(server.url), pieces(), 0)

    assert received.part().get_payload() == ""


@pytest.mark.parametrize(("parts", "size"), [((b"abc",), 4), ((b"abc", b"de"), 4)])
async def test_chunks_of_another_length_than_announced_are_our_mistake(
    courier_to: CourierTo, parts: tuple[bytes, ...], size: int
) -> None:
    """Too few or too many bytes are never a whole file to the server."""
    async with WireServer(swallowing) as server:
        with pytest.raises(ValueError, match="another length"):
            await send(courier_to(server.url), pieces(*parts), size)


async def test_what_the_chunks_raise_comes_out_as_it_is(courier_to: CourierTo) -> None:
    """A store that fails midway is not the server's failure, and the chunks are the caller's again."""
    closed = False

    async def failing() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            yield b"abc"
            raise StoreShort("the archive ends at byte 3")
        finally:
            closed = True

    async with WireServer(swallowing) as server:
        courier = courier_to(server.url)
        with pytest.raises(StoreShort, match="byte 3"):
            await send(courier, failing(), 10)

    assert closed
    assert set(courier.counts().values()) == {0}


@pytest.mark.usefixtures("patient_time")
async def test_a_server_that_takes_no_more_bytes_is_a_stall(courier_to: CourierTo) -> None:
    """No progress in sending for the limit ends it, long before the limit of the answer."""
    async with WireServer(deaf) as server:
        courier = courier_to(server.url)
        with pytest.raises(SourceTimeout, match=r"no byte could be sent for 2 s, after \d+ of"):
            await send(courier, pieces(*[LARGE] * 8), 8 * len(LARGE), stall_seconds=2.0, answer_seconds=60.0)

    assert courier.counts()[keeping.SHARD_UPLOAD, "timeout"] == 1


@pytest.mark.usefixtures("patient_time")
async def test_waiting_for_the_next_chunk_is_no_stall_of_the_server(courier_to: CourierTo) -> None:
    """A slow store may take longer than the server may."""

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(10.0)
            yield b"abc"

    async with WireServer(Received()) as server:
        answer = await send(courier_to(server.url), slow(), 9, stall_seconds=1.0)

    assert answer


@pytest.mark.usefixtures("patient_time")
async def test_the_answer_has_a_limit_of_its_own_from_the_last_byte(courier_to: CourierTo) -> None:
    """Loading a shard takes longer than a stall may, and not for ever."""

    async def loading(wire: Wire) -> None:
        await Received(answer=b"")(wire)
        await asyncio.sleep(20.0)
        await wire.send(GOOD)

    async with WireServer(loading) as server:
        courier = courier_to(server.url)
        assert await send(courier, pieces(b"abc"), 3, stall_seconds=1.0, answer_seconds=30.0)
        with pytest.raises(SourceTimeout, match="no answer within 10 s of the last byte"):
            await send(courier, pieces(b"abc"), 3, stall_seconds=1.0, answer_seconds=10.0)


async def test_a_refusal_before_the_whole_file_was_read_is_that_refusal(courier_to: CourierTo) -> None:
    """A wrong key is told as such, and the rest of the file is not sent."""
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(1000):
            given += 1
            yield LARGE
            await asyncio.sleep(0)

    async with WireServer(refusing_at_once) as server:
        with pytest.raises(SourceAuth, match="Invalid API key"):
            await send(courier_to(server.url), endless(), 1000 * len(LARGE))

    assert given < 1000


async def test_a_good_answer_before_the_whole_file_was_sent_is_not_believed(courier_to: CourierTo) -> None:
    """Whoever says 200 without reading has not restored anything."""

    async def hasty(wire: Wire) -> None:
        await wire.request()
        await wire.send(GOOD)
        await asyncio.Event().wait()

    async with WireServer(hasty) as server:
        with pytest.raises(BadPayload, match="before the file was sent"):
            await send(courier_to(server.url), pieces(*[LARGE] * 50), 50 * len(LARGE))


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "Checksum mismatch: expected 7f1e, actual 0000", SourceRefused),
        (500, "Service internal error: failed to unpack", SourceRefused),
        (403, "Forbidden: Global manage access is required", SourceAuth),
    ],
)
async def test_a_refused_upload_says_why(
    courier_to: CourierTo, status: int, text: str, kind: type[SourceError]
) -> None:
    """The server's own words come with its status."""
    body = f'{{"status":{{"error":"{text}"}},"time":0.1}}'.encode()
    async with WireServer(Received(reply(status, body))) as server:
        courier = courier_to(server.url)
        with pytest.raises(kind, match=text):
            await send(courier, pieces(b"abc"), 3)

    assert sum(courier.counts().values()) == 1


@pytest.mark.parametrize("name", ["", "a b", 'x"', "../x", "a\r\nb", ".hidden", "é"])
async def test_a_file_name_that_could_be_more_than_a_name_is_our_mistake(
    courier_to: CourierTo, name: str
) -> None:
    """It goes into a header, and onto the server's disk."""
    with pytest.raises(ValueError, match="file name"):
        await send(courier_to("http://127.0.0.1:1"), pieces(b"abc"), 3, file_name=name)


async def test_a_cancelled_upload_leaves_its_chunks_to_the_caller(courier_to: CourierTo) -> None:
    """Nothing of ours still reads from them when the cancellation is out."""
    reached = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"abc"
        reached.set()
        await asyncio.sleep(3600)

    chunks = stuck()
    async with WireServer(swallowing) as server:
        sending = asyncio.create_task(send(courier_to(server.url), chunks, 10))
        await reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    await chunks.aclose()  # type: ignore[attr-defined]  # raises RuntimeError where somebody reads


async def test_what_reads_is_sent_again_where_its_connection_was_dead(courier_to: CourierTo) -> None:
    """The server closed an idle connection in the moment that we wrote to it."""
    async with WireServer(breaking_at_second_request(GOOD)) as server:
        courier = courier_to(server.url)
        for _ in range(2):
            assert await courier.call(keeping.collections(), deadline_seconds=5.0)

    assert server.request_lines == ["GET /collections HTTP/1.1"] * 3


async def test_what_writes_is_never_sent_twice(courier_to: CourierTo) -> None:
    """After a break nobody knows whether the server did it: the caller looks."""
    async with WireServer(answering_once(b"")) as server:
        courier = courier_to(server.url)
        with pytest.raises(SourceUnreachable):
            await courier.call(keeping.create_snapshot("docs"), deadline_seconds=5.0)

    assert server.request_lines == ["POST /collections/docs/snapshots?wait=true HTTP/1.1"]


async def test_what_writes_never_takes_a_connection_that_was_used_before(courier_to: CourierTo) -> None:
    """An idle one may close under it, and then it would seem not to have been done."""
    async with WireServer(breaking_at_second_request(GOOD, connections=9)) as server:
        courier = courier_to(server.url)
        await courier.call(keeping.collections(), deadline_seconds=5.0)
        await courier.call(keeping.delete_collection("docs"), deadline_seconds=5.0)
        await courier.call(keeping.delete_collection("docs"), deadline_seconds=5.0)

    assert server.connections == 3
    assert len(server.requests) == 3


@pytest.mark.usefixtures("patient_time")
async def test_a_write_that_times_out_is_not_repeated(courier_to: CourierTo) -> None:
    """A snapshot goes on when nobody waits any more; a second one would double the load."""
    async with WireServer(answering_late(GOOD, after_seconds=60.0)) as server:
        courier = courier_to(server.url)
        with pytest.raises(SourceTimeout):
            await courier.call(keeping.create_snapshot("docs"), deadline_seconds=5.0)
        assert len(server.requests) == 1

    assert courier.counts()["POST /collections/{collection}/snapshots", "timeout"] == 1


@pytest.mark.usefixtures("patient_time")
async def test_a_call_may_take_as_long_as_its_deadline(courier_to: CourierTo) -> None:
    """A snapshot of a large collection takes an hour."""
    async with WireServer(answering_late(GOOD, after_seconds=3000.0)) as server:
        answer = await courier_to(server.url).call(keeping.create_snapshot("docs"), deadline_seconds=3600.0)

    assert answer


async def test_an_answer_above_a_limit_of_the_call_is_not_read(courier_to: CourierTo) -> None:
    """Whoever asks for a page may ask for a smaller one."""
    async with WireServer(answering(reply(200, b"{}" + b" " * 1_000))) as server:
        courier = courier_to(server.url)

        with pytest.raises(BadPayload, match="limit of an answer is 500 bytes"):
            await courier.call(keeping.collections(), deadline_seconds=5.0, limit_bytes=500)
        assert await courier.call(keeping.collections(), deadline_seconds=5.0)


async def test_accepted_is_an_answer(courier_to: CourierTo) -> None:
    """202: the server does it without us."""
    async with WireServer(answering(ACCEPTED)) as server:
        answer = await courier_to(server.url).call(keeping.delete_collection("docs"), deadline_seconds=5.0)

    assert b"accepted" in answer


@pytest.mark.parametrize("play", [answering_once(b""), silent])
async def test_nothing_is_held_back_after_failures(courier_to: CourierTo, play: Play) -> None:
    """A job decides itself when to look again."""
    async with WireServer(play) as server:
        courier = courier_to(server.url)
        for _ in range(8):
            with pytest.raises((SourceTimeout, SourceUnreachable)):
                await courier.call(keeping.collections(), deadline_seconds=0.05)
        server.play = answering(GOOD)

        assert await courier.call(keeping.collections(), deadline_seconds=5.0)


async def test_a_wait_that_the_server_names_reaches_the_job(courier_to: CourierTo) -> None:
    """429 has Retry-After; the job honours it."""
    async with WireServer(answering(reply(429, b"{}", "Retry-After: 7"))) as server:
        with pytest.raises(SourceRefused) as raised:
            await courier_to(server.url).call(keeping.create_snapshot("docs"), deadline_seconds=5.0)

    assert (raised.value.status, raised.value.retry_after_seconds) == (429, 7.0)


async def test_a_download_streams_with_its_headers(courier_to: CourierTo) -> None:
    """Range and If-Range go out, uncompressed bytes are asked for, and the ETag is at hand."""
    headers = {"Range": "bytes=10-12", "If-Range": '"e1"'}
    data = reply(206, b"xyz", "Content-Range: bytes 10-12/100", 'ETag: "e1"')
    async with WireServer(answering(data)) as server:
        courier = courier_to(server.url)
        path = keeping.snapshot_path("docs", "s.snapshot")
        async with courier.stream(
            path, endpoint=keeping.SNAPSHOT, stall_seconds=5.0, headers=headers
        ) as download:
            body = b"".join([chunk async for chunk in download])

    assert (download.status, body, download.headers["etag"]) == (206, b"xyz", '"e1"')
    assert b"Accept-Encoding: identity\r\n" in server.requests[0]
    assert b'If-Range: "e1"\r\n' in server.requests[0]
    assert courier.counts()[keeping.SNAPSHOT, "ok"] == 1


async def test_a_download_that_breaks_is_a_failure_and_counted(courier_to: CourierTo) -> None:
    """What came is kept by the caller, who asks for the rest."""
    async with WireServer(answering_once(reply(200, b"0123456789")[:-4])) as server:
        courier = courier_to(server.url)
        async with courier.stream("/x", endpoint=keeping.SNAPSHOT, stall_seconds=5.0) as download:
            first = await anext(download)
            with pytest.raises(SourceUnreachable):
                await anext(download)

    assert first == b"012345"
    assert courier.counts()[keeping.SNAPSHOT, "unreachable"] == 1


async def test_a_download_that_is_refused_is_counted_once(courier_to: CourierTo) -> None:
    """A snapshot that is gone is refused at opening."""
    async with WireServer(answering(reply(404, b"Not found: Snapshot s not found"))) as server:
        courier = courier_to(server.url)
        with pytest.raises(SourceRefused):
            async with courier.stream("/x", endpoint=keeping.SNAPSHOT, stall_seconds=5.0):
                pass

    assert courier.counts()[keeping.SNAPSHOT, "refused"] == 1
    assert sum(courier.counts().values()) == 1


async def test_a_closed_courier_says_so(courier_to: CourierTo) -> None:
    """After close() every call is unreachable."""
    courier = courier_to("http://127.0.0.1:1")
    await courier.close()

    with pytest.raises(SourceUnreachable):
        await courier.call(keeping.collections(), deadline_seconds=1.0)
    with pytest.raises(SourceUnreachable):
        await send(courier, pieces(b"abc"), 3)


async def test_no_key_is_in_what_is_raised(courier_to: CourierTo) -> None:
    """Not in the message, and not in what it is chained to."""
    async with WireServer(Received(reply(400, b'{"status":{"error":"s3cr3t is wrong"}}'))) as server:
        with pytest.raises(SourceRefused) as raised:
            await send(courier_to(server.url, api_key="s3cr3t"), pieces(b"abc"), 3)

    assert "s3cr3t" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_a_close_that_is_cancelled_leaves_no_connection_open() -> None:
    """A daemon that is told to stop cancels runs that are at their end: nothing else closes for them."""
    async with WireServer(answering(GOOD)) as server:
        courier = Courier(Door(server.url), LoopClock())
        await courier.call(keeping.cluster_status(), deadline_seconds=2.0)  # on a connection that is kept
        await courier.call(keeping.delete_snapshot("docs", "a"), deadline_seconds=2.0)  # on one of its own
        left: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context["message"]))
        closing = asyncio.create_task(courier.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del courier, closing
            gc.collect()

    assert left == []
