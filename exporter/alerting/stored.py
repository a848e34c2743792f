"""The words of alerting as the documents that the state directory keeps, both ways.

What verbs do beside a running daemon is here too: they read what was last stored and write silences,
which the daemon sees within a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import msgspec

from exporter.alerting.outbox import OPEN, Row
from exporter.alerting.words import Alert, Ended, Silence
from exporter.config.expressions import check_expression
from exporter.logs import get_logger
from exporter.state import AlertingStore, StoredRow, StoredSilence

log = get_logger()

T = TypeVar("T")


def encode(document: object) -> bytes:
    """Return a dataclass of alerting as JSON."""
    return msgspec.json.encode(document)


def decode_all(documents: Iterable[bytes], kind: type[T]) -> tuple[T, ...]:
    """Read documents. One that cannot be read, of another version perhaps, is logged and left out."""
    read = []
    for document in documents:
        try:
            read.append(msgspec.json.decode(document, type=kind))
        except msgspec.DecodeError as error:
            log.error("alerting.document_dropped", kind=kind.__name__, error=str(error))
    return tuple(read)


def stored_row(row: Row) -> StoredRow:
    """Return a row of the outbox as it is stored."""
    finished_at = None if row.state in OPEN else row.finished_at
    return StoredRow(row.id, row.receiver, row.key, row.state.value, finished_at, encode(row))


def alerts(store: AlertingStore) -> tuple[Alert, ...]:
    """Return the alerts as last stored. Raises StateError."""
    return decode_all(store.alerts(), Alert)


def history(store: AlertingStore, *, limit: int) -> tuple[Ended, ...]:
    """Return the newest alerts that ended, newest first. Raises StateError."""
    return decode_all(store.history(limit=limit), Ended)


def silences(store: AlertingStore) -> tuple[Silence, ...]:
    """Return every silence, those that ended within the last 30 days too. Raises StateError."""
    return tuple(silence for silence in decode_all(store.silences(), Silence) if _can_match(silence))


def put_silence(store: AlertingStore, silence: Silence, *, now: float) -> None:
    """Store a silence. Raises StateError."""
    store.put_silence(StoredSilence(silence.id, silence.ends_at, encode(silence)), now=now)


def _can_match(silence: Silence) -> bool:
    """Whether its expressions are such that a label can be held against them."""
    try:
        for matcher in silence.matchers:
            if matcher.regex:
                check_expression(matcher.value)
    except ValueError as error:
        log.error("alerting.silence_dropped", silence=silence.id, error=str(error))
        return False
    return True


def expire_silence(store: AlertingStore, silence_id: str, *, now: float) -> Silence | None:
    """End a silence now and return it; None when there is none of this id that still runs or waits.

    The id's beginning is enough where only one silence has it. Raises StateError.
    """
    lasting = [silence for silence in silences(store) if silence.ends_at > now]
    found = [silence for silence in lasting if silence_id and silence.id.startswith(silence_id)]
    if len(found) != 1:  # an empty id is a variable that was not set, and no wish
        return None
    ended = replace(found[0], ends_at=now, starts_at=min(found[0].starts_at, now))
    put_silence(store, ended, now=now)
    return ended
