"""The verbs of alerting, thin: `alerts`, `rules` and `silence`."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from exporter import exit_codes
from exporter.alerting.words import SEVERITIES
from exporter.cli_start import (
    console,
    fail,
    one_of,
    or_exit,
    read_settings,
    run_to_end,
    start,
    with_flags,
)
from exporter.config.flags import CONFIG_FILE, QDRANT_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config.settings import Settings

T = TypeVar("T")

FORMS = ["table", "json"]

alerts = typer.Typer(help="What fires, what is about to, and drills.")
rules = typer.Typer(help="The alert rules.", no_args_is_help=True)
silence = typer.Typer(help="Silences: alerts that are not told for a while.", no_args_is_help=True)

StateOption = Annotated[
    Path | None,
    typer.Option("--state.dir", help="State directory of the daemon.", envvar="QDRANT_EXPORTER_STATE_DIR"),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config.file",
        help="The daemon's configuration file, in place of --state.dir.",
        envvar="QDRANT_EXPORTER_CONFIG_FILE",
    ),
]
OutputOption = Annotated[str, typer.Option("--output", help="table or json.", metavar="FORM")]


@alerts.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    state_dir: StateOption = None,
    config_file: ConfigOption = None,
    history: Annotated[
        int,
        typer.Option("--history", help="The newest N that ended too.", metavar="N", min=0, max=10_000),
    ] = 0,
    output: OutputOption = "table",
) -> None:
    """Show what fires and what is about to, as the daemon last stored it."""
    if context.invoked_subcommand is not None:
        return
    from exporter.alert_verbs.alerts import Output, show_alerts
    from exporter.clock import SystemClock

    one_of("--output", output, FORMS)
    directory = _directory(state_dir, config_file)
    _or_say(lambda: show_alerts(directory, Output(output), console(), clock=SystemClock(), history=history))


@alerts.command(name="test")
@with_flags
def drill_receiver(
    *,
    receiver: Annotated[str, typer.Argument(help="Its name in the configuration.", metavar="RECEIVER")],
    severity: Annotated[
        str, typer.Option("--severity", help="Level of the drill.", metavar="|".join(SEVERITIES))
    ] = "warning",
    hold: Annotated[
        str, typer.Option("--hold", help="How long it goes on before it ends.", metavar="DURATION")
    ] = "0s",
    flags: dict[str, Any],
) -> None:
    """Send a drill through one receiver: that it begins, then that it is over.

    Exit code 1: the service did not take both.
    """
    from exporter.alert_verbs.drill import drill
    from exporter.clock import SystemClock
    from exporter.config.quantities import parse_duration

    one_of("--severity", severity, [*SEVERITIES])
    try:
        hold_seconds = parse_duration(hold)
    except ValueError as error:
        fail(f"--hold: {error}", exit_codes.BAD_CONFIGURATION)
    settings = _quiet(flags)
    code = run_to_end(
        drill(
            settings,
            receiver,
            severity=severity,
            hold_seconds=hold_seconds,
            say=typer.echo,
            clock=SystemClock(),
        )
    )
    raise typer.Exit(code)


@rules.command(name="list")
@with_flags
def list_rules(*, output: OutputOption = "table", flags: dict[str, Any]) -> None:
    """List the rules in force, and with --config.file or --qdrant.url which of them are blind there."""
    from exporter.alert_verbs.alerts import Output
    from exporter.alert_verbs.rules import show_rules

    one_of("--output", output, FORMS)
    settings = _quiet(flags) if _is_given(flags) else None
    or_exit(lambda: show_rules(settings, Output(output), console()))


@rules.command(name="check")
def check_rules(
    files: Annotated[list[Path], typer.Argument(help="Files of rules (YAML).", show_default=False)],
) -> None:
    """Check files of rules: every problem at once, with line and what to write instead."""
    from exporter.alert_verbs.rules import check_files

    for line in or_exit(lambda: check_files(files)):
        typer.echo(line)


@rules.command(name="test")
@with_flags
def try_rules(*, output: OutputOption = "table", flags: dict[str, Any]) -> None:
    """Poll everything once and show which rules are true of it now, with their values.

    Exit code 1: one is.
    """
    from exporter.alert_verbs.alerts import Output
    from exporter.alert_verbs.look import look

    one_of("--output", output, FORMS)
    raise typer.Exit(run_to_end(look(_quiet(flags), Output(output), console())))


@rules.command(name="export")
@with_flags
def export(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="Where the files go.", metavar="DIRECTORY")] = Path(
        "alerts/prometheus"
    ),
    flags: dict[str, Any],
) -> None:
    """Write the rules in force as rules for Prometheus, those of the configuration where one is given."""
    from exporter.alert_verbs.rules import export_rules
    from exporter.config.alerting import AlertingSettings

    alerting = _quiet(flags).alerting if _is_given(flags) else AlertingSettings()
    try:
        written = or_exit(lambda: export_rules(alerting, directory))
    except OSError as error:
        fail(f"--dir: {directory}: {error.strerror}", exit_codes.FAILED)
    for line in written:
        typer.echo(line)


@silence.command()
def add(
    matchers: Annotated[
        list[str], typer.Argument(help='Conditions on labels: alertname="DiskUsed" peer=~"10.0.*".')
    ],
    lasts: Annotated[str, typer.Option("--for", help="How long.", metavar="DURATION", show_default=False)],
    comment: Annotated[str, typer.Option("--comment", help="Why, for others.", show_default=False)],
    author: Annotated[str, typer.Option("--author", help="Who; else the user's name.")] = "",
    state_dir: StateOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Tell nothing new of alerts that match all of these, for a while; a daemon keeps to it at once."""
    from exporter.alert_verbs.silences import add as add_silence
    from exporter.clock import SystemClock

    directory = _directory(state_dir, config_file)
    lines = _or_say(
        lambda: add_silence(
            directory, matchers, lasts=lasts, author=author or _user(), comment=comment, clock=SystemClock()
        )
    )
    for line in lines:
        typer.echo(line)


@silence.command(name="list")
def list_silences(
    state_dir: StateOption = None,
    config_file: ConfigOption = None,
    also_over: Annotated[bool, typer.Option("--all", help="Those of the last 30 days too.")] = False,
    output: OutputOption = "table",
) -> None:
    """List the silences."""
    from exporter.alert_verbs.alerts import Output
    from exporter.alert_verbs.silences import show as show_silences
    from exporter.clock import SystemClock

    one_of("--output", output, FORMS)
    directory = _directory(state_dir, config_file)
    _or_say(
        lambda: show_silences(directory, Output(output), console(), clock=SystemClock(), also_over=also_over)
    )


@silence.command()
def expire(
    silence_id: Annotated[str, typer.Argument(help="Its id, or how it begins.", metavar="ID")],
    state_dir: StateOption = None,
    config_file: ConfigOption = None,
) -> None:
    """End a silence now."""
    from exporter.alert_verbs.silences import expire as expire_silence
    from exporter.clock import SystemClock

    directory = _directory(state_dir, config_file)
    typer.echo(_or_say(lambda: expire_silence(directory, silence_id, clock=SystemClock())))


def _quiet(flags: dict[str, Any]) -> Settings:
    """Read the settings for a verb that says itself what went wrong."""
    if flags["log.level"] is None:
        flags["log.level"] = "error"
    return start(flags)[0]


def _is_given(flags: dict[str, Any]) -> bool:
    """Whether a configuration was named, by flag or variable."""
    from exporter.config.overlay import given

    return any(given(flag, flags, os.environ) is not None for flag in (CONFIG_FILE, QDRANT_URL))


def _directory(state_dir: Path | None, config_file: Path | None) -> Path:
    """Return the daemon's state directory, by option or as its configuration names it."""
    if state_dir is None and config_file is not None:
        state_dir = or_exit(lambda: read_settings({CONFIG_FILE.name: config_file})).state.dir
    if state_dir is None:
        fail(
            "give --state.dir: it is where the daemon keeps alerts and silences", exit_codes.BAD_CONFIGURATION
        )
    return state_dir


def _or_say(work: Callable[[], T]) -> T:
    """Return what the work returns; what goes wrong is told in one sentence for each problem."""
    from exporter.errors import StateError

    try:
        return or_exit(work)
    except StateError as error:
        fail(str(error), exit_codes.FAILED)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
