"""The request that writes points. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from exporter.qdrant.asked import Asked
from exporter.qdrant.connection import Request
from exporter.qdrant.door import quote_segment

UPSERT = "PUT /collections/{collection}/points"


def upsert(collection: str, points: Sequence[bytes], key: str | int | None = None) -> Asked:
    """Write points, each its own JSON with id, payload and vector, and wait until they are there.

    The same points twice are the same as once, so the request may be sent again.
    """
    of_key = b"" if key is None else b',"shard_key":' + msgspec.json.encode(key)
    body = b'{"points":[' + b",".join(points) + b"]" + of_key + b"}"
    path = f"/collections/{quote_segment(collection)}/points?wait=true"
    return Asked(Request(path, "PUT", body), UPSERT)
