"""`silence add`, `silence list` and `silence expire`, in the state directory, where a daemon sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.alert_verbs.alerts import Output
from exporter.alert_verbs.stored_state import is_in_use, opened
from exporter.alerting import stored
from exporter.alerting.receivers.wire import rfc3339
from exporter.alerting.silencing import SilenceState, matchers, state_of
from exporter.alerting.spoken import moment
from exporter.alerting.words import AlertState, Matcher, Silence, all_match
from exporter.clock import Clock
from exporter.config.quantities import format_duration, parse_duration
from exporter.errors import ConfigError, Problem, StateError
from exporter.printable import printable

T = TypeVar("T")

SHORTEST_SECONDS = 60.0
# What is to be silent for longer is a rule to switch off or a limit to change, where others see it.
LONGEST_SECONDS = 90 * 86_400.0


def add(
    directory: Path, wanted: Sequence[str], *, lasts: str, author: str, comment: str, clock: Clock
) -> list[str]:
    """Store a silence and return what to say. Raises ConfigError for what was typed, and StateError."""
    now = clock.now()
    silence = _checked(wanted, lasts, author, comment, now)
    with opened(directory, clock=clock) as store:
        stored.put_silence(store, silence, now=now)
        firing = [alert for alert in stored.alerts(store) if alert.state is AlertState.FIRING]
    held = sum(all_match(silence.matchers, dict(alert.labels)) for alert in firing)
    lines = [
        f"silence {silence.id} until {moment(silence.ends_at)}: {', '.join(map(str, silence.matchers))}",
        f"{held} of {len(firing)} firing alerts match it; a resolve of what was told comes all the same",
    ]
    if not is_in_use(directory):
        lines.append(f"no daemon runs on {directory}; the next one keeps to it")
    return lines


def expire(directory: Path, silence_id: str, *, clock: Clock) -> str:
    """End a silence now. Raises StateError where no running one has this id, or several begin with it."""
    with opened(directory, clock=clock) as store:
        ended = stored.expire_silence(store, silence_id, now=clock.now())
        if ended is not None:
            return f"silence {ended.id} is over"
        running = [one.id for one in stored.silences(store) if one.ends_at > clock.now()]
    known = f"running are: {', '.join(running)}" if running else "none is running"
    raise StateError(f"not one running silence has the id {printable(silence_id)}; {known}")


def show(directory: Path, output: Output, console: Console, *, clock: Clock, also_over: bool) -> None:
    """Show the silences, and with `also_over` those that ended in the last 30 days. Raises StateError."""
    now = clock.now()
    with opened(directory, clock=clock) as store:
        found = [
            silence
            for silence in stored.silences(store)
            if also_over or state_of(silence, now) is not SilenceState.EXPIRED
        ]
    if output is Output.JSON:
        console.out(json.dumps([_document(silence, now) for silence in found], indent=2), highlight=False)
    elif not found:
        console.print("Nothing is silenced.")
    else:
        table = Table("id", "state", "matchers", "until", "author", "comment")
        for silence in found:
            table.add_row(
                Text(silence.id),
                Text(state_of(silence, now).value),
                Text(printable(", ".join(map(str, silence.matchers)))),
                Text(moment(silence.ends_at)),
                Text(printable(silence.author)),
                Text(printable(silence.comment)),
            )
        console.print(table)


def _checked(wanted: Sequence[str], lasts: str, author: str, comment: str, now: float) -> Silence:
    """Make a silence of what was typed. Raises ConfigError with every problem."""
    problems: list[Problem] = []

    def read(option: str, function: Callable[[], T], instead: T) -> T:
        try:
            return function()
        except ValueError as error:
            problems.append(Problem("", None, option, str(error)))
            return instead

    nothing: tuple[Matcher, ...] = ()
    silence = Silence(
        id=str(uuid4()),
        matchers=read("MATCHER", lambda: matchers(wanted), nothing),
        author=read("--author", lambda: _said(author), ""),
        comment=read("--comment", lambda: _said(comment), ""),
        starts_at=now,
        ends_at=now + read("--for", lambda: _seconds(lasts), 0.0),
        created_at=now,
    )
    if problems:
        raise ConfigError(problems)
    return silence


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; others want to know it")
    return text.strip()


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        bounds = f"{format_duration(SHORTEST_SECONDS)} to {format_duration(LONGEST_SECONDS)}"
        raise ValueError(f"write {bounds}; to be silent for longer, switch the rule off in the configuration")
    return seconds


def _document(silence: Silence, now: float) -> dict[str, Any]:
    return {
        "id": silence.id,
        "status": {"state": state_of(silence, now).value},
        "matchers": [
            {"name": one.name, "value": one.value, "isRegex": one.regex, "isEqual": not one.negative}
            for one in silence.matchers
        ],
        "startsAt": rfc3339(silence.starts_at),
        "endsAt": rfc3339(silence.ends_at),
        "createdBy": silence.author,
        "comment": silence.comment,
    }
