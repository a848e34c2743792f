"""The tables of the state directory's database, version by version."""

from __future__ import annotations

# One tuple of statements a version; a released one is never edited, a new one goes to the end.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Peer ids are unsigned 64 bit and SQLite's integers are signed: kept as text.
        """CREATE TABLE known_peers (
            cluster TEXT NOT NULL,
            peer_label TEXT NOT NULL,
            url TEXT NOT NULL,
            address TEXT,
            peer_id TEXT,
            origin TEXT NOT NULL,
            first_seen REAL NOT NULL,
            last_seen REAL NOT NULL,
            PRIMARY KEY (cluster, peer_label)
        ) STRICT""",
        # AUTOINCREMENT: a number is never given twice, so an answered request stays answered.
        """CREATE TABLE forget_requests (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            cluster TEXT NOT NULL,
            peer_label TEXT NOT NULL,
            requested_at REAL NOT NULL
        ) STRICT""",
    ),
    # Who this daemon is, over its restarts: one row, written at the first start.
    ("CREATE TABLE instance (id TEXT NOT NULL) STRICT",),
    # Alerting. Documents are JSON and belong to alerting; the columns are what is looked for.
    (
        "CREATE TABLE alerts (fingerprint TEXT PRIMARY KEY, document BLOB NOT NULL) STRICT",
        """CREATE TABLE alert_groups (
            receiver TEXT NOT NULL,
            key TEXT NOT NULL,
            document BLOB NOT NULL,
            PRIMARY KEY (receiver, key)
        ) STRICT""",
        """CREATE TABLE alert_outbox (
            id INTEGER PRIMARY KEY,
            receiver TEXT NOT NULL,
            key TEXT NOT NULL,
            state TEXT NOT NULL,
            finished_at REAL,
            document BLOB NOT NULL
        ) STRICT""",
        "CREATE INDEX alert_outbox_finished ON alert_outbox (finished_at) WHERE finished_at IS NOT NULL",
        """CREATE TABLE alert_silences (
            id TEXT PRIMARY KEY,
            ends_at REAL NOT NULL,
            document BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE alert_history (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            resolved_at REAL NOT NULL,
            document BLOB NOT NULL
        ) STRICT""",
        # Receivers that are owed a message, with their keys: they may leave the configuration first.
        "CREATE TABLE alert_receivers (id TEXT PRIMARY KEY, settings BLOB NOT NULL) STRICT",
        # One row: when alerting last evaluated anything.
        "CREATE TABLE alert_evaluation (only INTEGER PRIMARY KEY CHECK (only = 1), at REAL NOT NULL) STRICT",
    ),
    # Jobs. A run without an end is under way, or was when the process ended.
    (
        """CREATE TABLE job_runs (
            id INTEGER PRIMARY KEY,
            job TEXT NOT NULL,
            cluster TEXT NOT NULL,
            kind TEXT NOT NULL,
            cause TEXT NOT NULL,
            planned_at REAL NOT NULL,
            started_at REAL,
            heartbeat_at REAL,
            ended_at REAL,
            outcome TEXT,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            figures BLOB NOT NULL
        ) STRICT""",
        "CREATE INDEX job_runs_of_a_job ON job_runs (job, outcome, id)",
        # Counters must not fall when old runs go: counted apart from them.
        """CREATE TABLE job_counts (
            job TEXT NOT NULL,
            what TEXT NOT NULL,
            word TEXT NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (job, what, word)
        ) STRICT""",
        # `level` is "" for what a job did, and a level that a backup was proven at: also of one that is gone.
        """CREATE TABLE job_successes (
            job TEXT NOT NULL,
            collection TEXT NOT NULL,
            level TEXT NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (job, collection, level)
        ) STRICT""",
        # Since when a job has its schedule: what was due before was never missed.
        "CREATE TABLE known_jobs (job TEXT PRIMARY KEY, schedule TEXT NOT NULL, since REAL NOT NULL) STRICT",
        # AUTOINCREMENT: a number is never given twice, so an answered request stays answered.
        """CREATE TABLE job_requests (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            job TEXT NOT NULL,
            requested_at REAL NOT NULL,
            run INTEGER,
            refusal TEXT
        ) STRICT""",
    ),
)
