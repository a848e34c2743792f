"""What must outlive the process: one directory with a database and a lock."""

from exporter.state.alerting import (
    AlertingBatch,
    AlertingStore,
    StoredAlerting,
    StoredRow,
    StoredSilence,
)
from exporter.state.database import (
    DATABASE_NAME,
    KnownPeer,
    KnownPeerChanges,
    State,
)
from exporter.state.jobs import JobBatch, JobStore, KnownJob, RunRequest, StoredJobs, StoredRun
from exporter.state.lock import LOCK_NAME, StateLock
from exporter.state.migrations import MIGRATIONS
from exporter.state.reserve import RESERVE_NAME, Reserve

__all__ = [
    "DATABASE_NAME",
    "LOCK_NAME",
    "MIGRATIONS",
    "RESERVE_NAME",
    "AlertingBatch",
    "AlertingStore",
    "JobBatch",
    "JobStore",
    "KnownJob",
    "KnownPeer",
    "KnownPeerChanges",
    "Reserve",
    "RunRequest",
    "State",
    "StateLock",
    "StoredAlerting",
    "StoredJobs",
    "StoredRow",
    "StoredRun",
    "StoredSilence",
]
