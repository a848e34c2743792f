"""The verbs of backups and jobs, thin: `backup` and `jobs`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from exporter import exit_codes
from exporter.cli_start import (
    console,
    errors_console,
    fail,
    one_of,
    run_to_end,
    start,
    with_flags,
)

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 bad configuration, 3 partly or nothing to do, 4 refused because it would"
    " do harm, 10 no such backup or store, 11 locked by another run, 130 or 143 interrupted."
)
FORMS = ["table", "json"]

backup = typer.Typer(
    help="Backups: take, export, list, prove, restore, import, prune. Without a configuration file give"
    f" --qdrant.url and --store. {EXIT_CODES}",
    no_args_is_help=True,
)
jobs = typer.Typer(help=f"The scheduled jobs. {EXIT_CODES}", no_args_is_help=True)

OutputOption = Annotated[str, typer.Option("--output", help="table or json.", metavar="FORM")]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", help="Cluster, where there are several.", metavar="NAME")
]
CollectionsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Names of collections; all where none is given.", metavar="COLLECTION"),
]
SetArgument = Annotated[
    str | None, typer.Argument(help="Id of a backup, as `backup list` shows it.", metavar="ID")
]
LatestOption = Annotated[
    str | None,
    typer.Option(
        "--latest", help="The newest good backup of a collection, in place of an id.", metavar="COLLECTION"
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option("--as", help="Collection to make; else NAME__restore_ID.", metavar="COLLECTION"),
]
IntoOption = Annotated[
    str | None,
    typer.Option(
        "--into",
        help="Make the collection under the name it had, or another that is in use.",
        metavar="COLLECTION",
    ),
]
AliasesOption = Annotated[bool, typer.Option("--aliases", help="Set the aliases it had, once it is proven.")]
SwitchAliasOption = Annotated[
    str | None,
    typer.Option("--switch-alias", help="Point this alias at it, once it is proven.", metavar="ALIAS"),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@backup.command()
@with_flags
def run(
    *,
    collections: CollectionsArgument = None,
    cluster: ClusterOption = None,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Back collections up now."""
    from exporter.backup_verbs.taking import take_now

    settings = settings_for(flags, output, needs_cluster=True)
    work = take_now(settings, collections or [], cluster, shown(output))
    raise typer.Exit(run_to_end(work))


@backup.command()
@with_flags
def export(
    *,
    collections: CollectionsArgument = None,
    cluster: ClusterOption = None,
    encoding: Annotated[
        str,
        typer.Option("--format", help="msgpack, or jsonl: a line of JSON a point.", metavar="FORM"),
    ] = "msgpack",
    allow_lossy: Annotated[
        bool,
        typer.Option("--allow-lossy", help="Also where an import cannot bring back the very same points."),
    ] = False,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Export the points themselves now, for any version of Qdrant. Interrupted, the same command goes on.

    A snapshot, as `backup run` takes it, is faster and of one moment; an export outlives versions.
    """  # fmt: skip
    from exporter.backup.words import Encoding
    from exporter.backup_verbs.exporting import Wanted, export_now

    one_of("--format", encoding, [*Encoding])
    settings = settings_for(flags, output, needs_cluster=True)
    wanted = Wanted(collections or [], cluster, Encoding(encoding), allow_lossy)
    raise typer.Exit(run_to_end(export_now(settings, wanted, shown(output))))


@backup.command(name="list")
@with_flags
def list_sets(
    *,
    collections: CollectionsArgument = None,
    cluster: ClusterOption = None,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """List what lies in the store, newest first, and how far each is proven."""
    from exporter.backup_verbs.looking import show_sets

    settings = settings_for(flags, output)
    raise typer.Exit(run_to_end(show_sets(settings, collections or [], cluster, shown(output))))


@backup.command()
@with_flags
def show(
    *,
    set_id: SetArgument = None,
    latest: LatestOption = None,
    cluster: ClusterOption = None,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Show one backup: its archives, shards, proofs and problems."""
    from exporter.backup_verbs.looking import show_set

    settings = settings_for(flags, output)
    chosen = _chosen(set_id, latest, cluster)
    raise typer.Exit(run_to_end(show_set(settings, chosen, shown(output))))


@backup.command()
@with_flags
def verify(
    *,
    set_id: SetArgument = None,
    latest: LatestOption = None,
    cluster: ClusterOption = None,
    level: Annotated[
        int,
        typer.Option(
            "--level",
            help="0 listed, 1 sizes, 2 SHA-256, 3 opened and counted, 4 restored and compared.",
            min=0,
            max=4,
        ),
    ] = 2,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Prove a backup up to a level; every backup in the store where none is named.

    Levels 3 and 4 need the extra `edge`, or another Qdrant under backup.verify.target.
    """  # fmt: skip
    from exporter.backup_verbs.proving import prove_now

    settings = settings_for(flags, output)
    chosen = _chosen(set_id, latest, cluster) if set_id or latest else None
    raise typer.Exit(run_to_end(prove_now(settings, chosen, cluster, level, shown(output))))


@backup.command()
@with_flags
def restore(
    *,
    set_id: SetArgument = None,
    latest: LatestOption = None,
    cluster: ClusterOption = None,
    target: TargetOption = None,
    into: IntoOption = None,
    aliases: AliasesOption = False,
    switch_alias: SwitchAliasOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also onto a server whose version is out of the documented range.")
    ] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Restore a backup into a new collection and prove it. Interrupted, the same command goes on.

    Needs store, URL and key only. What exists is never written to.
    """  # fmt: skip
    from exporter.backup_verbs.restoring import restore_now

    settings = settings_for(flags, output, needs_cluster=True)
    wanted = _brought_back(
        _chosen(set_id, latest, None), cluster, target, into, flags=flags, aliases=aliases,
        switch_alias=switch_alias, force=force, dry_run=dry_run,
    )  # fmt: skip
    raise typer.Exit(run_to_end(restore_now(settings, wanted, shown(output))))


@backup.command(name="import")
@with_flags
def import_export(
    *,
    set_id: SetArgument = None,
    latest: LatestOption = None,
    cluster: ClusterOption = None,
    target: TargetOption = None,
    into: IntoOption = None,
    aliases: AliasesOption = False,
    switch_alias: SwitchAliasOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where the export failed a proof, or is incomplete.")
    ] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Import an export into a new collection and prove it. Interrupted, the same command goes on.

    For any version of Qdrant and any number of shards. What exists is never written to. While it loads
    nothing is indexed; the threshold for that is put back at the end.
    """  # fmt: skip
    from exporter.backup_verbs.importing import import_now

    settings = settings_for(flags, output, needs_cluster=True)
    wanted = _brought_back(
        _chosen(set_id, latest, None), cluster, target, into, flags=flags, aliases=aliases,
        switch_alias=switch_alias, force=force, dry_run=dry_run,
    )  # fmt: skip
    raise typer.Exit(run_to_end(import_now(settings, wanted, shown(output))))


@backup.command()
@with_flags
def prune(
    *,
    collections: CollectionsArgument = None,
    cluster: ClusterOption = None,
    include_vanished: Annotated[
        bool, typer.Option("--include-vanished", help="Also of collections that exist no more.")
    ] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Delete the backups that retention keeps no longer, saying why of each."""
    from exporter.backup_verbs.pruning import prune_now

    settings = settings_for(flags, output, needs_cluster=not include_vanished)
    raise typer.Exit(
        run_to_end(
            prune_now(
                settings,
                collections or [],
                cluster,
                shown(output),
                dry_run=dry_run,
                vanished=include_vanished,
            )
        )
    )


@backup.command()
@with_flags
def accept(
    *,
    set_id: Annotated[str, typer.Argument(help="Id of a backup.", metavar="ID")],
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Say that a backup is right although it shrank or is of another collection: prune goes on then."""
    from exporter.backup_verbs.pruning import accept_now

    settings = settings_for(flags, output)
    raise typer.Exit(run_to_end(accept_now(settings, set_id, shown(output))))


@backup.command()
@with_flags
def orphans(
    *,
    cluster: ClusterOption = None,
    snapshots_dir: Annotated[
        Path | None,
        typer.Option(
            "--snapshots-dir",
            help="Qdrant's snapshots folder on this host, to look into too.",
            metavar="DIRECTORY",
        ),
    ] = None,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Show the snapshots that lie on the peers and are nobody's. Nothing is deleted."""  # fmt: skip
    from exporter.backup_verbs.looking import show_orphans

    settings = settings_for(flags, output, needs_cluster=True)
    raise typer.Exit(run_to_end(show_orphans(settings, cluster, snapshots_dir, shown(output))))


@jobs.command(name="list")
@with_flags
def list_jobs(*, output: OutputOption = "table", flags: dict[str, Any]) -> None:
    """List the jobs with their next three times and how the last run went."""
    from exporter.backup_verbs.jobs import show_jobs

    raise typer.Exit(run_to_end(show_jobs(settings_for(flags, output), shown(output))))


@jobs.command(name="run")
@with_flags
def run_job(
    *,
    name: Annotated[str, typer.Argument(help="Name of the job.", metavar="JOB")],
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Have the running daemon run a job now, and wait for its end; without a daemon it runs here."""
    from exporter.backup_verbs.jobs import run_job_now

    settings = settings_for(flags, output, needs_cluster=True)
    raise typer.Exit(run_to_end(run_job_now(settings, name, shown(output))))


@jobs.command()
@with_flags
def history(
    *,
    name: Annotated[str | None, typer.Argument(help="Name of a job; else all.", metavar="JOB")] = None,
    limit: Annotated[int, typer.Option("--limit", help="The newest N.", metavar="N", min=1, max=10_000)] = 20,
    output: OutputOption = "table",
    flags: dict[str, Any],
) -> None:
    """Show the newest runs, from the daemon's state directory."""
    from exporter.backup_verbs.jobs import show_history

    raise typer.Exit(run_to_end(show_history(settings_for(flags, output), name, limit, shown(output))))


def settings_for(flags: dict[str, Any], output: str, *, needs_cluster: bool = False) -> Any:
    """Read the settings for a verb that says itself what went wrong."""
    one_of("--output", output, FORMS)
    if flags["log.level"] is None:
        flags["log.level"] = "error"
    return start(flags, needs_cluster=needs_cluster)[0]


def _chosen(set_id: str | None, latest: str | None, cluster: str | None) -> Any:
    from exporter.backup_verbs.opened import Chosen

    if (set_id is None) == (latest is None):
        fail("write the id of a backup, or --latest COLLECTION", exit_codes.BAD_CONFIGURATION)
    return Chosen(set_id=set_id, latest=latest, cluster=cluster)


def _brought_back(
    chosen: Any,
    cluster: str | None,
    target: str | None,
    into: str | None,
    *,
    flags: dict[str, Any],
    **own: Any,
) -> Any:
    """Return what is wanted of a restore or an import."""
    from exporter.backup_verbs.bringing_back import Wanted
    from exporter.config.overlay import as_flags

    if target is not None and into is not None:
        fail("--as and --into: write one of the two", exit_codes.BAD_CONFIGURATION)
    return Wanted(
        chosen=chosen, cluster=cluster, target=target, into=into, flags=as_flags(flags, os.environ), **own
    )


def shown(output: str) -> Any:
    """Return how a verb answers, in this form."""
    from exporter.backup_verbs.showing import Showing
    from exporter.backup_verbs.words import Output

    return Showing(output=Output(output), console=console(), errors=errors_console())
