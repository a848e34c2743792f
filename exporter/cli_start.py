"""What all verbs share: the flags of the table, settings and logging, exit codes, one way to fail."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, TypeVar

import typer

from exporter import exit_codes
from exporter.config.flags import FLAGS, Flag, FlagKind

if TYPE_CHECKING:
    from rich.console import Console

    from exporter.config.settings import Settings
    from exporter.logs import Redactor

T = TypeVar("T")


# A collection's name has up to 255 characters, each up to 10 wide where it is escaped; the rest is numbers.
WIDTH_WITHOUT_TERMINAL = 4_000


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


def read_settings(flags: dict[str, Any], *, needs_cluster: bool = True) -> Settings:
    """Read file, variables and flags. Raises ConfigError with every problem."""
    from exporter.config.loader import load

    return load(None, flags, os.environ, needs_cluster=needs_cluster)


def start(flags: dict[str, Any], *, needs_cluster: bool = True) -> tuple[Settings, Redactor]:
    """Read the settings and start logging; all problems go to stderr, exit code 2."""
    from exporter.config.checks import warnings_of
    from exporter.logs import Redactor, configure, get_logger

    settings = or_exit(lambda: read_settings(flags, needs_cluster=needs_cluster))
    redactor = Redactor()
    redactor.hide(secret.reveal() for secret in settings.secrets())
    configure(level=settings.log.level, format=settings.log.format, redactor=redactor)
    for warning in warnings_of(settings):
        get_logger().warning("configuration.doubtful", reason=warning)
    return settings, redactor


def or_exit(read: Callable[[], T]) -> T:
    """Return what is read; all that is wrong with it goes to stderr, exit code 2."""
    from exporter.errors import ConfigError

    try:
        return read()
    except ConfigError as error:
        fail(str(error), exit_codes.BAD_CONFIGURATION)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a verb's body; what goes wrong on the way is one sentence on stderr.

    Exit code 2 where the configuration or the state directory cannot be used; of jobs 4 where they refuse,
    10 where there is no such backup, 11 where another run holds the lock; else 1. SIGTERM ends it in peace,
    as Ctrl-C does: what it holds is let go.
    """
    from exporter.errors import ConfigError, ExporterError, JobLocked, JobRefused, StateError, StoreMissing

    try:
        return asyncio.run(_until_told(work))
    except KeyboardInterrupt:
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    except (ConfigError, StateError) as error:
        fail(str(error), exit_codes.BAD_CONFIGURATION)
    except JobRefused as error:
        fail(str(error), exit_codes.REFUSED)
    except StoreMissing as error:
        fail(str(error), exit_codes.NOTHING_FOUND)
    except JobLocked as error:
        fail(str(error), exit_codes.LOCKED)
    except (ExporterError, OSError) as error:
        fail(str(error), exit_codes.FAILED)


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; SIGTERM cancels it. Raises Exit then. Who handles that signal himself goes on doing so."""
    loop, doing = asyncio.get_running_loop(), asyncio.ensure_future(work)
    told = False

    def end() -> None:
        nonlocal told
        told = True
        doing.cancel()

    # only the main thread may handle signals
    with suppress(ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGTERM, end)
    try:
        return await doing
    except asyncio.CancelledError:
        if told:
            raise typer.Exit(exit_codes.TERMINATED) from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def rewrite(stream: TextIO, *, encoding: str | None = None, errors: str | None = None) -> None:
    """Change how a stream writes what its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):  # not so where a caller of ours put something else in place
        stream.reconfigure(encoding=encoding, errors=errors)


def fail(message: str, code: int) -> NoReturn:
    """End the verb with a sentence on stderr."""
    typer.echo(message, err=True)
    sys.exit(code)


def one_of(option: str, value: str, known: list[str]) -> None:
    """Refuse a word that an option does not know, saying which it does."""
    if value not in known:
        others = f"{', '.join(known[:-1])} or {known[-1]}"
        fail(f"{option}: there is no {value!r}; write {others}", exit_codes.BAD_CONFIGURATION)


def console() -> Console:
    """Return stdout. A pipe has no width: what is read by a program stays one line an entry."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)


def errors_console() -> Console:
    """Return stderr, for bars and what goes beside the answer."""
    from rich.console import Console

    return Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH_WITHOUT_TERMINAL)
