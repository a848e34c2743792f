"""Opens one shard with Qdrant's engine: `python -m exporter.backup.archive.engine_process PARENT_PID`.

In a process of its own, for the engine holds the interpreter's lock, may take much memory and may abort.
Asked once, by JSON on stdin; the answer, JSON too, goes to stdout. Ends when the parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from exporter.backup.content import ContentHash
from exporter.backup.verifying.samples import LIMIT, LONG_SEARCH, Chosen, Searched, is_found

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
# Points of a page: a thousand with vectors of 1,536 numbers are 50 MB as Python's objects.
PAGE_POINTS = 500
# When memory is short this process goes, before the daemon and before a Qdrant on the same machine.
OOM_SCORE = "1000"
# It has all the time there is.
NICENESS = 10


def opened(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Unpack and load a shard, and return what is in it; `deep`: content and sample queries too."""
    tar, folder = Path(asked["tar"]), Path(asked["folder"])
    edge.EdgeShard.unpack_snapshot(str(tar), str(folder))
    tar.unlink()  # its room may be needed
    shard = edge.EdgeShard.load(str(folder))
    try:
        answer: dict[str, Any] = {
            "points": shard.count(edge.CountRequest(exact=True)),
            "payload_schema": {
                field: _word(index.data_type) for field, index in shard.info().payload_schema.items()
            },
        }
        if asked["deep"]:
            answer |= _read(shard)
        return answer
    finally:
        shard.close()


def _read(shard: edge.EdgeShard) -> dict[str, Any]:
    content, chosen = ContentHash(), Chosen[edge.Record]()
    for record in _records(shard):
        content.add(record.id, record.payload, _plain(record.vector))
        chosen.offer(str(record.id), record)
    searched = sum((_searched(shard, record) for record in chosen.points()), Searched())
    return {
        "read": content.points,
        "content": str(content),
        "queries": searched.queries,
        "missed": searched.missed,
        "lost": searched.lost,
    }


def _records(shard: edge.EdgeShard) -> Iterator[edge.Record]:
    offset: Any = None
    while True:
        asked = edge.ScrollRequest(offset=offset, limit=PAGE_POINTS, with_payload=True, with_vector=True)
        page, offset = shard.scroll(asked)
        yield from page
        if offset is None:
            return


def _searched(shard: edge.EdgeShard, record: edge.Record) -> Searched:
    vectors: Any = record.vector
    named = vectors if isinstance(vectors, dict) else {"": vectors}
    result = Searched()
    for name, vector in named.items():
        if not _is_empty(vector):
            result += _searched_one(shard, record, edge.Query.Nearest(vector, name or None))
    return result


def _searched_one(shard: edge.EdgeShard, record: edge.Record, query: Any) -> Searched:
    itself = edge.Filter(must=[edge.HasIdCondition({record.id})])
    # vectors as they are: quantized to bits, as the owner may like it, many look like one
    plain = edge.QuantizationSearchParams(ignore=True)
    params = edge.SearchParams(quantization=plain)
    own = _query(shard, edge.QueryRequest(1, query=query, filter=itself, params=params))
    own_score = own[0][1] if own else None
    for exact in (False, True):
        params = edge.SearchParams(hnsw_ef=LONG_SEARCH, exact=exact, quantization=plain)
        found = _query(shard, edge.QueryRequest(LIMIT, query=query, params=params))
        if is_found(str(record.id), own_score, found):
            return Searched(queries=1, missed=int(exact))
    return Searched(queries=1, missed=1, lost=1)


def _query(shard: edge.EdgeShard, request: edge.QueryRequest) -> list[tuple[str, float]]:
    return [(str(point.id), point.score) for point in shard.query(request)]


def _is_empty(vector: Any) -> bool:
    if vector is None:
        return True
    return not (vector.indices if isinstance(vector, edge.SparseVector) else vector)


def _plain(vector: Any) -> Any:
    """Return vectors in the shapes of the REST API."""
    if isinstance(vector, dict):
        return {name: _plain(one) for name, one in vector.items()}
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return vector


def _word(kind: Any) -> str:
    """Return the API's word for one of the engine's: keyword for PayloadSchemaType.Keyword."""
    return str(kind).rpartition(".")[2].lower()


def _settle(parent_id: int) -> None:
    """End with the parent, and stand back behind everybody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    if os.getppid() != parent_id:  # it ended before the line above
        sys.exit(0)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)


def main() -> None:
    """Answer one question. What the engine refuses is an answer too; a panic of it is no Exception."""
    _settle(int(sys.argv[1]))
    # whatever else prints must not land in the answer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = json.load(sys.stdin)
    try:
        answer = opened(asked)
    except BaseException as error:  # noqa: BLE001  # the engine raises Exception, and panics beside it
        answer = {"refused": f"{error}" or type(error).__name__}
    json.dump(answer, answers)
    answers.flush()
    os._exit(0)  # nothing of the engine's is worth waiting for


if __name__ == "__main__":
    main()
