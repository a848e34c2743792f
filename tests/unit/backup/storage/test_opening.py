"""From settings to a store, and whether it keeps its word."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from exporter.backup.storage.local import LocalStore
from exporter.backup.storage.objects import ObjectStore
from exporter.backup.storage.opening import PROBES, check_store, open_store
from exporter.clock import SystemClock
from exporter.config.backup import StoreSettings
from exporter.errors import JobRefused, StoreDenied, StoreError
from tests.kit.s3_server import Fault, S3Server

CLOCK = SystemClock()


async def test_a_path_opens_a_directory_and_touches_nothing(tmp_path: Path) -> None:
    """Made at the first writing; named as it was written."""
    store = open_store(StoreSettings(url=str(tmp_path / "backups")), CLOCK)

    assert isinstance(store, LocalStore)
    assert store.name == str(tmp_path / "backups")
    assert not (tmp_path / "backups").exists()
    await store.close()


@pytest.mark.parametrize("prefix", ["", "/qdrant/prod"])
async def test_a_url_opens_a_bucket_with_its_key(s3: S3Server, prefix: str) -> None:
    """What is put lies below the prefix, and the store is named without its key."""
    bucket = s3.new_bucket()
    store = open_store(StoreSettings(url=f"s3://{bucket}{prefix}", s3=s3.settings()), CLOCK)

    await store.put("a/b", b"1")

    assert isinstance(store, ObjectStore)
    assert store.name == f"s3://{bucket}{prefix}"
    keys = [item["Key"] for item in s3.client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == [f"{prefix}/a/b".lstrip("/")]
    await store.close()


def test_without_its_library_a_bucket_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra is named; a directory needs none."""
    for name in [name for name in sys.modules if name.startswith("exporter.backup.storage.object")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(JobRefused, match=r"pip install 'qdrant-exporter\[s3\]'"):
        open_store(StoreSettings(url="s3://backups"), CLOCK)


async def test_a_store_that_keeps_its_word_passes_and_holds_nothing_afterwards(
    s3: S3Server, tmp_path: Path
) -> None:
    """Directory and bucket, for many writers and for one."""
    for single_writer in (False, True):
        for settings in (
            StoreSettings(url=str(tmp_path / "backups"), single_writer=single_writer),
            StoreSettings(url=f"s3://{s3.new_bucket()}", s3=s3.settings(), single_writer=single_writer),
        ):
            store = open_store(settings, CLOCK)

            await check_store(store, single_writer, CLOCK)

            assert [stored async for stored in store.list()] == []
            await store.close()


async def test_a_store_that_ignores_put_if_absent_is_for_a_single_writer(s3: S3Server) -> None:
    """It takes both test puts: said with what to set, which then helps."""
    s3.faults.append(Fault("PUT", PROBES, without_header="HTTP_IF_NONE_MATCH", times=100))
    bucket = s3.new_bucket()
    many, one = s3.store(bucket=bucket), s3.store(bucket=bucket, exclusive=False)

    with pytest.raises(StoreError, match="set single_writer: true"):
        await check_store(many, False, CLOCK)
    await check_store(one, True, CLOCK)

    assert [stored async for stored in one.list()] == []


async def test_a_store_that_refuses_put_if_absent_says_so(s3: S3Server) -> None:
    """Some answer 501 to the header."""
    s3.faults.append(Fault("PUT", PROBES, status=501, code="NotImplemented", times=100))

    with pytest.raises(StoreError, match="501 NotImplemented"):
        await check_store(s3.store(), False, CLOCK)


async def test_a_store_that_may_not_be_written_is_found_out_at_once(s3: S3Server) -> None:
    """And not in the night."""
    s3.faults.append(Fault("PUT", PROBES, status=403, code="AccessDenied", times=100))

    with pytest.raises(StoreDenied):
        await check_store(s3.store(), False, CLOCK)


async def test_old_test_puts_are_removed(local: LocalStore) -> None:
    """Of a run that was killed between; one that may be under way stays."""
    for name, age_seconds in (("old.txt", 90_000.0), ("new.txt", 60.0)):
        await local.put(f"{PROBES}/{name}", b"first")
        at = time.time() - age_seconds
        os.utime(Path(local.name) / PROBES / name, times=(at, at))

    await check_store(local, False, CLOCK)

    assert [stored.path async for stored in local.list()] == [f"{PROBES}/new.txt"]
