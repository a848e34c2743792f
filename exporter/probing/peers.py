"""The configured peers of one cluster: the one to search through, and what the segments of all served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from exporter.clock import Clock
from exporter.config.addresses import authority_of
from exporter.config.clusters import ClusterSettings
from exporter.errors import SourceError
from exporter.observe.polled import gateway_to
from exporter.observe.probes.plan import Plan, PlanWatch
from exporter.observe.roster import Origin, Target
from exporter.observe.sources import aliases, segments, telemetry
from exporter.observe.sources.remembered import Remembered
from exporter.observe.sources.segments import SegmentsSeen, ShardSegmentsSeen
from exporter.observe.sources.telemetry import CollectionSeen, TelemetrySeen
from exporter.probing.report import EXIT_BAD_USAGE, EXIT_FAILED, NotProbed, in_words
from exporter.qdrant.gateway import Gateway
from exporter.qdrant.payloads import Telemetry, result

# Enough to find a typing error; a thousand names would hide the message.
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reached:
    """The peer to search through, its telemetry, and the peers before it with why they did not answer."""

    target: Target
    seen: TelemetrySeen
    silent: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Named:
    """What a name leads to. `alias` where the name is a second one."""

    collection: CollectionSeen
    alias: str | None


class Peers:
    """Connects at the first call; close() ends it. Raises NotProbed where nothing can be searched."""

    def __init__(self, *, settings: ClusterSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._gateways: dict[str, Gateway] = {}
        name = settings.name
        written = [Target(name, peer.label, peer.url, Origin.CONFIGURED) for peer in settings.peers]
        written += [Target(name, authority_of(url), url, Origin.DNS) for url in settings.dns]
        self._targets = {target.label: target for target in written}

    async def reach(self, label: str | None) -> Reached:
        """Return the first peer whose telemetry answers, or the one of this label."""
        if label is not None and label not in self._targets:
            possible = ", ".join(self._targets)
            raise NotProbed(
                f"--peer: cluster {self._settings.name} has no peer {label!r}; write one of {possible}",
                code=EXIT_BAD_USAGE,
            )
        silent: dict[str, str] = {}
        for target in self._targets.values() if label is None else (self._targets[label],):
            try:
                body = await self._get(target.label, telemetry.PATH, telemetry.ENDPOINT)
                told = result(body, Telemetry, telemetry.ENDPOINT)
            except SourceError as error:
                silent[target.label] = in_words(error)
                continue
            seen = telemetry.read(told, Remembered(endpoint=telemetry.ENDPOINT), telemetry.Parts())
            return Reached(target, seen, silent)
        reasons = [f"{peer}: {why}" for peer, why in silent.items()]
        raise NotProbed("\n".join(["no peer could be asked:", *reasons]), code=EXIT_FAILED)

    async def find(self, reached: Reached, name: str) -> Named:
        """Return the collection of this name, or the one that this alias leads to."""
        known = reached.seen.collections
        if name in known:
            return Named(known[name], None)
        try:
            body = await self._get(reached.target.label, aliases.ENDPOINT, aliases.ENDPOINT)
            second: Mapping[str, str] = aliases.read(body).collections
            unread = ""
        except SourceError as error:
            second, unread = {}, f"; whether it is an alias is not known: {in_words(error)}"
        behind = second.get(name, name)
        if behind in known:
            return Named(known[behind], name)
        if behind in reached.seen.unreadable:
            raise NotProbed(f"what the server tells of collection {behind!r} does not read", code=EXIT_FAILED)
        raise NotProbed(
            f"there is no collection or alias {name!r}{unread}; {_near(name, [*known, *second])}",
            code=EXIT_BAD_USAGE,
        )

    async def segments(self, without: Iterable[str] = ()) -> Mapping[str, SegmentsSeen]:
        """Return what the segments of each peer served so far, by process id; one that fails is left out.

        A peer under two URLs is one process.
        """
        labels = [label for label in self._targets if label not in set(without)]
        looks = await asyncio.gather(*(self._segments_of(label) for label in labels))
        return {seen.process_id: seen for seen in looks if seen is not None}

    async def close(self) -> None:
        """Close every connection."""
        for gateway in self._gateways.values():
            await gateway.close()

    async def _segments_of(self, label: str) -> SegmentsSeen | None:
        try:
            body = await self._get(label, segments.PATH, segments.ENDPOINT)
            return segments.read(body, Remembered(endpoint=segments.ENDPOINT))
        except SourceError:
            return None

    async def _get(self, label: str, path: str, endpoint: str) -> bytes:
        if label not in self._gateways:
            self._gateways[label] = gateway_to(self._targets[label], self._settings, self._clock)
        deadline = self._settings.poll.deadline_seconds
        answer = await self._gateways[label].get(path, endpoint=endpoint, deadline_seconds=deadline)
        return answer.body


class PlanLooks:
    """The plan of each vector's searches, from a look at the segments before them and one after."""

    def __init__(self, *, peers: Peers, collection: CollectionSeen, silent: Iterable[str]) -> None:
        self._peers = peers
        self._collection = collection
        self._silent = tuple(silent)  # asked once in vain: not again
        self._watch = PlanWatch()
        self._searched: set[str] = set()
        self._processes: frozenset[str] = frozenset()

    async def before(self) -> None:
        """Look for the first time."""
        seen = await self._peers.segments(self._silent)
        self._processes = frozenset(seen)
        self._watch.look(self._replicas(seen), [vector.name for vector in self._collection.vectors])

    def searched(self, vector: str) -> None:
        """We sent a search that may use a graph."""
        self._searched.add(vector)
        self._watch.searched(vector)

    async def after(self) -> tuple[Mapping[str, Plan], str]:
        """Look again. Return the plan of each vector that was searched, and why they are unknown or ""."""
        seen = await self._peers.segments(self._silent)
        replicas = self._replicas(seen)
        shards = {shard.shard for shard in self._collection.shards}
        unseen = shards - {shard for shard, _ in replicas}
        if unseen:
            why = f"{len(unseen)} of {len(shards)} shards have no replica on a peer that told its segments"
        elif frozenset(seen) != self._processes:
            why = "other servers answered after the searches than before them"
        else:
            return self._watch.look(replicas, sorted(self._searched)), ""
        return dict.fromkeys(sorted(self._searched), Plan.UNKNOWN), why

    def _replicas(self, seen: Mapping[str, SegmentsSeen]) -> Sequence[tuple[int, ShardSegmentsSeen]]:
        name = self._collection.name
        return [replica for one in seen.values() for replica in one.shards.get(name, {}).items()]


def _near(name: str, known: Sequence[str]) -> str:
    """Say which names there are, the nearest first."""
    if not known:
        return "there are none at all"
    near = get_close_matches(name, known, n=NAMES_SHOWN)
    if near:
        return f"near it: {', '.join(map(repr, near))}"
    more = ", …" if len(known) > NAMES_SHOWN else ""
    return f"there are: {', '.join(map(repr, sorted(known)[:NAMES_SHOWN]))}{more}"
