"""What a vacuum would do, what it did and what was put back: as tables, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.backup.thresholds.intents import due
from exporter.backup.thresholds.putting_back import PutBack
from exporter.backup.words import ThresholdIntent
from exporter.backup_verbs.showing import Showing, size
from exporter.errors import ExporterError
from exporter.operations.vacuum.words import VacuumOutcome, VacuumPlan, VacuumReport, Victim, Weight
from exporter.printable import printable


@dataclass(frozen=True, slots=True)
class End:
    """What came of one collection: a report, a plan by which there was nothing to do, or a failure."""

    collection: str
    came: VacuumReport | VacuumPlan | ExporterError

    @property
    def was_due(self) -> bool:
        """There was something to do, or nobody could say."""
        if isinstance(self.came, VacuumReport):
            return self.came.outcome is not VacuumOutcome.NOTHING
        return isinstance(self.came, ExporterError)


def show_plans(
    cluster: str, planned: Sequence[tuple[str, VacuumPlan | ExporterError]], showing: Showing
) -> None:
    """Show what would be done of each collection, and why not."""
    for name, plan in planned:
        if isinstance(plan, ExporterError):
            showing.warn(f"{name}: {plan}")
    if showing.is_json:
        documents = [_planned_document(name, plan) for name, plan in planned]
        showing.document({"cluster": cluster, "collections": documents})
        return
    plans = [plan for _, plan in planned if isinstance(plan, VacuumPlan)]
    if not planned:
        showing.say("There is no collection to vacuum.")
    if plans:
        columns = ("collection", "deleted", "reclaimable", "victims", "change", "closed gates")
        showing.table(columns, [_row(plan) for plan in plans])
    for plan in plans:
        for line in _lines(plan):
            showing.say(f"{plan.collection}: {line}")
    if plans:
        showing.say("Nothing was done.")


def show_ends(cluster: str, ends: Sequence[End], showing: Showing) -> None:
    """Show what came of each collection of a run."""
    if showing.is_json:
        showing.document({"cluster": cluster, "collections": [_end_document(end) for end in ends]})
        return
    if not ends:
        showing.say("There is no collection to vacuum.")
    for end in ends:
        came = end.came
        if isinstance(came, ExporterError):
            showing.warn(f"{end.collection}: {came}")
        elif isinstance(came, VacuumPlan):
            showing.say(f"{end.collection}: nothing to do: {came.note}")
        else:
            _show_report(came, showing)


def show_put_back(
    cluster: str,
    ends: Sequence[tuple[Sequence[ThresholdIntent], PutBack | ExporterError]],
    others: Sequence[str],
    showing: Showing,
) -> None:
    """Show what is as it was, and what stays open and why; each with a collection's intents, oldest first.

    `others`: clusters that have open intents too. Who gives a URL alone calls its cluster another name.
    """
    for other in others:
        showing.warn(
            f"note: thresholds are changed in cluster {printable(other)} too; it may be this one, reached by"
            " another configuration: put back by that one"
        )
    if showing.is_json:
        documents = [_put_back_document(intents, end) for intents, end in ends]
        showing.document({"cluster": cluster, "thresholds": documents, "otherClusters": list(others)})
        return
    if not ends:
        showing.say("Nothing is changed that would have to be put back.")
    for intents, end in ends:
        name = intents[0].collection
        if isinstance(end, ExporterError):
            showing.warn(f"{name}: stays open: {end}")
        elif end.done:
            showing.say(f"{name}: {_closed_text(intents, end)}")
        else:
            showing.warn(f"{name}: stays open: {end.reason}")


def _closed_text(intents: Sequence[ThresholdIntent], end: PutBack) -> str:
    back = [f"{field} {one.back:g}" for field, one in due(intents).items() if field not in end.foreign]
    told = [f"closed: {', '.join(back)}"] if back else ["closed"]
    told += [f"{field} was set by somebody else meanwhile, and is left" for field in end.foreign]
    return "; ".join(told)


def _show_report(report: VacuumReport, showing: Showing) -> None:
    detail = f" ({report.detail})" if report.detail else ""
    showing.say(f"{report.collection}: {report.outcome}{detail} in {report.took_seconds:.1f} s")
    if report.outcome is VacuumOutcome.NOTHING:
        return
    before, after = report.before, report.after
    showing.table(
        ("", "deleted", "reclaimable", "data", "segments", "disk"),
        [_weight_row("before", before), _weight_row("after", after)],
    )
    p95 = f"{_milliseconds(report.p95_before_seconds)} before, {_milliseconds(report.p95_meanwhile_seconds)}"
    failed = f"; {report.failed_searches} searches failed" if report.failed_searches else ""
    showing.say(f"  searches' p95: {p95} meanwhile{failed}")
    showing.say(f"  optimizations: {report.runs}, of which {report.cancelled_runs} were cancelled")
    showing.say(f"  thresholds: {report.thresholds}")


def _weight_row(name: str, weight: Weight) -> tuple[str, ...]:
    share = _share(weight.deleted, weight.points)
    return (
        name,
        f"{weight.deleted:,} ({share})",
        size(round(weight.reclaimable_bytes)),
        size(weight.data_bytes),
        str(weight.segments),
        "unknown" if weight.disk_bytes is None else size(weight.disk_bytes),
    )


def _milliseconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1000:.1f} ms"


def _share(deleted: int, live: int) -> str:
    return f"{deleted / (deleted + live):.1%}" if deleted + live else "0%"


def _row(plan: VacuumPlan) -> tuple[str, ...]:
    closed = ", ".join(gate.name for gate in plan.refusals)
    if not plan.victims:
        seen = "of what is seen, " if plan.refusals else ""
        return (plan.collection, "", "", "0", f"{seen}nothing to do: {plan.note}", closed)
    segments = [victim.segment for victim in plan.victims]
    deleted, live = sum(one.deleted for one in segments), sum(one.live for one in segments)
    besides = f" and {len(plan.besides)} besides" if plan.besides else ""
    return (
        plan.collection,
        _share(deleted, live),
        size(round(plan.reclaimable_bytes)),
        f"{len(plan.victims)}{besides}",
        _change_text(plan),
        closed or "none",
    )


def _change_text(plan: VacuumPlan) -> str:
    put = ", ".join(f"{field} {value:g}" for field, value in plan.change.items())
    return f"{put} for a while" if put else "none, only triggered"


def _lines(plan: VacuumPlan) -> Iterator[str]:
    """Yield what a table has no room for."""
    for peer, needed in plan.needed_bytes.items():
        free = plan.free_bytes.get(peer)
        known = "unknown" if free is None else size(free)
        yield f"{peer} needs {size(needed)} free; free: {known}"
    for gate in plan.refusals:
        yield f"refused: {gate.name}: {gate.detail}"


def _planned_document(name: str, plan: VacuumPlan | ExporterError) -> dict[str, Any]:
    if isinstance(plan, ExporterError):
        return {"collection": name, "error": str(plan)}
    return {"collection": name, **_plan_document(plan)}


def _plan_document(plan: VacuumPlan) -> dict[str, Any]:
    return {
        "victims": [_victim_document(victim) for victim in plan.victims],
        "besides": [_victim_document(victim) for victim in plan.besides],
        "reclaimableBytes": round(plan.reclaimable_bytes),
        "change": dict(plan.change),
        "gates": [{"name": gate.name, "open": gate.ok, "detail": gate.detail} for gate in plan.gates],
        "refused": bool(plan.refusals),
        "neededBytes": dict(plan.needed_bytes),
        "freeBytes": dict(plan.free_bytes),
        "searchP95Seconds": plan.p95_seconds,
        "note": plan.note,
    }


def _victim_document(victim: Victim) -> dict[str, Any]:
    segment = victim.segment
    return {
        "peer": segment.peer,
        "shard": segment.shard,
        "segment": segment.uuid,
        "points": segment.live,
        "deleted": segment.deleted,
        "ratio": round(segment.ratio, 4),
        "reclaimableBytes": round(segment.reclaimable_bytes),
        "reason": victim.reason,
    }


def _end_document(end: End) -> dict[str, Any]:
    came = end.came
    if isinstance(came, ExporterError):
        return {"collection": end.collection, "outcome": None, "error": str(came)}
    if isinstance(came, VacuumPlan):
        return {"collection": end.collection, "outcome": VacuumOutcome.NOTHING.value, "detail": came.note}
    return {
        "collection": end.collection,
        "outcome": came.outcome.value,
        "detail": came.detail,
        "before": _weight_document(came.before),
        "after": _weight_document(came.after),
        "tookSeconds": round(came.took_seconds, 3),
        "searchP95Seconds": {"before": came.p95_before_seconds, "meanwhile": came.p95_meanwhile_seconds},
        "failedSearches": came.failed_searches,
        "optimizations": came.runs,
        "cancelled": came.cancelled_runs,
        "thresholds": came.thresholds,
        "plan": _plan_document(came.plan),
    }


def _weight_document(weight: Weight) -> dict[str, Any]:
    return {
        "segments": weight.segments,
        "points": weight.points,
        "deleted": weight.deleted,
        "reclaimableBytes": round(weight.reclaimable_bytes),
        "dataBytes": weight.data_bytes,
        "diskBytes": weight.disk_bytes,
    }


def _put_back_document(intents: Sequence[ThresholdIntent], end: PutBack | ExporterError) -> dict[str, Any]:
    known = {
        "collection": intents[0].collection,
        "purpose": intents[-1].purpose.value,
        "openedAt": intents[0].opened_at,
        "owner": intents[-1].owner,
        "fields": [{"field": field, "back": one.back} for field, one in due(intents).items()],
    }
    if isinstance(end, ExporterError):
        return known | {"done": False, "reason": str(end), "foreign": []}
    return known | {"done": end.done, "reason": end.reason, "foreign": list(end.foreign)}
