"""What is particular to a store in a bucket: refusals, lost answers, uploads that were begun."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from exporter.backup.storage.contract import Store
from exporter.backup.storage.opening import open_store
from exporter.backup.storage.refusals import said
from exporter.clock import SystemClock
from exporter.config.backup import StoreSettings
from exporter.errors import JobError, StoreDenied, StoreError, StoreFull, StoreMissing
from tests.kit.s3_server import IMPATIENT, KEY, SECRET, Fault, S3Server

MEBIBYTE = 1 << 20


async def keep(store: Store, path: str, mebibytes: int) -> None:
    """Write a large object."""
    async with store.write(path) as writing:
        for _ in range(mebibytes):
            await writing.write(b"x" * MEBIBYTE)
        await writing.publish()


async def listed(store: Store) -> list[str]:
    """Return what the store shows."""
    return sorted([stored.path async for stored in store.list()])


async def test_a_server_that_stumbles_is_asked_again(s3: S3Server) -> None:
    """A 500, a 503 and a 429 each: nothing of it is seen."""
    store = s3.store()
    await store.put("a", b"1")
    for method in ("PUT", "GET", "HEAD", "DELETE"):
        s3.faults += [Fault(method, "some", status=500), Fault(method, "some", status=503, code="SlowDown")]
    s3.faults.append(Fault("GET", "list-type", status=429, code="TooManyRequests"))

    await store.put("a", b"2")

    assert await store.get("a") == b"2"
    assert await store.size("a") == 1
    assert await listed(store) == ["a"]
    await store.delete("a")
    assert await listed(store) == []
    assert all(fault.times == 0 for fault in s3.faults)


@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        (500, "InternalError", StoreError, "the store answered 500 InternalError"),
        (501, "NotImplemented", StoreError, "the store answered 501 NotImplemented"),
        (403, "AccessDenied", StoreDenied, "the store refuses us (403 AccessDenied)"),
        (401, "Unauthorized", StoreDenied, "the store refuses us (401 Unauthorized)"),
        (507, "Whatever", StoreFull, "no room is left (507 Whatever)"),
        (400, "QuotaExceeded", StoreFull, "no room is left (400 QuotaExceeded)"),
        (400, "AuthorizationHeaderMalformed", StoreError, "another region"),
        (301, "PermanentRedirect", StoreError, "another region"),
    ],
)
async def test_a_refusal_is_said_in_short_and_without_what_the_server_repeats(
    s3: S3Server, status: int, code: str, kind: type[JobError], text: str
) -> None:
    """Status and S3's own word, with bucket and path; neither URL nor key nor the server's text."""
    store = s3.store()
    s3.faults.append(Fault("PUT", "a/b", status=status, code=code, times=99))

    with pytest.raises(JobError) as refused:
        await store.put("a/b", b"1")

    assert type(refused.value) is kind
    assert text in str(refused.value)
    assert f"{store.name}/a/b" in str(refused.value)
    assert not any(hidden in str(refused.value) for hidden in (SECRET, s3.url, "Signature"))
    assert refused.value.__cause__ is None


async def test_what_is_not_written_comes_from_the_variables_of_aws(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key, region and the URL of the server, also one without TLS: nothing else is needed for a bucket."""
    bucket = s3.new_bucket()
    for name, value in (
        ("ACCESS_KEY_ID", KEY),
        ("SECRET_ACCESS_KEY", SECRET),
        ("REGION", "us-east-1"),
        ("ENDPOINT_URL", s3.url),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    store = open_store(StoreSettings(url=f"s3://{bucket}/backups"), SystemClock())

    await store.put("a", b"1")

    assert await s3.store(bucket=bucket, prefix="backups").get("a") == b"1"
    await store.close()


async def test_a_bucket_that_is_not_there_is_no_missing_object(s3: S3Server) -> None:
    """Else a typing error would look like a store without backups."""
    store = s3.store(bucket="no-such-bucket")

    for attempt in (store.put("a", b""), store.put_if_absent("a", b""), store.get("a"), listed(store)):
        with pytest.raises(StoreError, match="there is no such bucket") as refused:
            await attempt
        assert type(refused.value) is StoreError


async def test_a_store_that_is_slow_or_away_says_so(s3: S3Server) -> None:
    """After its tries, in words that hold no address."""
    store = s3.store(small=IMPATIENT)
    s3.faults.append(Fault("GET", "slow", delay_seconds=0.6, times=99))

    with pytest.raises(StoreError, match="no answer in time"):
        await store.get("slow")

    s3.faults.clear()
    away = S3Server(url="http://127.0.0.1:9", client=None).store(bucket="bucket", small=IMPATIENT)
    with pytest.raises(StoreError, match="cannot be reached"):
        await away.get("a")


async def test_a_put_if_absent_whose_answer_was_lost_is_ours(s3: S3Server) -> None:
    """The server did it and said 500: asked again, what is there tells that it was us."""
    store = s3.store()
    s3.faults.append(Fault("PUT", "lock", is_done_first=True))

    assert await store.put_if_absent("lock", b"ours")
    assert await store.get("lock") == b"ours"


async def test_a_put_if_absent_that_was_not_done_is_done_again(s3: S3Server) -> None:
    """A 500 and a conflict of two at once do not decide."""
    store = s3.store()
    s3.faults += [Fault("PUT", "lock"), Fault("PUT", "lock", status=409, code="ConditionalRequestConflict")]

    assert await store.put_if_absent("lock", b"ours")
    assert await store.get("lock") == b"ours"


async def test_a_put_if_absent_does_not_take_anothers_object_for_its_own(s3: S3Server) -> None:
    """The first try failed, and meanwhile another came."""
    store = s3.store()
    await store.put("lock", b"theirs")
    s3.faults.append(Fault("PUT", "lock"))

    assert not await store.put_if_absent("lock", b"ours")
    assert await store.get("lock") == b"theirs"


async def test_an_upload_that_is_left_is_taken_back(s3: S3Server) -> None:
    """By an error, by going without publishing, and by a cancellation."""
    bucket = s3.new_bucket()
    store = s3.store(bucket=bucket)

    async def write(then: Exception | None) -> None:
        async with store.write("set/archive.tar") as writing:
            for _ in range(66):
                await writing.write(b"x" * MEBIBYTE)
            if then is not None:
                raise then

    with pytest.raises(RuntimeError):
        await write(RuntimeError())
    await write(None)

    assert await listed(store) == []
    assert s3.unfinished(bucket) == []


async def test_a_cancelled_upload_is_taken_back(s3: S3Server) -> None:
    """Once it has begun, and with a part on its way."""
    bucket = s3.new_bucket()
    store = s3.store(bucket=bucket)
    began = asyncio.Event()

    async def write() -> None:
        async with store.write("set/archive.tar") as writing:
            for number in range(1_000):
                await writing.write(b"x" * MEBIBYTE)
                if number == 80:
                    began.set()

    task = asyncio.create_task(write())
    await began.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert await listed(store) == []
    assert s3.unfinished(bucket) == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("PUT", "partNumber", status=403, code="AccessDenied", times=99), StoreDenied),
        (Fault("PUT", "partNumber", times=99), StoreError),
        (Fault("POST", "uploads", status=403, code="AccessDenied", times=99), StoreDenied),
        (Fault("POST", "uploadId", status=500, times=99), StoreError),
    ],
)
async def test_an_upload_that_fails_leaves_nothing(
    s3: S3Server, fault: Fault, kind: type[StoreError]
) -> None:
    """At its begin, at a part or at its end: no object, no parts, and no object with a hole later."""
    bucket = s3.new_bucket()
    store = s3.store(bucket=bucket)
    s3.faults.append(fault)

    with pytest.raises(StoreError) as failed:
        await keep(store, "set/archive.tar", 66)

    assert type(failed.value) is kind
    s3.faults.clear()
    assert await listed(store) == []
    assert s3.unfinished(bucket) == []


async def test_after_a_failed_write_nothing_more_is_taken(s3: S3Server) -> None:
    """One who goes on gets the same answer, and no object."""
    store = s3.store()
    s3.faults.append(Fault("POST", "uploads", status=403, code="AccessDenied"))

    async with store.write("archive") as writing:
        for _ in range(80):
            with suppress(StoreDenied):
                await writing.write(b"x" * MEBIBYTE)
        with pytest.raises(StoreDenied):
            await writing.publish()

    assert await listed(store) == []


async def test_a_large_object_is_read_by_stretches_that_are_tried_again(s3: S3Server) -> None:
    """A break in the middle costs one stretch."""
    store = s3.store()
    await keep(store, "big", 30)
    s3.faults += [Fault("GET", "big"), Fault("GET", "big", status=503)]
    s3.requests.clear()

    async with store.read("big") as chunks:
        sizes = [len(chunk) async for chunk in chunks]

    assert sizes == [8 * MEBIBYTE] * 3 + [6 * MEBIBYTE]
    assert len([method for method, _ in s3.requests if method == "GET"]) == 6


async def test_nobody_knows_the_room_of_a_bucket(s3: S3Server) -> None:
    """None is not zero."""
    assert await s3.store().free_bytes() is None


def test_without_a_key_it_says_where_to_write_one() -> None:
    """obstore asks Amazon's machines for one, and its text names their address."""
    error = OSError("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1s")

    denied = said(error, "s3://backups", "a")

    assert isinstance(denied, StoreDenied)
    assert "write access_key_id:" in str(denied)
    assert isinstance(said(FileNotFoundError("x"), "s3://backups", "a"), StoreMissing)
