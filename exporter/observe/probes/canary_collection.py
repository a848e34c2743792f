"""The write canary's own collection: made where it lacks, brought to the cluster's shape, removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.errors import BadPayload, SourceAuth, SourceError, SourceRefused
from exporter.logs import get_logger
from exporter.qdrant import canary
from exporter.qdrant.asked import Asked
from exporter.qdrant.canary import CANARY_COLLECTION
from exporter.qdrant.lanes import Lanes

log = get_logger()

# Making a key takes a second on three idle peers, for consensus and the shard's start: a loaded cluster
# may need many.
DEADLINE_SECONDS = 30.0

NEEDS_A_KEY = (
    f"the write canary makes its collection {CANARY_COLLECTION} and needs an API key that may manage: "
    "write it as probes.canary.api_key, or switch the canary off"
)
NOT_OURS = (
    f"there is a collection {CANARY_COLLECTION} that no write canary made: remove it or switch the canary off"
)


class StepError(Exception):
    """A request of the canary failed."""

    def __init__(self, failure: SourceError) -> None:
        self.failure = failure
        super().__init__(str(failure))


@dataclass(frozen=True, slots=True)
class CanaryPeer:
    """A peer to write through. `peer_id` is None where the server has no peers beside it."""

    label: str
    peer_id: int | None
    lanes: Lanes

    @property
    def key(self) -> str | None:
        """The key of the shard that lies on it; None where the collection has none."""
        return None if self.peer_id is None else str(self.peer_id)


class CanaryCollection:
    """What must be there before a round. Remembers what is, so that rounds ask once."""

    def __init__(self) -> None:
        self.trouble = ""  # why it cannot be made, for people
        self._prepared_for: frozenset[int | None] = frozenset()
        self._listed: frozenset[int] = frozenset()

    async def prepare(self, peers: Sequence[CanaryPeer], listed: frozenset[int]) -> None:
        """Make the collection, and a key for each of these peers placed on it.

        `listed` are all peers that the cluster lists, those that are down too: a key of any other is
        of a peer that left, and goes. Raises StepError.
        """
        wanted = frozenset(peer.peer_id for peer in peers)
        if wanted <= self._prepared_for and listed == self._listed:
            return
        try:
            await self._make(peers[0])
            if peers[0].key is not None:
                await self._make_keys(peers, listed)
        except StepError as error:
            self.trouble = NEEDS_A_KEY if isinstance(error.failure, SourceAuth) else str(error)
            raise
        except BadPayload as error:
            self.trouble = str(error)
            raise StepError(error) from error
        self.trouble = ""
        self._prepared_for, self._listed = wanted, listed

    def doubt(self) -> None:
        """Look again before the next round: a step failed as it does where a part is missing."""
        self._prepared_for = frozenset()

    async def _make(self, peer: CanaryPeer) -> None:
        custom = peer.key is not None
        described = await _described(peer)
        if described is not None:
            if canary.has_custom_sharding(described) == custom:
                return
            # made when the cluster was one peer, or was more
            log.info("canary.collection_dropped", peer=peer.label, custom_sharding=custom)
            await asked(peer, canary.drop())
        await asked(peer, canary.create(custom_sharding=custom))

    async def _make_keys(self, peers: Sequence[CanaryPeer], listed: frozenset[int]) -> None:
        first = peers[0]
        keys = canary.read_keys(await asked(first, canary.shard_keys()))
        for peer in peers:
            if peer.peer_id is not None and peer.key not in keys:
                await asked(first, canary.create_key(peer.peer_id))
        for key in keys - {str(peer_id) for peer_id in listed}:
            await asked(first, canary.delete_key(key))


async def asked(peer: CanaryPeer, what: Asked) -> bytes:
    """Send a request and return the body of its answer. Raises StepError."""
    timed = await peer.lanes.call(what.request, endpoint=what.endpoint, deadline_seconds=DEADLINE_SECONDS)
    if timed.failure is not None:
        raise StepError(timed.failure)
    return timed.body


async def remove(peer: CanaryPeer) -> bool:
    """Delete the collection with everything in it; return whether there was one. Raises StepError."""
    if await _described(peer) is None:
        return False
    await asked(peer, canary.drop())
    return True


async def _described(peer: CanaryPeer) -> bytes | None:
    """Return what describes the collection, None where there is none. Raises StepError, also if not ours."""
    try:
        described = await asked(peer, canary.describe())
    except StepError as error:
        if isinstance(error.failure, SourceRefused) and error.failure.status == 404:
            return None
        raise
    try:
        ours = canary.is_ours(described)
    except BadPayload as error:
        raise StepError(error) from error
    if not ours:
        raise StepError(SourceRefused(canary.ENDPOINT, NOT_OURS, status=409))
    return described
