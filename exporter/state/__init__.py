"""What must outlive the process: one directory with a database and a lock."""

from exporter.state.database import (
    DATABASE_NAME,
    MIGRATIONS,
    KnownPeer,
    KnownPeerChanges,
    State,
)
from exporter.state.lock import LOCK_NAME, StateLock

__all__ = [
    "DATABASE_NAME",
    "LOCK_NAME",
    "MIGRATIONS",
    "KnownPeer",
    "KnownPeerChanges",
    "State",
    "StateLock",
]
