"""`backup restore`: a set into a new collection, proven; or what that would take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from exporter import exit_codes
from exporter.backup.guard import suspicious
from exporter.backup.restoring.refusals import name_refusals
from exporter.backup.restoring.run import Restorer
from exporter.backup.restoring.words import ReplicaSeen, Restored, RestoreOptions, RestorePlan
from exporter.backup.words import StoredSet
from exporter.backup_verbs.opened import Chosen, Opened, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing, size
from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.config.quantities import format_duration
from exporter.config.settings import Settings
from exporter.errors import JobError, JobRefused, SourceError, StoreMissing
from exporter.observe.sources import disk


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person typed."""

    chosen: Chosen
    cluster: str | None  # to restore into
    target: str | None
    into: str | None
    aliases: bool
    switch_alias: str | None
    force: bool
    dry_run: bool

    @property
    def name(self) -> str | None:
        """The collection to restore into; None: one whose name is made up."""
        return self.target if self.into is None else self.into


async def restore_now(settings: Settings, wanted: Wanted, showing: Showing) -> int:
    """Restore, or only say what would be done; return the exit code."""
    clock = SystemClock()
    cluster = cluster_of(settings, wanted.cluster)
    if wanted.name is not None and (problems := list(name_refusals(wanted.name))):
        raise JobRefused("nothing is restored: " + "; ".join(problems))
    async with opened(settings, clock) as it, reached(settings, cluster, clock) as peers:
        stored = await it.found(wanted.chosen)
        if wanted.chosen.latest is not None and (doubt := await _doubt(it, stored)):
            showing.warn(f"note: {doubt}")
        options = _options(wanted, cluster)
        if wanted.dry_run:
            restorer = Restorer(peers=peers, shelf=it.shelf, clock=clock)
            _show_plan(await restorer.plan(stored, options), showing)
            return exit_codes.DONE
        await it.check()
        # of the cluster: it would be in the way of whatever else is done there
        async with it.locks.cluster(cluster.name):
            with showing.progress() as progress:
                restorer = Restorer(peers=peers, shelf=it.shelf, clock=clock, progress=progress)
                with _its_files(stored):
                    told = (await restorer.plan(stored, options, finishing=True)).warnings
                    for warning in told:  # before anything is done
                        showing.warn(f"note: {warning}")
                    restored = await restorer.restore(stored, options)
    _show(stored, restored, showing)
    for warning in restored.warnings:
        if warning not in told:
            showing.warn(f"note: {warning}")
    return exit_codes.DONE


async def _doubt(it: Opened, stored: StoredSet) -> str | None:
    """Say why retention would not trust a set: who lost half of the points by mistake wants an older one."""
    manifest = stored.manifest
    sets = await it.shelf.sets(manifest.cluster, manifest.collection)
    return suspicious(one for one in sets if one.manifest.ended_at <= manifest.ended_at)


@contextmanager
def _its_files(stored: StoredSet) -> Iterator[None]:
    """Have a missing file told as what it is: there is such a backup, and it is damaged."""
    try:
        yield
    except StoreMissing as error:
        raise JobError(f"backup {stored.manifest.id} cannot be restored: {error}") from error


def _options(wanted: Wanted, cluster: ClusterSettings) -> RestoreOptions:
    return RestoreOptions(
        target=wanted.name,
        into=wanted.into is not None,
        force=wanted.force,
        aliases=wanted.aliases,
        switch_alias=wanted.switch_alias,
        free_bytes=_free_bytes(cluster),
    )


def _free_bytes(cluster: ClusterSettings) -> dict[str, int]:
    """Return the room of the peers whose storage is mounted here, by label."""
    free: dict[str, int] = {}
    for peer in cluster.peers:
        if peer.storage_path is None:
            continue
        try:
            seen = disk.read(peer.storage_path)
        except SourceError:
            continue  # not known here, then
        if seen.free_bytes is not None:
            free[peer.label] = seen.free_bytes
    return free


def _show_plan(plan: RestorePlan, showing: Showing) -> None:
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
    showing.say(f"{size(plan.size_bytes)} to send; about {eta} at 50 MiB/s. Nothing was done.")


def _show(stored: StoredSet, restored: Restored, showing: Showing) -> None:
    if showing.is_json:
        showing.document(
            {
                "set": stored.manifest.id,
                "target": restored.record.target,
                "restore": restored.record.id,
                "points": restored.points,
                "replicas": [_replica_document(one, restored) for one in restored.replicas],
                "warnings": list(restored.warnings),
            }
        )
        return
    showing.say(
        f"restored backup {stored.manifest.id} of {stored.manifest.collection} into"
        f" {restored.record.target}: {restored.points:,} points"
    )
    showing.table(
        ("shard", "key", "peer", "state", "points"),
        [
            (
                str(one.shard),
                "" if one.key is None else str(one.key),
                restored.labels.get(one.peer_id, str(one.peer_id)),
                one.state,
                f"{one.points:,}",
            )
            for one in restored.replicas
        ],
    )


def _replica_document(one: ReplicaSeen, restored: Restored) -> dict[str, Any]:
    return {
        "shard": one.shard,
        "key": one.key,
        "peerId": one.peer_id,
        "peer": restored.labels.get(one.peer_id),
        "state": one.state,
        "points": one.points,
    }
