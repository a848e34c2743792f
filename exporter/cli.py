"""The verbs, thin. Heavy imports wait until a verb needs them: `--help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from exporter import __version__, exit_codes
from exporter.cli_alerting import alerts, rules, silence
from exporter.cli_backup import backup, jobs
from exporter.cli_start import (
    console,
    fail,
    one_of,
    or_exit,
    read_settings,
    rewrite,
    run_to_end,
    start,
    with_flags,
)
from exporter.cli_vacuum import vacuum

app = typer.Typer(
    name="qdrant-exporter",
    help="Watches a Qdrant deployment and tells Prometheus the truth about it.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would cost it 0.2 s
    pretty_exceptions_enable=False,  # its tracebacks show locals, which may hold secrets
)
peers = typer.Typer(help="Known peers.", no_args_is_help=True)
app.add_typer(peers, name="peers")
canary = typer.Typer(help="The write canary.", no_args_is_help=True)
app.add_typer(canary, name="canary")
app.add_typer(alerts, name="alerts")
app.add_typer(rules, name="rules")
app.add_typer(silence, name="silence")
app.add_typer(backup, name="backup")
app.add_typer(vacuum, name="vacuum")
app.add_typer(jobs, name="jobs")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # a collection's name that the terminal's encoding lacks must not end the verb
        rewrite(stream, errors="backslashreplace")
    app()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"qdrant-exporter {__version__}")
        raise typer.Exit


@app.command()
@with_flags
def run(*, flags: dict[str, Any]) -> None:
    """Watch until stopped, and serve /metrics."""
    from exporter.app import Daemon
    from exporter.config.overlay import as_flags

    settings, redactor = start(flags)
    daemon = Daemon(
        settings=settings,
        read_settings=lambda: read_settings(flags),
        redactor=redactor,
        flags=as_flags(flags, os.environ),
    )
    run_to_end(daemon.run())


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)],
) -> None:
    """Check a configuration file: every problem at once, with line and what to write instead."""
    from exporter.alert_verbs.rules import checked
    from exporter.config.checks import warnings_of

    settings, found = or_exit(lambda: checked(config, os.environ))
    for warning in warnings_of(settings):
        typer.echo(f"{config}: warning: {warning}", err=True)
    clusters = ", ".join(cluster.name for cluster in settings.clusters)
    told = ", ".join(receiver.name for receiver in settings.alerting.receivers)
    alerting = f"; rules: {len(found.rules)}; receivers: {told}" if told else ""
    typer.echo(f"{config}: good; clusters: {clusters}{alerting}")


@app.command()
@with_flags
def once(
    *,
    output: Annotated[
        str, typer.Option("--output", help="table, json or prometheus.", metavar="FORM")
    ] = "table",
    flags: dict[str, Any],
) -> None:
    """Poll everything once and show it.

    Exit code 1: a peer is down. 3: a part failed, or a peer of the cluster is not watched.
    """
    from exporter.once import Output
    from exporter.once import once as look_once

    one_of("--output", output, [*Output])
    if flags["log.level"] is None:
        flags["log.level"] = "error"  # what failed stands in the table
    settings, _ = start(flags)
    if output == Output.PROMETHEUS:
        rewrite(sys.stdout, encoding="utf-8")  # the format's own, whatever the terminal's is
    raise typer.Exit(run_to_end(look_once(settings, Output(output), console())))


CollectionArgument = Annotated[str, typer.Argument(help="Its name, or an alias.", metavar="COLLECTION")]
CountOption = Annotated[
    int, typer.Option("--count", help="Searches, one after the other.", metavar="N", min=1, max=10_000)
]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", help="Cluster, where several are configured.", metavar="NAME")
]
PeerOption = Annotated[
    str | None,
    typer.Option("--peer", help="Peer to search through; else the first that answers.", metavar="LABEL"),
]
VectorOption = Annotated[
    str | None, typer.Option("--vector", help="Vector to search; else the first.", metavar="NAME")
]
# the bounds are those of the configuration
EfOption = Annotated[
    int | None, typer.Option("--hnsw-ef", help="Search parameter.", metavar="N", min=1, max=100_000)
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", help="Points to find; k of recall.", metavar="N", min=1, max=1_000)
]


@app.command()
@with_flags
def probe(
    *,
    collection: CollectionArgument,
    count: CountOption = 1,
    cluster: ClusterOption = None,
    peer: PeerOption = None,
    vector: VectorOption = None,
    hnsw_ef: EfOption = None,
    limit: LimitOption = None,
    no_recall: Annotated[bool, typer.Option("--no-recall", help="Send no exact searches.")] = False,
    output: Annotated[str, typer.Option("--output", help="text or json.", metavar="FORM")] = "text",
    flags: dict[str, Any],
) -> None:
    """Search one collection and show how it went: times, points found, recall and the likely plan.

    Exit code 1: the probe failed. 3: it says nothing of the server: nothing stored, or refused.
    """
    from rich.console import Console

    from exporter.probing.report import Output, Wanted
    from exporter.probing.run import probe as probe_once

    one_of("--output", output, [*Output])
    if flags["log.level"] is None:
        flags["log.level"] = "error"  # what failed is told in words
    settings, _ = start(flags)
    wanted = Wanted(
        collection=collection, count=count, cluster=cluster, peer=peer, vector=vector, hnsw_ef=hnsw_ef,
        limit=limit, recall=not no_recall, output=Output(output),
    )  # fmt: skip
    raise typer.Exit(run_to_end(probe_once(settings, wanted, console(), Console(stderr=True))))


@app.command()
def catalog() -> None:
    """Print every source, metric and alert rule as Markdown."""
    from exporter.catalog import markdown

    typer.echo(markdown(), nl=False)


@app.command()
def demo(
    listen_address: Annotated[
        str, typer.Option("--web.listen-address", help="Where the daemon serves.", metavar="HOST:PORT")
    ] = "127.0.0.1:10633",
) -> None:
    """Watch two embedded Qdrant servers under a scripted load, on loopback; Ctrl-C ends it."""
    _needs_engine()
    from exporter.demo import demo as play

    run_to_end(play(listen_address))


@app.command()
def embedded(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=0, max=65535)] = 6333,
    data: Annotated[
        Path | None, typer.Option(help="Directory to keep collections in; without it nothing is kept.")
    ] = None,
) -> None:
    """Run the embedded Qdrant alone, on loopback: for trying out and for tests."""
    _needs_engine()
    from exporter.embedded.server import serve

    run_to_end(serve(port, data))


@peers.command()
def forget(
    cluster: Annotated[str, typer.Argument(help="Name of the cluster; `default` when unnamed.")],
    peer: Annotated[str, typer.Argument(help="The peer as in the label `peer`.")],
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state.dir", help="State directory of the daemon.", envvar="QDRANT_EXPORTER_STATE_DIR"
        ),
    ] = None,
) -> None:
    """Stop watching a peer that is gone for good."""
    from exporter.clock import SystemClock
    from exporter.errors import StateError
    from exporter.forgetting import forget_peer

    if state_dir is None:
        fail("give --state.dir: it is where the daemon remembers peers", exit_codes.BAD_CONFIGURATION)
    try:
        typer.echo(forget_peer(state_dir, cluster, peer, clock=SystemClock()))
    except StateError as error:
        fail(str(error), exit_codes.FAILED)


@canary.command()
@with_flags
def remove(*, flags: dict[str, Any]) -> None:
    """Delete the collection that the write canary made, from every cluster."""
    from exporter.canaries import remove_canaries

    settings, _ = start(flags)
    lines, code = run_to_end(remove_canaries(settings))
    for line in lines:
        typer.echo(line, err=code != 0)
    raise typer.Exit(code)


def _needs_engine() -> None:
    from importlib.util import find_spec

    if find_spec("qdrant_edge") is None:
        fail("this needs the extra demo: pip install 'qdrant-exporter[demo]'", exit_codes.FAILED)
