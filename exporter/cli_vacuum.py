"""The verbs of vacuums, thin: `vacuum`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from exporter import exit_codes
from exporter.cli_backup import (
    EXIT_CODES,
    ClusterOption,
    CollectionsArgument,
    DryRunOption,
    OutputOption,
    settings_for,
    shown,
)
from exporter.cli_start import fail, run_to_end, with_flags

T = TypeVar("T")

OFF = "off"

vacuum = typer.Typer(
    help="Rewrite segments that hold many deleted points, where it does no harm."
    " Without a configuration file give --qdrant.url and --store."
    f" {EXIT_CODES}",
    no_args_is_help=True,
)

RatioOption = Annotated[
    float,
    typer.Option(
        "--min-deleted-ratio",
        help="Share of deleted points from which a segment is rewritten.",
        metavar="SHARE",
        min=0.01,
        max=0.99,
    ),
]
ReclaimOption = Annotated[
    str,
    typer.Option("--min-reclaim", help="What that must free in a collection.", metavar="SIZE"),
]
P95Option = Annotated[
    str,
    typer.Option(
        "--p95-limit",
        help="Not where the 95th percentile of searches is above this; off: whatever it is.",
        metavar="DURATION|off",
    ),
]
QueueOption = Annotated[
    int,
    typer.Option(
        "--queue-limit",
        help="Not where more operations wait on a replica.",
        metavar="N",
        min=0,
        max=1_000_000,
    ),
]


@vacuum.command()
@with_flags
def plan(
    *,
    collections: CollectionsArgument = None,
    cluster: ClusterOption = None,
    min_deleted_ratio: RatioOption = 0.1,
    min_reclaim: ReclaimOption = "64MiB",
    p95_limit: P95Option = "100ms",
    queue_limit: QueueOption = 100,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Show what a vacuum would do and what stands against it. Nothing is changed, and no store is needed.

    Exit code 3: there is nothing to do. 4: all that there is to do is refused.
    """  # fmt: skip
    from exporter.backup_verbs.vacuuming import Wanted, plan_now

    settings = settings_for(flags, output, needs_cluster=True)
    terms = _terms(min_deleted_ratio, min_reclaim, p95_limit, queue_limit, dry_run=True)
    wanted = Wanted(collections or [], cluster, terms)
    raise typer.Exit(run_to_end(plan_now(settings, wanted, shown(output))))


@vacuum.command()
@with_flags
def run(
    *,
    collections: CollectionsArgument = None,
    cluster: ClusterOption = None,
    min_deleted_ratio: RatioOption = 0.1,
    min_reclaim: ReclaimOption = "64MiB",
    p95_limit: P95Option = "100ms",
    queue_limit: QueueOption = 100,
    deadline: Annotated[
        str, typer.Option("--deadline", help="Ended when it takes longer.", metavar="DURATION")
    ] = "12h",
    dry_run: DryRunOption = False,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Vacuum collections now, the worst first, one after the other.

    Thresholds that are lowered for it are put back once nothing is optimized. Interrupted, they stay lowered
    until a daemon or `vacuum put-back` puts them back.
    """  # fmt: skip
    from exporter.backup_verbs.vacuuming import Wanted, run_now
    from exporter.config.overlay import as_flags
    from exporter.config.quantities import parse_duration

    settings = settings_for(flags, output, needs_cluster=True)
    terms = _terms(min_deleted_ratio, min_reclaim, p95_limit, queue_limit, dry_run=dry_run)
    wanted = Wanted(
        collections or [],
        cluster,
        terms,
        deadline_seconds=_read("--deadline", deadline, parse_duration),
        flags=as_flags(flags, os.environ),
    )
    raise typer.Exit(run_to_end(run_now(settings, wanted, shown(output))))


@vacuum.command(name="put-back")
@with_flags
def put_back(
    *,
    collections: CollectionsArgument = None,
    cluster: ClusterOption = None,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Put back the thresholds that a vacuum or an import that was cut off left changed.

    Only where nothing is optimized: it would be cancelled. Exit code 3: some stay as they are for now.
    """  # fmt: skip
    from exporter.backup_verbs.vacuuming import put_back_now

    settings = settings_for(flags, output, needs_cluster=True)
    raise typer.Exit(run_to_end(put_back_now(settings, collections or [], cluster, shown(output))))


def _terms(ratio: float, reclaim: str, p95: str, queue: int, *, dry_run: bool) -> Any:
    from exporter.config.quantities import parse_duration, parse_size
    from exporter.operations.vacuum.words import VacuumTerms

    limit_seconds = None if p95 == OFF else _read("--p95-limit", p95, parse_duration)
    return VacuumTerms(
        min_deleted_ratio=ratio,
        min_reclaim_bytes=_read("--min-reclaim", reclaim, parse_size),
        queue_limit=queue,
        p95_limit_seconds=limit_seconds or None,  # 0s is off too, as in the configuration
        dry_run=dry_run,
    )


def _read(option: str, text: str, read: Callable[[str], T]) -> T:
    """Return what is written; what cannot be read is said on stderr, exit code 2."""
    try:
        return read(text)
    except ValueError as error:
        fail(f"{option}: {error}", exit_codes.BAD_CONFIGURATION)
