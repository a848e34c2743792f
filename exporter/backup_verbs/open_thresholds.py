"""Thresholds that are changed for a while: which ones are still, and by what command they are put back."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from exporter.backup.words import Purpose, ThresholdIntent
from exporter.backup_verbs.opened import Opened
from exporter.backup_verbs.showing import Showing
from exporter.errors import StoreError

# To say what stays open after Ctrl-C: who pressed it waits for it.
TELLING_SECONDS = 5.0


async def intents_of(it: Opened, cluster: str) -> list[ThresholdIntent]:
    """Return the open intents of a cluster, oldest first. Raises StoreError."""
    return [intent for intent in await it.shelf.thresholds() if intent.cluster == cluster]


@asynccontextmanager
async def telling_what_stays_open(
    it: Opened, cluster: str, flags: Sequence[str], showing: Showing
) -> AsyncIterator[None]:
    """Whatever ends what is done in it, say what is changed still, and the command that puts it back.

    `flags` are added to the command: by them it finds the same cluster and the same store.
    """
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(TELLING_SECONDS):
                left = await intents_of(it, cluster)
        except (StoreError, TimeoutError) as error:
            left = []
            showing.warn(
                f"nobody can say which thresholds are changed still: {error or 'the store is silent'}"
            )
        for intent in left:
            words = ("qdrant-exporter", "vacuum", "put-back", intent.collection, "--cluster", cluster, *flags)
            fields = " and ".join(change.field for change in intent.changes)
            goes_on = " The same import goes on with it." if intent.purpose is Purpose.IMPORT else ""
            showing.warn(
                f"{intent.collection}: still changed: {fields}.{goes_on} Once nothing is optimized there a"
                f" daemon puts back what it was, and so does: {shlex.join(words)}"
            )
