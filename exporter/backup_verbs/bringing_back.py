"""What `backup restore` and `backup import` share: what was typed, what is locked, how a plan is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from exporter.backup.guard import suspicious
from exporter.backup.progress import Progress
from exporter.backup.restoring.refusals import name_refusals
from exporter.backup.restoring.words import Step
from exporter.backup.survey import PeerAt
from exporter.backup.words import Manifest, RestoreRecord, SetKind, StoredSet
from exporter.backup_verbs.opened import Chosen, Opened, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing, size
from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.config.quantities import format_duration
from exporter.config.settings import Settings
from exporter.errors import JobError, JobRefused, StoreMissing


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person typed."""

    chosen: Chosen
    cluster: str | None  # to bring it back into
    target: str | None
    into: str | None
    aliases: bool
    switch_alias: str | None
    force: bool
    dry_run: bool
    flags: Sequence[str] = ()  # by which another verb finds the same cluster and the same store

    @property
    def name(self) -> str | None:
        """The collection to make; None: one whose name is made up."""
        return self.target if self.into is None else self.into


class Planned(Protocol):
    """What is shown of a plan, whichever way a set comes back."""

    @property
    def manifest(self) -> Manifest:
        """Of the set."""

    @property
    def target(self) -> str:
        """The collection that is made."""

    @property
    def resumes(self) -> RestoreRecord | None:
        """What it goes on with."""

    @property
    def size_bytes(self) -> int:
        """Bytes that are moved."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The requests, in their order."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must know before."""

    def eta_seconds(self) -> float:
        """How long it will take."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A set and the servers that it comes back to."""

    opened: Opened
    cluster: ClusterSettings
    peers: tuple[PeerAt, ...]
    stored: StoredSet

    @asynccontextmanager
    async def working(self, showing: Showing) -> AsyncIterator[Progress]:
        """Hold the lock of the cluster and yield who is told how far it is. Raises JobLocked, StoreError.

        A missing file comes out as what it is: there is such a backup, and it is damaged.
        """
        await self.opened.check()
        # of the cluster: it would be in the way of whatever else is done there
        async with self.opened.locks.cluster(self.cluster.name):
            with showing.progress() as progress:
                try:
                    yield progress
                except StoreMissing as error:
                    text = f"backup {self.stored.manifest.id} cannot be restored: {error}"
                    raise JobError(text) from error


@asynccontextmanager
async def begun(settings: Settings, wanted: Wanted, kind: SetKind, showing: Showing) -> AsyncIterator[Begun]:
    """Find the set, by `--latest` one of this kind, and the way to the servers. Raises what these raise."""
    clock = SystemClock()
    cluster = cluster_of(settings, wanted.cluster)
    if wanted.name is not None and (problems := list(name_refusals(wanted.name))):
        raise JobRefused("nothing is restored: " + "; ".join(problems))
    async with opened(settings, clock) as it, reached(settings, cluster, clock) as peers:
        stored = await it.found(replace(wanted.chosen, kind=kind, home=cluster.name))
        if wanted.chosen.latest is not None:
            for doubt in await _doubts(it, stored):
                showing.warn(f"note: {doubt}")
        yield Begun(it, cluster, peers, stored)


async def _doubts(it: Opened, stored: StoredSet) -> list[str]:
    """Say why another may be meant: a newer one cannot be read, or retention would not trust this one.

    Who lost half of the points by mistake wants an older one.
    """
    manifest = stored.manifest
    found = await it.shelf.contents(manifest.cluster, manifest.collection)
    doubts = [
        f"backup {bad.place.id} is newer, and cannot be read: {bad.reason}"
        for bad in found.unreadable
        if bad.place.id > manifest.id
    ]
    doubt = suspicious(one for one in found.sets if one.manifest.ended_at <= manifest.ended_at)
    return doubts if doubt is None else [*doubts, doubt]


def show_plan(plan: Planned, showing: Showing, *, bytes_per_second: int) -> None:
    """Show what would be done. `bytes_per_second`: the speed that the time it takes rests on."""
    if showing.is_json:
        showing.document(
            {
                "set": plan.manifest.id,
                "target": plan.target,
                "resumes": None if plan.resumes is None else plan.resumes.id,
                "sizeBytes": plan.size_bytes,
                "etaSeconds": round(plan.eta_seconds(), 1),
                "warnings": list(plan.warnings),
                "requests": [
                    {"request": step.request, "what": step.what, "sizeBytes": step.size_bytes}
                    for step in plan.steps
                ],
            }
        )
        return
    goes_on = "" if plan.resumes is None else f", going on with {plan.resumes.id}"
    showing.say(f"backup {plan.manifest.id} of {plan.manifest.collection} into {plan.target}{goes_on}")
    for warning in plan.warnings:
        showing.say(f"  note: {warning}")
    showing.table(
        ("request", "size", "what"),
        [(step.request, size(step.size_bytes) if step.size_bytes else "", step.what) for step in plan.steps],
    )
    eta = format_duration(max(1, round(plan.eta_seconds())))
    speed = f"{bytes_per_second >> 20} MiB/s"
    showing.say(f"{size(plan.size_bytes)} to send; about {eta} at {speed}. Nothing was done.")


def tell(warnings: Sequence[str], showing: Showing, *, but: Sequence[str] = ()) -> None:
    """Tell what a person must know, without what was told before."""
    for warning in warnings:
        if warning not in but:
            showing.warn(f"note: {warning}")
