"""From settings to a store, and whether that store keeps its word."""

from __future__ import annotations

import secrets
from pathlib import Path

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.contract import Store
from exporter.backup.storage.local import LocalStore
from exporter.clock import Clock
from exporter.config.backup import StoreSettings
from exporter.config.store_url import bucket_of
from exporter.errors import JobRefused, StoreError

PROBES = ".probe"
# Of a run that was killed between its test puts and their removal.
LEFT_OVER_SECONDS = 86_400.0


def open_store(settings: StoreSettings, clock: Clock) -> Store:
    """Make the store. Nothing is read, written or sent yet.

    Raises JobRefused where its library is not installed.
    """
    bandwidth = Bandwidth(settings.bandwidth_limit_bytes, clock=clock)
    exclusive = not settings.single_writer
    bucket = bucket_of(settings.url)
    if bucket is None:
        return LocalStore(Path(settings.url), bandwidth=bandwidth, clock=clock, exclusive=exclusive)
    try:
        from exporter.backup.storage.objects import ObjectStore, roads_to
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise JobRefused(
            "a store in a bucket needs the extra s3: pip install 'qdrant-exporter[s3]'"
        ) from None
    roads = roads_to(bucket, settings.s3)
    return ObjectStore(settings.url, roads, bandwidth=bandwidth, exclusive=exclusive)


async def check_store(store: Store, single_writer: bool, clock: Clock) -> None:
    """Put two small objects under one path, and see that the first stays.

    Raises StoreError where the store cannot be written and read, and, unless there is a single writer, where
    it takes the second: it ignores put-if-absent, and so can hold no lock.
    """
    path = f"{PROBES}/{secrets.token_hex(8)}.txt"
    try:
        is_first_taken = await store.put_if_absent(path, b"first")
        is_second_taken = await store.put_if_absent(path, b"second")
        content = await store.get(path)
    finally:
        await store.delete(path)
    keeps_its_word = is_first_taken and not is_second_taken and content == b"first"
    if not keeps_its_word and not single_writer:
        raise StoreError(
            f"{store.name}: ignores put-if-absent, so two writers cannot be kept apart;"
            " where only one daemon ever writes there, set single_writer: true"
        )
    await _remove_leftovers(store, clock)


async def _remove_leftovers(store: Store, clock: Clock) -> None:
    left = [stored async for stored in store.list(PROBES)]
    for stored in left:
        if stored.modified_at < clock.now() - LEFT_OVER_SECONDS:
            await store.delete(stored.path)
