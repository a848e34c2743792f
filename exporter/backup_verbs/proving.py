"""`backup verify`: sets proven up to a level now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from exporter import exit_codes
from exporter.backup.archive.engine import EngineCannot
from exporter.backup.survey import PeerAt
from exporter.backup.verifying.levels import Verifier
from exporter.backup.words import Level, Proof, SetState, StoredSet
from exporter.backup_verbs.documents import proof_document
from exporter.backup_verbs.means import means_of
from exporter.backup_verbs.opened import Chosen, Opened, cluster_of, opened, reached
from exporter.backup_verbs.showing import Showing
from exporter.clock import SystemClock
from exporter.config.settings import Settings
from exporter.errors import JobError, JobLocked, JobRefused
from exporter.jobs.bodies.serving import serving

Result = tuple[StoredSet, Proof | JobError]  # a set with its proof, or with why nothing could be said


async def prove_now(
    settings: Settings, chosen: Chosen | None, cluster: str | None, level: int, showing: Showing
) -> int:
    """Prove a set, or every complete one of the store; return the exit code."""
    wanted = Level(str(level))
    results: list[Result] = []
    async with opened(settings, SystemClock()) as it:
        await it.check()
        sets = [await it.found(chosen)] if chosen is not None else await _complete(it, cluster)
        for name in sorted({one.manifest.cluster for one in sets}):
            of_cluster = [one for one in sets if one.manifest.cluster == name]
            async with _verifier(settings, it, name, wanted, showing) as verifier:
                results += [await _proven(it, verifier, one, wanted) for one in of_cluster]
    if showing.is_json:
        showing.document({"level": level, "sets": [_document(result) for result in results]})
    else:
        _show(results, wanted, showing)
    return _code(results)


async def _complete(it: Opened, cluster: str | None) -> list[StoredSet]:
    return [one for one in await it.shelf.sets(cluster) if one.manifest.state is not SetState.INCOMPLETE]


@asynccontextmanager
async def _verifier(
    settings: Settings, it: Opened, cluster: str, level: Level, showing: Showing
) -> AsyncIterator[Verifier]:
    async with AsyncExitStack() as stack:
        peers: tuple[PeerAt, ...] = ()
        verify = settings.backup.verify
        if level >= Level.OPENED and verify.target is None and verify.allow_same_cluster:
            chosen = cluster_of(settings, cluster)
            peers = await stack.enter_async_context(reached(settings, chosen, it.clock))
        progress = stack.enter_context(showing.progress())
        means = means_of(settings, it, peers, progress)
        served = await stack.enter_async_context(serving(means, cluster, level))
        yield Verifier(shelf=it.shelf, clock=it.clock, engine=means.engine, served=served, progress=progress)


async def _proven(it: Opened, verifier: Verifier, one: StoredSet, level: Level) -> Result:
    manifest = one.manifest
    try:
        async with it.locks.collection(manifest.cluster, manifest.collection):
            proof = await verifier.prove(one, level)
            await it.shelf.save_proof(manifest, proof)
    except (EngineCannot, JobLocked, JobRefused) as error:
        return one, error
    return one, proof


def _code(results: Sequence[Result]) -> int:
    if not results:
        return exit_codes.NOTHING_FOUND  # nothing is proven: whoever asks by a script must not read a 0
    wrong = [proof for _, proof in results if isinstance(proof, JobError) or not proof.good]
    if not wrong:
        return exit_codes.DONE
    if len(wrong) < len(results):
        return exit_codes.PARTLY
    kinds = ((JobLocked, exit_codes.LOCKED), (JobRefused, exit_codes.REFUSED))
    alike = (code for kind, code in kinds if all(isinstance(one, kind) for one in wrong))
    return next(alike, exit_codes.FAILED)


def _show(results: Sequence[Result], level: Level, showing: Showing) -> None:
    if not results:
        showing.say("There is no complete backup to verify.")
    for one, proof in results:
        name = f"{one.manifest.id} of {one.manifest.collection}"
        if isinstance(proof, JobError):
            showing.warn(f"{name}: not verified: {proof}")
        elif not proof.good:
            showing.say(f"{name}: BAD at level {proof.level.value}: {'; '.join(proof.problems)}")
        else:
            by = f" by {proof.by}" if proof.by else ""
            counted = f", {sum(proof.points.values()):,} points counted" if proof.points else ""
            content = f", content {proof.content}" if proof.content else ""
            showing.say(
                f"{name}: good at level {level.value}{by}{counted}{content} ({proof.took_seconds:.1f} s)"
            )


def _document(result: Result) -> dict[str, object]:
    one, proof = result
    known = {"id": one.manifest.id, "cluster": one.manifest.cluster, "collection": one.manifest.collection}
    if isinstance(proof, JobError):
        return known | {"good": None, "error": str(proof)}
    return known | proof_document(proof)
