"""What a collection takes on disk, as the server counts it: /memory, since 1.18. For reports only.

It counts files with what they allot ahead, so it falls by less than what a vacuum frees; and the server
asks its peers for it, so it fails while one of those is down.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.optimizing import Optimizing
from exporter.errors import SourceError
from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Request
from exporter.qdrant.door import quote_segment
from exporter.qdrant.payloads import CollectionMemory, result
from exporter.qdrant.versions import parse_version, supports

ENDPOINT = "/collections/{collection}/memory"
ANSWER_SECONDS = 10.0


async def disk_bytes(peers: Sequence[PeerAt], seen: Optimizing) -> int | None:
    """Return the bytes on disk over all replicas; None where no peer can say."""
    able = {work.label for work in seen.holders if supports(parse_version(work.version), "memory")}
    peer = next((peer for peer in peers if peer.label in able), None)
    if peer is None or seen.silent:
        return None
    asked = Asked(Request(f"/collections/{quote_segment(seen.collection)}/memory"), ENDPOINT)
    try:
        answer = await peer.courier.call(asked, deadline_seconds=ANSWER_SECONDS)
        return result(answer, CollectionMemory, ENDPOINT).total.disk_bytes
    except SourceError:
        return None
