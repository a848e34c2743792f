"""When a vacuum is over, and how it ended. Pure: looks go in, an end comes out once there is one.

Green alone is a race: the server answers a PATCH before it has planned anew. So the victims' segments must
be gone, and looks over some seconds must show nothing that runs or waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporter.backup.calling import Limits
from exporter.backup.thresholds.optimizing import CANCELLED, ERROR, RUNNING, YELLOW, Optimizing, RunSeen
from exporter.operations.vacuum.planning import left_of
from exporter.operations.vacuum.words import Settings, VacuumOutcome, Victim, segments_text
from exporter.printable import printable

QUIET_SECONDS = 5.0  # between the first and the last of the looks that show nothing
# A rewrite begins 2 ms after the PATCH (seen on 1.18.3). Before 1.18.1 the PATCH waits for what runs, and
# nothing ran: half a minute is a server that will not begin.
START_SECONDS = 30.0

RunKey = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class End:
    """How it ended."""

    outcome: VacuumOutcome
    detail: str  # for people


class Watch:
    """What the looks since a vacuum was triggered show, taken together."""

    def __init__(
        self, victims: Iterable[Victim], put: Settings, before: Optimizing, *, at: float, limits: Limits
    ) -> None:
        self._victims = tuple(victims)
        self._put = put  # the thresholds in force meanwhile
        self._old = {_key(run) for run in before.runs}
        self._began = self._heard = at  # monotonic seconds
        self._limits = limits
        self._quiet_since: float | None = None
        self._rewritten_since: float | None = None  # from then on no victim was left
        self._runs: dict[RunKey, RunSeen] = {}  # the log keeps 16 of a shard: what was seen is kept here
        self.left = self._victims

    @property
    def is_quiet(self) -> bool:
        """The last look showed nothing that runs or waits."""
        return self._quiet_since is not None

    @property
    def runs(self) -> tuple[RunSeen, ...]:
        """The runs that began since."""
        return tuple(self._runs.values())

    @property
    def cancelled(self) -> tuple[RunSeen, ...]:
        """Those of them that a change of settings ended, or a stop of the server."""
        return tuple(run for run in self.runs if run.outcome == CANCELLED)

    def seen(self, now: Optimizing, *, at: float) -> End | None:
        """Take one look in; return the end once there is one."""
        self._runs |= {_key(run): run for run in now.runs if _key(run) not in self._old}
        if now.silent:
            return self._lost(now, at)
        self._heard = at
        self.left = left_of(self._victims, now.segments, self._put)
        if not (now.is_quiet or _is_stopped(now)):
            self._quiet_since = None
            return self._kept_busy(now, at)
        if self._quiet_since is None:
            self._quiet_since = at
        if at - self._quiet_since < QUIET_SECONDS:
            return None
        return self._ended(now, at)

    def _kept_busy(self, now: Optimizing, at: float) -> End | None:
        """Writers may keep the optimizers busy for ever: that is the reconciler's to wait for."""
        if self.left:
            self._rewritten_since = None
            return None
        if self._rewritten_since is None:
            self._rewritten_since = at
        if at - self._rewritten_since < self._limits.busy_seconds:
            return None
        words = f"{segments_text(len(self._victims))} rewritten, and it was not quiet since"
        return End(VacuumOutcome.DONE, f"{words}: {now.why_not_quiet}")

    def _lost(self, now: Optimizing, at: float) -> End | None:
        """A peer that does not answer may be restarting, and may be rewriting all the same."""
        self._quiet_since = None
        if at - self._heard < self._limits.lost_seconds:
            return None
        silent = ", ".join(printable(label) for label in sorted(now.silent))
        words = f"{silent} did not answer for {self._limits.lost_seconds:g} s"
        return End(VacuumOutcome.LOST, f"{words}, so nobody can say what became of it")

    def _ended(self, now: Optimizing, at: float) -> End | None:
        """Say how it ended, now that nothing runs or waits any more; None: it may still begin."""
        failure = self._failure(now)
        if failure:
            return End(VacuumOutcome.FAILED, failure)
        if not self.left and not now.is_grey:
            return End(VacuumOutcome.DONE, f"{segments_text(len(self._victims))} rewritten")
        if at - self._began < START_SECONDS:
            return None
        if now.is_grey:
            words = "a server restarted meanwhile: what is left waits there for the next update (grey)"
            return End(VacuumOutcome.PARTLY, words)
        if not self._runs:
            return End(VacuumOutcome.UNTOUCHED, "no optimizer took anything up")
        words = (
            f"{len(self.left)} of {len(self._victims)} segments were not rewritten, and nothing runs any more"
        )
        return End(VacuumOutcome.PARTLY, words)

    def _failure(self, now: Optimizing) -> str:
        for peer in now.peers:
            if peer.optimizer_error:
                return f"an optimizer stopped on {printable(peer.label)}: {printable(peer.optimizer_error)}"
        failed = next((run for run in self.runs if run.outcome == ERROR), None)
        if failed is None or not self.left:
            return ""
        return f"{printable(failed.name)} failed on {printable(failed.peer)}: {printable(failed.detail)}"


def ended_runs(runs: Iterable[RunSeen]) -> int:
    """Return how many of these are over."""
    return sum(run.outcome != RUNNING for run in runs)


def _is_stopped(now: Optimizing) -> bool:
    """An error ended what ran, and what is left waits: nothing takes it up before the next update."""
    has_failed = any(peer.optimizer_error for peer in now.peers)
    return has_failed and not now.running and YELLOW not in now.statuses


def _key(run: RunSeen) -> RunKey:
    return run.peer, run.shard, run.uuid
