"""A Report for a person: tables on a terminal, and a bar while it takes its time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from exporter.observe.probes.book import MIN_SAMPLES_P95, MIN_SAMPLES_P99
from exporter.observe.probes.plan import Plan
from exporter.observe.sources.telemetry import VectorSeen
from exporter.printable import printable
from exporter.probing.report import (
    QuerySource,
    Ranked,
    Report,
    Tell,
    histogram_of,
    named,
    times_of,
)

BAR_WIDTH = 40
# Of a longer list, the first few entries and how many there are.
LONGEST_LIST = 8
ENTRIES_SHOWN = 3
# Drawn between two searches, never beside one: a second thread would cost the measured time.
DRAWN_EVERY_SECONDS = 0.1

UNCLEAR = ", for the counts of the segments do not tell: others search too, or they hold none"

MARK_STYLES = {"missed": "red", "other": "yellow", "tie": "bright_black"}


@contextmanager
def progress_bar(console: Console, *, shown: bool) -> Iterator[Tell]:
    """Draw how far a run is, on a terminal only; gone at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console,
        auto_refresh=False,
        transient=True,
        disable=not (shown and console.is_terminal),
    ) as progress:
        task = progress.add_task("searches", total=None)
        drawn = 0.0

        def tell(what: str, done: int, of: int) -> None:
            nonlocal drawn
            progress.update(task, description=what, completed=done, total=of)
            if time.monotonic() - drawn >= DRAWN_EVERY_SECONDS:
                drawn = time.monotonic()
                progress.refresh()

        yield tell


def show(report: Report, console: Console) -> None:
    """Print everything that one run told."""
    title = f"probe of {report.collection} through {report.peer}, cluster {report.cluster}"
    console.print(Text(printable(title), "italic"), soft_wrap=True)
    console.print(_head(report))
    if report.phases:
        console.print(_phases(report))
    if report.searches.asked > 1:
        _show_times(report, console)
    elif report.found or report.exact:
        console.print(_points(report))
    for line in _conclusions(report):
        console.print(Text(printable(line)), soft_wrap=True)


def summary_of_failures(report: Report) -> str:
    """Return one line on what failed, "" where nothing did."""
    searches = report.searches
    if searches.asked == 1 and searches.reasons:
        return f"the probe of {report.collection} through {report.peer}: {searches.error}"
    if searches.reasons:
        reasons = ", ".join(f"{reason.value} {count}" for reason, count in searches.reasons.items())
        return f"searches that failed: {reasons}; the last one: {searches.error}"
    return f"exact searches failed: {report.recall.why_not}" if report.recall.failed else ""


def _head(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = [("server", f"Qdrant {report.version}")]
    if report.alias is not None:
        rows.append(("alias", f"{report.alias} leads to collection {report.collection}"))
    rows.append(("points", "unknown" if report.points is None else f"{report.points:,}"))
    rows += [("vector", _vector(vector, report.vector)) for vector in report.vectors]
    limits = ", ".join(f"{name} {json.dumps(value)}" for name, value in report.strict_mode.items())
    rows.append(("strict mode", limits or "no limits on searches"))
    if report.request is not None and report.query_from is not None:
        rows.append(("query", _query_from(report.query_from)))
        rows.append(("filter", "none" if report.filter is None else shortened(report.filter)))
        name = "request" if report.searches.asked == 1 else "first request"
        rows.append((name, f"{report.request.method} {report.request.path}"))
        rows.append(("", shortened(report.request.body)))
    for name, value in rows:
        table.add_row(Text(name, "bold"), Text(printable(value)))
    return table


def _query_from(source: QuerySource) -> str:
    if source.file is None:
        return f"stored point {source.point}, of a random sample"
    return f"query 1 of {source.queries} in {source.file}"


def _vector(vector: VectorSeen, searched: str) -> str:
    kind = "sparse" if vector.size is None else f"{vector.size} numbers, {vector.distance}"
    rows = ", several rows a point" if vector.multi else ""
    return f"{named(vector.name)}: {kind}{rows}{', searched' if vector.name == searched else ''}"


def shortened(value: Any) -> str:
    """Return JSON with long lists cut: of a vector, its first numbers and how many there are."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {shortened(one)}" for key, one in value.items()) + "}"
    if not isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if len(value) <= LONGEST_LIST:
        return "[" + ", ".join(map(shortened, value)) + "]"
    return "[" + ", ".join(map(shortened, value[:ENTRIES_SHOWN])) + f", … {len(value)} in all]"


def _phases(report: Report) -> Table:
    table = Table("phase", title="time", title_justify="left")
    table.add_column("on our side", justify="right")
    table.add_column("by the server", justify="right")
    for phase in report.phases:
        table.add_row(phase.name, _time(phase.seconds), _time(phase.server_seconds))
    return table


def _points(report: Report) -> Table:
    table = Table(title="points found", title_justify="left")
    table.add_column("rank", justify="right")
    for side in ("by the exact search", "through the index") if report.exact else ("found",):
        table.add_column(side, overflow="fold")
        table.add_column("score", justify="right")
        table.add_column("")
    pairs = zip_longest(report.exact, report.found)
    for rank, (exact, found) in enumerate(pairs, start=1):
        sides = (exact, found) if report.exact else (found,)
        table.add_row(str(rank), *(cell for one in sides for cell in _cells(one)))
    return table


def _cells(point: Ranked | None) -> Sequence[Text]:
    if point is None:
        return Text(""), Text(""), Text("")
    style = MARK_STYLES.get(point.mark, "")
    return Text(printable(str(point.id)), style), Text(f"{point.score:.6g}"), Text(point.mark, style)


def _show_times(report: Report, console: Console) -> None:
    buckets = histogram_of(report.searches.seconds)
    if not buckets:
        return
    block = "#" if console.options.ascii_only else "█"
    most = max(bucket.searches for bucket in buckets)
    histogram = Table(title="searches by their time", title_justify="left")
    histogram.add_column("up to", justify="right")
    histogram.add_column("", width=BAR_WIDTH, no_wrap=True, overflow="crop")
    histogram.add_column("searches", justify="right")
    histogram.add_column("share", justify="right")
    for bucket in buckets:
        bar = block * -(-BAR_WIDTH * bucket.searches // most)  # rounded up: one search shows
        bound = "longer" if bucket.bound is None else _time(bucket.bound)
        histogram.add_row(bound, bar, f"{bucket.searches:,}", f"{bucket.share:.1%}")
    console.print(histogram)
    console.print(_percentiles(report))


def _percentiles(report: Report) -> Table:
    table = Table("time", "min", "p50", "p95", "p99", "max")
    sides = {"on our side": report.searches.seconds, "by the server": report.searches.server_seconds}
    for side, seconds in sides.items():
        times = times_of(seconds)
        if times is not None:
            shown = (times.least, times.p50, times.p95, times.p99, times.most)
            table.add_row(side, *map(_time, shown))
    return table


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1_000:.2f} ms"


def _conclusions(report: Report) -> Iterator[str]:
    searches = report.searches
    if searches.asked > 1:
        failed = sum(searches.reasons.values())
        yield f"searches: {searches.done - failed:,} good, {failed:,} failed, {searches.asked:,} asked for"
        yield from (f"  {reason.value}: {count:,}" for reason, count in searches.reasons.items())
        yield from _too_few(len(searches.seconds))
    if report.stopped:
        yield f"stopped early: {report.stopped}"
    yield _recall(report)
    for vector, plan in report.plans.items():
        unclear = plan == Plan.UNKNOWN and not report.plan_unknown
        yield f"likely plan for {named(vector)}: {plan}{UNCLEAR if unclear else ''}"
    if report.plan_unknown:
        yield f"the plan is not known: {report.plan_unknown}"


def _too_few(samples: int) -> Iterator[str]:
    for name, least in (("p95", MIN_SAMPLES_P95), ("p99", MIN_SAMPLES_P99)):
        if samples < least:
            yield f"no {name}: of {samples} searches it would be their maximum, it takes {least}"


def _recall(report: Report) -> str:
    recall = report.recall
    if recall.ratio is None:
        nothing = "the exact search found no point" if recall.queries else "no search succeeded"
        return f"recall: not measured: {recall.why_not or nothing}"
    queries = "" if recall.queries == 1 else f", over {recall.queries} different queries"
    end = f"; no further: {recall.why_not}" if recall.why_not else ""
    share = f"{recall.matched:,} of {recall.expected:,} points{queries}"
    return f"recall@{recall.k}: {recall.ratio:.4g} ({share}){end}"
