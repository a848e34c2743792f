"""What holds firing alerts back from being told: silences, mute times, inhibition, and our own start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.alerting.alert_book import AlertBook
from exporter.alerting.inhibition import Inhibitor
from exporter.alerting.routing import ResolvedRoute
from exporter.alerting.setup import Setup
from exporter.alerting.silencing import active, next_turn, silenced_by
from exporter.alerting.words import Alert, AlertState, LabelPairs, Silence

SILENCED = "silenced"
INHIBITED = "inhibited"
MUTED = "muted"
UNSEEN = "not seen since the start"

# An alert from before a restart is news to nobody until something was found of it again; whoever
# did not hear it waits so long for that at the most. Four evaluations.
UNSEEN_SECONDS = 60.0


class Holding:
    """Why each firing alert is held back, kept up with what changes."""

    def __init__(self, setup: Setup) -> None:
        self._inhibitor = Inhibitor(pairs=setup.inhibits, rules=setup.rules)
        self._mute_times = setup.mute_times
        self._silences: Sequence[Silence] = ()
        self._in_force: tuple[Silence, ...] = ()
        self._muted: frozenset[str] = frozenset()
        self._silenced: set[str] = set()
        self._inhibited: set[str] = set()
        self._unseen: set[str] = set()
        self._unseen_until = 0.0
        self._news: dict[str, None] = {}  # alerts of which nothing was decided yet
        self._sources_changed = False

    def note(self, alert: Alert, series: LabelPairs) -> None:
        """Take up an alert that began to fire, or let one go that ended."""
        self._sources_changed |= self._inhibitor.note(alert, series)
        if alert.state is AlertState.FIRING:
            self._news.setdefault(alert.fingerprint)
            return
        self._news.pop(alert.fingerprint, None)
        for held in (self._silenced, self._inhibited, self._unseen):
            held.discard(alert.fingerprint)

    def hold_unseen(self, fingerprints: Iterable[str], *, until: float) -> None:
        """Hold alerts back until they are seen, or this Unix time."""
        self._unseen |= set(fingerprints)
        self._unseen_until = until

    def unseen(self) -> tuple[frozenset[str], float]:
        """Return the alerts that were not seen again yet, and how long they are held back."""
        return frozenset(self._unseen), self._unseen_until

    def move_on(self, seconds: float) -> None:
        """Let nothing end by time that did not pass: the clock was put on by so long. Silences are by it."""
        self._unseen_until += seconds
        self._inhibitor.move_on(seconds)

    def seen(self, fingerprint: str) -> None:
        """Note that something was found of an alert."""
        if fingerprint in self._unseen:
            self._unseen.discard(fingerprint)
            self._news.setdefault(fingerprint)

    def renew(self, book: AlertBook, silences: Sequence[Silence], now: float) -> list[str]:
        """Decide anew what holds. Return the alerts for which that may have changed."""
        every = [alert.fingerprint for alert in book.firing()] if self._turns(silences, now) else None
        if self._inhibitor.expire(now) or self._sources_changed:
            self._sources_changed = False
            touched = self._inhibit_again(book)
        else:
            touched = []
        asked = list(self._news) if every is None else every
        self._news = {}
        for fingerprint in asked:
            alert = book.get(fingerprint)
            if alert is not None:
                self._decide(alert, book.series(fingerprint))
        return touched + asked

    def reason(self, fingerprint: str) -> str:
        """Return why an alert is held back from everybody; "" where it is not."""
        if fingerprint in self._silenced:
            return SILENCED
        if fingerprint in self._inhibited:
            return INHIBITED
        return UNSEEN if fingerprint in self._unseen else ""

    def is_muted(self, routes: Sequence[ResolvedRoute]) -> bool:
        """Whether every one of these routes is within a mute time of its own."""
        if not self._muted:
            return False
        return all(not self._muted.isdisjoint(route.mute) for route in routes)

    def next_turn(self, now: float) -> float | None:
        """Return when something may hold no longer, or begin to. Mute times tell no next turn."""
        turns = [self._inhibitor.next_end(), next_turn(self._silences, now)]
        if self._unseen:
            turns.append(self._unseen_until)
        return min((at for at in turns if at is not None), default=None)

    def _turns(self, silences: Sequence[Silence], now: float) -> bool:
        """Take what time and people changed for all alerts. Whether they did."""
        in_force = active(silences, now)
        muted = frozenset(each.name for each in self._mute_times if each.is_muted(now))
        waited = bool(self._unseen) and now >= self._unseen_until
        if waited:
            self._unseen = set()
        changed = waited or in_force != self._in_force or muted != self._muted
        self._silences, self._in_force, self._muted = silences, in_force, muted
        return changed

    def _inhibit_again(self, book: AlertBook) -> list[str]:
        """Decide for every firing alert whether another explains it. Return those that changed."""
        inhibited = {
            alert.fingerprint
            for alert in book.firing()
            if self._inhibitor.inhibits(alert, book.series(alert.fingerprint))
        }
        changed = inhibited ^ self._inhibited
        self._inhibited = inhibited
        return sorted(changed)

    def _decide(self, alert: Alert, series: LabelPairs) -> None:
        silenced = silenced_by(dict(alert.labels), self._in_force) is not None
        inhibited = self._inhibitor.inhibits(alert, series)
        for held, holds in ((self._silenced, silenced), (self._inhibited, inhibited)):
            if holds:
                held.add(alert.fingerprint)
            else:
                held.discard(alert.fingerprint)
