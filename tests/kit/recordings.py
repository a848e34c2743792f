"""Answers of real Qdrant servers, by name. What the names mean: tests/recordings/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"


@dataclass(frozen=True, slots=True)
class Recording:
    """One request and what the server said to it. `json` is None where the body was not JSON."""

    name: str  # "v1.18.3/single/green/telemetry_4"
    request: Mapping[str, Any]  # method, path, sometimes the body; empty for uploads
    status: int
    headers: Mapping[str, str]  # the chosen few, lower case
    seconds: float  # as measured by the client
    json: Any
    text: str | None

    @property
    def path(self) -> str:
        """The path that was asked for, with its query."""
        return str(self.request["path"])

    @property
    def body(self) -> bytes:
        """The body as bytes: JSON written compactly, or the text itself."""
        if self.json is not None:
            return json.dumps(self.json, ensure_ascii=False, separators=(",", ":")).encode()
        return (self.text or "").encode()


def recording(name: str) -> Recording:
    """Read one recording by its path below tests/recordings, without the suffix.

    Each call reads the file anew, so a test may alter what it got.
    Raises FileNotFoundError when there is none of that name.
    """
    held = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return Recording(
        name=name,
        request=held.get("request", {}),
        status=held["status"],
        headers=held.get("headers", {}),
        seconds=held.get("seconds", 0.0),
        json=held.get("json"),
        text=held.get("text"),
    )


def states() -> tuple[str, ...]:
    """Name every folder that holds recordings: "v1.18.3/cluster/02_healthy/peer0", sorted."""
    folders = {path.parent for path in RECORDINGS.rglob("*.json")}
    return tuple(sorted(folder.relative_to(RECORDINGS).as_posix() for folder in folders))


def recordings_of(state: str) -> Iterator[Recording]:
    """Yield every recording of one state, by name."""
    for path in sorted((RECORDINGS / state).glob("*.json")):
        yield recording(f"{state}/{path.stem}")
