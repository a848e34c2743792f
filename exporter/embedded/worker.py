"""One collection's engine in a process of its own: `python -m exporter.embedded.worker PARENT_PID`.

The engine's optimize() holds the interpreter's lock for its whole run, so a collection must not
share a process with the server. Commands come on stdin, replies go to stdout; both end when the
parent does, and on Linux the kernel ends this process too, even in the middle of an optimize().
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import qdrant_edge as edge

from exporter.embedded.engine_config import engine_config, engine_index
from exporter.embedded.engine_filters import engine_filter, point_id
from exporter.embedded.engine_points import (
    DEFAULT_LIMIT,
    EMPTY_UPDATE,
    answer_id,
    answer_point,
    engine_points,
    engine_query,
    engine_scroll,
    records,
)
from exporter.embedded.messages import LENGTH_BYTES, Archived, Command, Counts, Reply, Survey, framed
from exporter.embedded.refusals import RefusalError
from exporter.embedded.segments import read_segments
from exporter.embedded.snapshots_archive import write_archive

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
READING_VERBS = frozenset({"query", "query_batch", "scroll", "count", "retrieve", "facet"})
BAD_JSON_PATH = "invalid JSON path "  # how the engine's refusal of a field's name begins
UPKEEP_VERBS = frozenset({"open", "survey", "optimize", "snapshot"})  # never asked for by a client's body


class ShardWorker:
    """The one shard of this process and what may be done with it."""

    def __init__(self) -> None:
        self._folder = Path()
        self._shard: edge.EdgeShard | None = None
        self._verbs: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "open": self._open,
            "survey": lambda _: None,
            "optimize": lambda _: self._held.optimize(),
            "snapshot": self._snapshot,
            "upsert": lambda asked: self._update(edge.UpdateOperation.upsert_points(engine_points(asked))),
            "delete": self._delete,
            "payload": self._payload,
            "create_index": self._create_index,
            "delete_index": lambda asked: self._update(
                edge.UpdateOperation.delete_field_index(asked["field_name"])
            ),
            "query": self._query,
            "query_batch": lambda asked: [self._query(one) for one in asked["searches"]],
            "scroll": self._scroll,
            "count": self._count,
            "retrieve": lambda asked: records(self._held, asked),
            "facet": self._facet,
        }

    @property
    def _held(self) -> edge.EdgeShard:
        assert self._shard is not None, "open comes first"
        return self._shard

    def perform(self, command: Command) -> Reply:
        """Do one command. What the engine or a body's shape refuses becomes the reply."""
        try:
            return self._reply(command)
        except RefusalError as refusal:
            return Reply(refusal.status, refusal.text)
        except Exception as error:  # noqa: BLE001  # the engine raises nothing narrower
            return _refused(command.verb, error)

    def _reply(self, command: Command) -> Reply:
        result = self._verbs[command.verb](command.argument)
        if command.verb in READING_VERBS:
            return Reply(200, result)
        if command.verb in UPKEEP_VERBS:
            survey = self._survey()
            return Reply(200, result, counts=survey.counts, survey=survey)
        return Reply(200, result, counts=self._counts())

    def close(self) -> None:
        """Write everything to disk and let go."""
        if self._shard is not None:
            self._shard.flush()
            self._shard.close()
            self._shard = None

    def _open(self, asked: Mapping[str, Any]) -> None:
        """Create or load the shard; with a changed configuration, load it anew."""
        config = engine_config(asked["config"])  # before anything is let go
        self.close()
        self._folder = Path(asked["folder"])
        if self._folder.exists():
            self._shard = edge.EdgeShard.load(str(self._folder), config)
        else:
            self._folder.mkdir(parents=True)
            self._shard = edge.EdgeShard.create(str(self._folder), config)

    def _snapshot(self, asked: Mapping[str, Any]) -> Archived:
        """Write the shard's archive into a file of its own."""
        self._held.flush()
        return write_archive(
            Path(asked["target"]),
            shard=self._folder,
            segments=list(self._held.snapshot_manifest()),
            documents=asked["documents"],
        )

    def _update(self, operation: edge.UpdateOperation) -> None:
        self._held.update(operation)

    def _delete(self, asked: Mapping[str, Any]) -> None:
        if (chosen := engine_filter(asked.get("filter"))) is not None:
            self._update(edge.UpdateOperation.delete_points_by_filter(chosen))
        else:
            ids = [point_id(one) for one in asked["points"]]
            if not ids:
                raise RefusalError(400, EMPTY_UPDATE)
            self._update(edge.UpdateOperation.delete_points(ids))

    def _payload(self, asked: Mapping[str, Any]) -> None:
        """Set, overwrite, delete or clear payload, by ids or by filter, as `action` says."""
        action, by_filter = asked["action"], asked.get("filter")
        chosen = engine_filter(by_filter) if by_filter else [point_id(one) for one in asked["points"]]
        make = getattr(edge.UpdateOperation, f"{action}_by_filter" if by_filter else action)
        if action in ("set_payload", "overwrite_payload"):
            self._update(make(chosen, asked["payload"], asked.get("key")))
        elif action == "delete_payload":
            self._update(make(chosen, asked["keys"]))
        else:
            self._update(make(chosen))

    def _create_index(self, asked: Mapping[str, Any]) -> None:
        index = engine_index(asked["field_schema"])
        self._update(edge.UpdateOperation.create_field_index(asked["field_name"], index))

    def _query(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self._held.query(engine_query(self._held, asked))
        return {"points": [answer_point(point) for point in found]}

    def _scroll(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found, following = self._held.scroll(engine_scroll(asked))
        return {
            "points": [answer_point(record) for record in found],
            "next_page_offset": None if following is None else answer_id(following),
        }

    def _count(self, asked: Mapping[str, Any]) -> dict[str, int]:
        request = edge.CountRequest(asked.get("exact", True), engine_filter(asked.get("filter")))
        return {"count": self._held.count(request)}

    def _facet(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        request = edge.FacetRequest(
            asked["key"],
            asked.get("limit") or DEFAULT_LIMIT,
            bool(asked.get("exact")),
            engine_filter(asked.get("filter")),
        )
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in self._held.facet(request).hits]}

    def _counts(self) -> Counts:
        info = self._held.info()
        fields = {name: index.points for name, index in info.payload_schema.items()}
        return Counts(info.points_count, info.indexed_vectors_count, fields)

    def _survey(self) -> Survey:
        self._held.flush()
        folders = [self._folder / "segments" / uuid for uuid in self._held.snapshot_manifest()]
        return Survey(self._counts(), read_segments(folders))


def _refused(verb: str, error: Exception) -> Reply:
    if verb in UPKEEP_VERBS:
        return Reply(500, f"Service internal error: {error}")
    if str(error).startswith(BAD_JSON_PATH):
        path = str(error).removeprefix(BAD_JSON_PATH)
        return Reply(400, f"Format error in JSON body: Invalid json path: '{path}'")
    if isinstance(error, KeyError | TypeError | ValueError | AttributeError | OverflowError):
        return Reply(400, f"Format error in JSON body: {type(error).__name__}: {error}")
    return Reply(400, f"Wrong input: {error}")


def _read(source: BinaryIO) -> Command | None:
    length = source.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    body = source.read(int.from_bytes(length, "big"))
    return msgspec.msgpack.decode(body, type=Command)


def _end_with(parent_id: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent_id:  # it ended before the line above
        sys.exit(0)


def main() -> None:
    """Serve commands until stdin ends, then close the shard."""
    _end_with(int(sys.argv[1]))
    # whatever else prints must not land between two replies
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = ShardWorker()
    while (command := _read(sys.stdin.buffer)) is not None:
        replies.write(framed(worker.perform(command)))
        replies.flush()
    worker.close()


if __name__ == "__main__":
    main()
