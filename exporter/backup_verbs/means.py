"""What the bodies of jobs work with when a person runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.backup.archive.engine import Engine, engine_available
from exporter.backup.calling import Limits
from exporter.backup.progress import Progress
from exporter.backup.survey import PeerAt
from exporter.backup_verbs.opened import Opened
from exporter.board import Board
from exporter.config.jobs import JobCollections, JobSettings, ScheduleSettings
from exporter.config.settings import Settings
from exporter.jobs.bodies.means import Means
from exporter.jobs.published import Published


def means_of(settings: Settings, it: Opened, peers: Sequence[PeerAt], progress: Progress) -> Means:
    """Return what a job of this store works with, on the peers of one cluster."""
    board = Board(clock=it.clock, expires=False)
    return Means(
        settings=settings.backup,
        shelf=it.shelf,
        locks=it.locks,
        peers_of=lambda _: peers,
        published=Published(board=board, clock=it.clock),
        turns={},
        board=board,
        clock=it.clock,
        limits=Limits(),
        engine=Engine(clock=it.clock) if engine_available() else None,
        progress=progress,
    )


def by_hand(cluster: str, **keys: Any) -> JobSettings:
    """Return a backup job that no schedule has, of all collections: which ones are wanted, a person says.

    `keys` are those of its kind, by the names they have in JobSettings.
    """
    return JobSettings.model_construct(
        name="",
        kind="backup",
        cluster=cluster,
        collections=JobCollections(),
        schedule=ScheduleSettings(every_seconds=86_400.0),
        **keys,
    )
