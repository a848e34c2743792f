"""The verbs, thin. Heavy imports wait until a verb needs them: `--help` answers at once."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, TypeVar

import typer

from exporter import __version__
from exporter.config.flags import FLAGS, Flag, FlagKind

if TYPE_CHECKING:
    from exporter.config.settings import Settings
    from exporter.logs import Redactor

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_BAD_CONFIGURATION = 2

# A collection's name has up to 255 characters, each up to 10 wide where it is escaped; the rest is numbers.
WIDTH_WITHOUT_TERMINAL = 4_000

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


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # a collection's name that the terminal's encoding lacks must not end the verb
        _rewrite(stream, errors="backslashreplace")
    app()


def with_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb every flag of the table; it receives them as one dict `flags`, by flag name."""
    # evaluated here: typer takes a signature that is set as it is, and text tells it no option, help or bound
    parameters = inspect.signature(verb, eval_str=True).parameters
    own = [parameter for name, parameter in parameters.items() if name != "flags"]
    names = {flag.name.replace(".", "_").replace("-", "_"): flag for flag in FLAGS}

    def called(**arguments: Any) -> None:
        flags = {flag.name: arguments.pop(name) for name, flag in names.items()}
        verb(flags=flags, **arguments)

    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(flag))
        for name, flag in names.items()
    ]
    called.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in [*own, *options]}
    called.__name__, called.__doc__ = verb.__name__, verb.__doc__
    return called


def _option(flag: Flag) -> Any:
    kind: Any = bool if flag.kind is FlagKind.SWITCH else list[str] if flag.repeatable else str
    metavar = None if flag.kind is FlagKind.SWITCH else flag.placeholder or "|".join(flag.choices)
    help_text = f"{flag.what} [{flag.variable}]"
    if flag.kind is FlagKind.SWITCH:
        return Annotated[kind | None, typer.Option(flag.option, help=help_text, show_default=False)]
    return Annotated[kind | None, typer.Option(flag.option, help=help_text, metavar=metavar)]


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

    settings, redactor = _start(flags)
    daemon = Daemon(settings=settings, read_settings=lambda: _read(flags), redactor=redactor)
    _run(daemon.run())


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)],
) -> None:
    """Check a configuration file: every problem at once, with line and what to write instead."""
    from exporter.config.checks import warnings_of
    from exporter.config.loader import load

    settings = _or_exit(lambda: load(config, {}, os.environ))
    for warning in warnings_of(settings):
        typer.echo(f"{config}: warning: {warning}", err=True)
    clusters = ", ".join(cluster.name for cluster in settings.clusters)
    typer.echo(f"{config}: good; clusters: {clusters}")


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
    from rich.console import Console

    from exporter.once import Output
    from exporter.once import once as look_once

    if output not in list(Output):
        _fail(f"--output: there is no {output!r}; write table, json or prometheus", EXIT_BAD_CONFIGURATION)
    if flags["log.level"] is None:
        flags["log.level"] = "error"  # what failed stands in the table
    settings, _ = _start(flags)
    if output == Output.PROMETHEUS:
        _rewrite(sys.stdout, encoding="utf-8")  # the format's own, whatever the terminal's is
    # a pipe has no width: what is read by a program stays one line an entry
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    raise typer.Exit(_run(look_once(settings, Output(output), Console(width=width))))


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

    if output not in list(Output):
        _fail(f"--output: there is no {output!r}; write text or json", EXIT_BAD_CONFIGURATION)
    if flags["log.level"] is None:
        flags["log.level"] = "error"  # what failed is told in words
    settings, _ = _start(flags)
    wanted = Wanted(
        collection=collection, count=count, cluster=cluster, peer=peer, vector=vector, hnsw_ef=hnsw_ef,
        limit=limit, recall=not no_recall, output=Output(output),
    )  # fmt: skip
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    raise typer.Exit(_run(probe_once(settings, wanted, Console(width=width), Console(stderr=True))))


@app.command()
def catalog() -> None:
    """Print every metric and source as Markdown."""
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

    _run(play(listen_address))


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

    _run(serve(port, data))


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
        _fail("give --state.dir: it is where the daemon remembers peers", EXIT_BAD_CONFIGURATION)
    try:
        typer.echo(forget_peer(state_dir, cluster, peer, clock=SystemClock()))
    except StateError as error:
        _fail(str(error), EXIT_FAILED)


@canary.command()
@with_flags
def remove(*, flags: dict[str, Any]) -> None:
    """Delete the collection that the write canary made, from every cluster."""
    from exporter.canaries import remove_canaries

    settings, _ = _start(flags)
    lines, code = _run(remove_canaries(settings))
    for line in lines:
        typer.echo(line, err=code != 0)
    raise typer.Exit(code)


def _read(flags: dict[str, Any]) -> Settings:
    from exporter.config.loader import load

    return load(None, flags, os.environ)


def _start(flags: dict[str, Any]) -> tuple[Settings, Redactor]:
    """Read the settings and start logging; all problems go to stderr, exit code 2."""
    from exporter.config.checks import warnings_of
    from exporter.logs import Redactor, configure, get_logger

    settings = _or_exit(lambda: _read(flags))
    redactor = Redactor()
    redactor.hide(secret.reveal() for secret in settings.secrets())
    configure(level=settings.log.level, format=settings.log.format, redactor=redactor)
    for warning in warnings_of(settings):
        get_logger().warning("configuration.doubtful", reason=warning)
    return settings, redactor


def _or_exit(read: Callable[[], Settings]) -> Settings:
    from exporter.errors import ConfigError

    try:
        return read()
    except ConfigError as error:
        _fail(str(error), EXIT_BAD_CONFIGURATION)


def _run(work: Coroutine[Any, Any, T]) -> T:
    from exporter.errors import ConfigError, ExporterError

    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ConfigError as error:
        _fail(str(error), EXIT_BAD_CONFIGURATION)
    except (ExporterError, OSError) as error:
        _fail(str(error), EXIT_FAILED)


def _rewrite(stream: TextIO, *, encoding: str | None = None, errors: str | None = None) -> None:
    if isinstance(stream, io.TextIOWrapper):  # not so where a caller of ours put something else in place
        stream.reconfigure(encoding=encoding, errors=errors)


def _needs_engine() -> None:
    from importlib.util import find_spec

    if find_spec("qdrant_edge") is None:
        _fail("this needs the extra demo: pip install 'qdrant-exporter[demo]'", EXIT_FAILED)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)
