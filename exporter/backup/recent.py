"""What peers told last of all their collections at once, so that each backup of a run need not ask for it.

Telemetry of level 3 holds every collection of a peer, which costs the server 0.1 ms each: asked twice for
every backup, a thousand collections would cost it minutes. What was told after one backup serves the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.clock import Clock

# Older than this, more is likely to have happened since than while a small collection is backed up.
RECENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Telemetry of one peer. `asked_at`: when it was asked for, in monotonic seconds."""

    asked_at: float
    body: bytes = field(repr=False)


class Recent:
    """The newest answer of each peer. Of one run: it holds a kilobyte or two for each collection."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[str, Answer] = {}  # by the peer's label

    def keep(self, peer: str, answer: Answer) -> None:
        """Keep what a peer told, in place of what it told before."""
        self._answers[peer] = answer

    def of(self, peer: str) -> Answer | None:
        """Return what a peer told; None where that is too long ago."""
        answer = self._answers.get(peer)
        if answer is None or self._clock.monotonic() - answer.asked_at > RECENT_SECONDS:
            return None
        return answer

    def forget(self) -> None:
        """Have everything asked for anew."""
        self._answers.clear()
