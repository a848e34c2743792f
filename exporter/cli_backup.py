"""The verbs of backups and jobs, thin: `backup` and `jobs`."""

from __future__ import annotations

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
    help="Backups: take, list, prove, restore, prune. Without a configuration file give --qdrant.url and"
    f" --store. {EXIT_CODES}",
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

    settings = _settings(flags, output, needs_cluster=True)
    work = take_now(settings, collections or [], cluster, _shown(output))
    raise typer.Exit(run_to_end(work))


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

    settings = _settings(flags, output)
    raise typer.Exit(run_to_end(show_sets(settings, collections or [], cluster, _shown(output))))


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

    settings = _settings(flags, output)
    chosen = _chosen(set_id, latest, cluster)
    raise typer.Exit(run_to_end(show_set(settings, chosen, _shown(output))))


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

    settings = _settings(flags, output)
    chosen = _chosen(set_id, latest, cluster) if set_id or latest else None
    raise typer.Exit(run_to_end(prove_now(settings, chosen, cluster, level, _shown(output))))


@backup.command()
@with_flags
def restore(
    *,
    set_id: SetArgument = None,
    latest: LatestOption = None,
    cluster: ClusterOption = None,
    target: Annotated[
        str | None,
        typer.Option("--as", help="Collection to make; else NAME__restore_ID.", metavar="COLLECTION"),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            help="Make the collection under the name it had, or another that is in use.",
            metavar="COLLECTION",
        ),
    ] = None,
    aliases: Annotated[
        bool, typer.Option("--aliases", help="Set the aliases it had, once it is proven.")
    ] = False,
    switch_alias: Annotated[
        str | None,
        typer.Option("--switch-alias", help="Point this alias at it, once it is proven.", metavar="ALIAS"),
    ] = None,
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
    from exporter.backup_verbs.restoring import Wanted, restore_now

    settings = _settings(flags, output, needs_cluster=True)
    if target is not None and into is not None:
        fail("--as and --into: write one of the two", exit_codes.BAD_CONFIGURATION)
    wanted = Wanted(
        chosen=_chosen(set_id, latest, None), cluster=cluster, target=target, into=into, aliases=aliases,
        switch_alias=switch_alias, force=force, dry_run=dry_run,
    )  # fmt: skip
    raise typer.Exit(run_to_end(restore_now(settings, wanted, _shown(output))))


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

    settings = _settings(flags, output, needs_cluster=not include_vanished)
    raise typer.Exit(
        run_to_end(
            prune_now(
                settings,
                collections or [],
                cluster,
                _shown(output),
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

    settings = _settings(flags, output)
    raise typer.Exit(run_to_end(accept_now(settings, set_id, _shown(output))))


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

    settings = _settings(flags, output, needs_cluster=True)
    raise typer.Exit(run_to_end(show_orphans(settings, cluster, snapshots_dir, _shown(output))))


@jobs.command(name="list")
@with_flags
def list_jobs(*, output: OutputOption = "table", flags: dict[str, Any]) -> None:
    """List the jobs with their next three times and how the last run went."""
    from exporter.backup_verbs.jobs import show_jobs

    raise typer.Exit(run_to_end(show_jobs(_settings(flags, output), _shown(output))))


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

    settings = _settings(flags, output, needs_cluster=True)
    raise typer.Exit(run_to_end(run_job_now(settings, name, _shown(output))))


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

    raise typer.Exit(run_to_end(show_history(_settings(flags, output), name, limit, _shown(output))))


def _settings(flags: dict[str, Any], output: str, *, needs_cluster: bool = False) -> Any:
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


def _shown(output: str) -> Any:
    from exporter.backup_verbs.showing import Showing
    from exporter.backup_verbs.words import Output

    return Showing(output=Output(output), console=console(), errors=errors_console())
