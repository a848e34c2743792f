"""The words of jobs: a run of one, why it was made, what came of it. No I/O.

Runs are stored, so a word is never renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Figure = int | float | str

_TOLD = 5  # collections that the detail of a run names; all of them are in its parts


class Outcome(StrEnum):
    """How a run ended, or why there was none."""

    OK = "ok"
    PARTLY = "partly"  # some collections, not all
    FAILED = "failed"
    MISSED = "missed"  # nothing ran here when it was due, and it was too late to make up for it
    SKIPPED = "skipped"  # it was due, and there was a reason not to begin
    INTERRUPTED = "interrupted"  # the process ended in the middle of it
    CANCELLED = "cancelled"  # ended by us, before its end: the daemon was told to stop


class Cause(StrEnum):
    """Why a run was made."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch_up"  # for one that was due and did not come about, or not to its end
    PERSON = "person"


class Reason(StrEnum):
    """Why it was no success, in one word; also of each collection. Values of the label `reason`."""

    NONE = ""
    OVERLAP = "overlap"  # its last run was not over
    LOCKED = "locked"  # another works on it
    MISSED = "missed"
    EMPTY = "empty"  # no collection is selected
    STOPPING = "stopping"  # the daemon was told to stop
    DEADLINE = "deadline"
    STORE = "store"  # the store of backups says no
    RIGHTS = "rights"  # the key may not do it
    REFUSED = "refused"  # it would do harm
    BAD = "bad"  # a backup was looked at, and is not what it should be
    FAILED = "failed"  # anything else; the detail says what


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one collection in a run."""

    collection: str  # "": of the cluster as a whole
    outcome: Outcome
    reason: Reason = Reason.NONE
    detail: str = ""  # for people; holds no secret
    took_seconds: float = 0.0
    figures: dict[str, Figure] = field(default_factory=dict)  # "set", "points", "bytes", "level", ...


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job, or one that did not come about. Times are Unix seconds."""

    id: int
    job: str
    cluster: str
    kind: str
    cause: Cause
    planned_at: float
    started_at: float | None = None  # None: it never began
    heartbeat_at: float | None = None
    ended_at: float | None = None  # None: it is under way
    outcome: Outcome | None = None
    reason: Reason = Reason.NONE
    detail: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def took_seconds(self) -> float | None:
        """How long it took; None where it never began or is not over."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, self.ended_at - self.started_at)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run as a whole came to."""

    outcome: Outcome
    reason: Reason
    detail: str


def judge(parts: Sequence[Part]) -> Verdict:
    """Say what a run came to. A skip is no success: all of it skipped is skipped, some of it is partly."""
    bad = [part for part in parts if part.outcome is not Outcome.OK]
    if not parts:
        return Verdict(Outcome.SKIPPED, Reason.EMPTY, "no collection is selected")
    if not bad:
        return Verdict(Outcome.OK, Reason.NONE, _counted(len(parts)))
    detail = "; ".join(_told(part) for part in bad[:_TOLD])
    if len(bad) > _TOLD:
        detail += f"; and {len(bad) - _TOLD} more"
    if len(bad) < len(parts) or any(part.outcome is Outcome.PARTLY for part in bad):
        done = len(parts) - len(bad)
        return Verdict(Outcome.PARTLY, bad[0].reason, f"{done} of {_counted(len(parts))}; {detail}")
    skipped = all(part.outcome is Outcome.SKIPPED for part in bad)
    return Verdict(Outcome.SKIPPED if skipped else Outcome.FAILED, _first_failure(bad).reason, detail)


def _first_failure(bad: Sequence[Part]) -> Part:
    return next((part for part in bad if part.outcome is not Outcome.SKIPPED), bad[0])


def _counted(number: int) -> str:
    return "1 collection" if number == 1 else f"{number} collections"


def _told(part: Part) -> str:
    return f"{part.collection}: {part.detail}" if part.collection else part.detail
