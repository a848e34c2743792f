"""Which peers a round of the write canary goes through, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.logs import get_logger
from exporter.model import Reading
from exporter.observe.probes.canary import Canary, Round
from exporter.observe.probes.canary_book import Phase
from exporter.observe.probes.canary_collection import CanaryPeer
from exporter.observe.probes.known import Known, ProbeTarget
from exporter.observe.probes.reasons import Skip

log = get_logger()


class CanaryRounds:
    """The canary of one watched cluster, round after round."""

    def __init__(self, *, cluster: str, canary: Canary, known: Known) -> None:
        self._cluster = cluster
        self._canary = canary
        self._known = known
        self._under_way = False
        self._failing: frozenset[tuple[str, Phase]] = frozenset()

    @property
    def trouble(self) -> str:
        """Why its collection cannot be made, for people; else ""."""
        return self._canary.collection.trouble

    def keep(self, peers: Sequence[str]) -> None:
        """Tell of just these peers."""
        self._canary.book.keep(peers)

    def missed(self, rounds: int) -> None:
        """Count rounds that were due while this daemon stood still."""
        self._canary.book.skipped(Skip.LATE, rounds)

    def skipped(self, reason: Skip) -> None:
        """Count a round that was due and did not run."""
        self._canary.book.skipped(reason)

    def targets(self) -> Sequence[ProbeTarget]:
        """Return the peers for a round now: those not known to be down; none while one is under way.

        None either before the cluster said who belongs to it: the collection's shape hangs on that.
        Without peers of its own a server stands alone, and of several such only the first is asked:
        they would share nothing.
        """
        listed = self._known.peers_listed()
        if self._under_way:
            self.skipped(Skip.CONCURRENCY)
            return ()
        if listed is None:
            return ()
        up = [target for target in self._known.probe_targets() if target.up is not False]
        return [target for target in up if target.peer_id is not None] if len(listed) > 1 else up[:1]

    async def run(self, targets: Sequence[ProbeTarget]) -> Round:
        """Run a round through these peers and return what it came to."""
        listed = self._known.peers_listed() or frozenset()
        keyed = len(listed) > 1
        peers = [CanaryPeer(one.label, one.peer_id if keyed else None, one.writing) for one in targets]
        self._under_way = True
        try:
            made = await self._canary.round(peers, listed)
        finally:
            self._under_way = False
        if not any(target.writing.closed for target in targets):  # else we ended it ourselves
            self._tell(made)
        return made

    def readings(self, interval_seconds: float) -> Iterator[Reading]:
        """Yield all that was measured; `interval_seconds` is the one in force."""
        yield from self._canary.book.readings(self._cluster, interval_seconds)

    def _tell(self, made: Round) -> None:
        """Log the steps that failed, as a warning where they had not in the round before."""
        for (peer, phase), reason in made.failures.items():
            news = (peer, phase) not in self._failing
            level = log.debug if not news else log.error if phase is Phase.PREPARE else log.warning
            level(
                "canary.failed",
                qdrant_cluster=self._cluster,
                peer=peer,
                phase=phase.value,
                reason=self.trouble or reason,
            )
        self._failing = frozenset(made.failures)
