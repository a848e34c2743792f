"""Silences: alerts that match are not told as long as one lasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from exporter.alerting.words import Matcher, Silence, all_match
from exporter.config.matchers import parse_matcher


class SilenceState(StrEnum):
    """Where a silence is in its life."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


def matcher(text: str) -> Matcher:
    """Return the matcher that a person wrote in Alertmanager's syntax.

    Raises ValueError saying what to write.
    """
    return Matcher(*parse_matcher(text))


def matchers(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """Return the matchers of a silence.

    Raises ValueError saying what to write, also where they would silence everything.
    """
    found = tuple(matcher(text) for text in texts)
    if all(one.matches("") for one in found):
        raise ValueError(
            "this would silence every alert, those on new troubles too;"
            ' write a matcher that wants a label, such as alertname="DiskUsed"'
        )
    return found


def state_of(silence: Silence, now: float) -> SilenceState:
    """Return where a silence is in its life at a Unix time."""
    if now >= silence.ends_at:
        return SilenceState.EXPIRED
    return SilenceState.ACTIVE if now >= silence.starts_at else SilenceState.PENDING


def active(silences: Iterable[Silence], now: float) -> tuple[Silence, ...]:
    """Return the silences that are in force."""
    return tuple(silence for silence in silences if state_of(silence, now) is SilenceState.ACTIVE)


def next_turn(silences: Iterable[Silence], now: float) -> float | None:
    """Return when the next of them begins or ends."""
    turns = (at for silence in silences for at in (silence.starts_at, silence.ends_at))
    return min((at for at in turns if at > now), default=None)


def silenced_by(labels: Mapping[str, str], in_force: Iterable[Silence]) -> str | None:
    """Return the id of a silence whose every matcher fits."""
    return next((silence.id for silence in in_force if all_match(silence.matchers, labels)), None)
