"""One case of the golden table of retention: how it is written, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from exporter.backup.retention import NO_RULE, decide
from exporter.backup.words import Level, Proof, SetState, StoredSet
from exporter.config.backup import RetentionSettings
from tests.kit.sets import exported, manifest

# Every rule off but the one that cannot be: each case switches on what it is about.
NO_RULES = {"last": 1, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "yearly": 0}
STEPS = {"hours": 1, "days": 24}


def seconds(when: str) -> float:
    """Return the Unix seconds of "2026-11-26 02:30", in UTC."""
    return datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()


def written(at: float) -> str:
    """Return a moment as the table has it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def stored_set(when: str, marks: str = "") -> StoredSet:
    """Return a set that was finished then: good, but for its marks.

    degraded, incomplete; unproven (no proof), bad@WHEN (a failed proof); accepted; export; twin (another id).
    """
    at = seconds(when)
    words = marks.split(", ") if marks else []
    state = next((SetState(word) for word in words if word in list(SetState)), SetState.COMPLETE)
    proofs = [] if "unproven" in words or state is SetState.INCOMPLETE else [proof(Level.HASHED, at)]
    proofs += [
        proof(Level.OPENED, seconds(word.removeprefix("bad@")), good=False)
        for word in words
        if word.startswith("bad@")
    ]
    stamp = datetime.fromtimestamp(at, UTC)
    make = exported if "export" in words else manifest
    made = make(
        id=f"{stamp:%Y%m%dT%H%M%SZ}-00000{int('twin' in words)}", started_at=at - 60, ended_at=at, state=state
    )
    return StoredSet(made, tuple(proofs), accepted="accepted" in words)


def proof(level: Level, at: float, *, good: bool = True) -> Proof:
    """Return a proof with nothing to say."""
    return Proof(level, at, good=good, problems=() if good else ("no",), by="", took_seconds=1.0)


def sets_of(case: Mapping[str, Any]) -> list[StoredSet]:
    """Return the sets of a case, in the order in which they are written."""
    return [one for line in case["sets"] for one in _line(line)]


def decided(case: Mapping[str, Any]) -> tuple[list[str], int]:
    """Return a line for each set that stays or has a reason of its own to go, and how many others go."""
    policy = RetentionSettings.model_validate({**NO_RULES, **case.get("policy", {})})
    sets = sets_of(case)
    names = {one.manifest.id: written(one.manifest.ended_at) for one in sets}
    names |= {set_id: f"{name} (twin)" for set_id, name in names.items() if set_id.endswith("1")}
    zone = ZoneInfo(case.get("zone", "UTC"))
    lines, others = [], 0
    for decision in decide(sets, policy, seconds(case["now"]), zone):
        if not decision.keep and decision.reasons == (NO_RULE,):
            others += 1
            continue
        word = "keep" if decision.keep else "go"
        lines.append(f"{names[decision.set_id]} {word}: {'; '.join(decision.reasons)}")
    return lines, others


def _line(line: str) -> Iterator[StoredSet]:
    """Read "WHEN", "WHEN: marks" or "WHEN every 2 days, 30 times"."""
    if " every " in line:
        first, rest = line.split(" every ")
        step, times = rest.removesuffix(" times").split(", ")
        count, unit = step.split(" ")
        start = datetime.fromisoformat(first)
        for number in range(int(times)):
            at = start + timedelta(hours=number * int(count) * STEPS[unit])
            yield stored_set(at.isoformat(sep=" "))
        return
    when, _, marks = line.partition(": ")
    yield stored_set(when, marks)
