"""Reading the engine's segment folders: what info() does not tell.

Formats as qdrant-edge-py 0.9.0 writes them, after a flush. Nothing is written here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from exporter.embedded.messages import SegmentFiles

VERSION_BYTES = 8  # the version of one slot, in *id_tracker.versions
SEALED_FLAGS_HEADER_BYTES = 8  # a magic word before the bits of a sealed storage's deleted.dat
SECOND_FLAGS_FILE = 1  # in status.dat: which of the two flag files is in force
# A log of points that came and went, in mutable_id_tracker.mappings: one byte says what, then the id,
# a number or a UUID, and of one that came its slot.
ID_BYTES = {1: 8, 2: 16, 3: 8, 4: 16}
ARRIVALS = frozenset({1, 2})
SLOT_BYTES = 4


def read_segments(folders: Iterable[Path]) -> list[SegmentFiles]:
    """Read all segments of a shard. Raises OSError or ValueError where the engine wrote them otherwise.

    Points of one appendable segment are what the others do not hold; of several, as a rebuild below the
    indexing threshold leaves them, each one's log has to be read through.
    """
    folders = list(folders)
    segments = [read_segment(folder) for folder in folders]
    if sum(segment.appendable for segment in segments) < 2:
        return segments
    return [
        msgspec.structs.replace(segment, deleted_points=segment.slots - _logged_points(folder))
        if segment.appendable
        else segment
        for folder, segment in zip(folders, segments, strict=True)
    ]


def read_segment(folder: Path) -> SegmentFiles:
    """Read one segment's folder. Raises OSError or ValueError where the engine wrote it otherwise."""
    config: dict[str, Any] = json.loads((folder / "segment.json").read_bytes())["config"]
    sealed = folder / "id_tracker.versions"
    appendable = not sealed.exists()
    slots = _size(folder / "mutable_id_tracker.versions" if appendable else sealed) // VERSION_BYTES
    dense: dict[str, Any] = config.get("vector_data") or {}
    sparse: dict[str, Any] = config.get("sparse_vector_data") or {}
    missing = {
        name: _set_bits(_storage_flags(_part(folder, "vector_storage", name), slots))
        for name in (*dense, *sparse)
    }
    indexed = {name: _graph_vectors(folder, name, vector) for name, vector in dense.items()}
    # a sparse vector is always in its inverted index
    indexed |= {name: slots - missing[name] for name in sparse}
    return SegmentFiles(
        uuid=folder.name,
        config=config,
        appendable=appendable,
        slots=slots,
        deleted_points=0 if appendable else _set_bits((folder / "id_tracker.deleted").read_bytes()),
        missing_vectors=missing,
        indexed_vectors=indexed,
        payload_bytes=_payload_bytes(folder / "payload_storage"),
    )


def _part(folder: Path, part: str, name: str) -> Path:
    return folder / (f"{part}-{name}" if name else part)


def _logged_points(folder: Path) -> int:
    path = folder / "mutable_id_tracker.mappings"
    log = path.read_bytes() if path.exists() else b""  # absent until the first flush with points
    held: set[bytes] = set()
    at = 0
    while at < len(log):
        kind, begin = log[at], at + 1
        at = begin + ID_BYTES[kind]
        if kind in ARRIVALS:
            held.add(log[begin:at])
            at += SLOT_BYTES
        else:
            held.discard(log[begin:at])
    return len(held)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0  # absent until the first flush with points


def _set_bits(flags: bytes) -> int:
    return int.from_bytes(flags, "little").bit_count()


def _storage_flags(storage: Path, slots: int) -> bytes:
    sealed = storage / "deleted.dat"
    if sealed.exists():
        return sealed.read_bytes()[SEALED_FLAGS_HEADER_BYTES:]
    status = (storage / "deleted" / "status.dat").read_bytes()
    letter = "b" if status[8] == SECOND_FLAGS_FILE else "a"
    with (storage / "deleted" / f"flags_{letter}.dat").open("rb") as flags:
        return flags.read((slots + 7) // 8)  # the file is allocated far beyond the last slot


def _graph_vectors(folder: Path, name: str, vector: dict[str, Any]) -> int:
    if vector["index"]["type"] == "plain":
        return 0
    graph = json.loads((_part(folder, "vector_index", name) / "hnsw_config.json").read_bytes())
    return int(graph["indexed_vector_count"])


def _payload_bytes(storage: Path) -> int:
    block_bytes = int(json.loads((storage / "config.json").read_bytes())["block_size_bytes"])
    return _set_bits((storage / "bitmask.dat").read_bytes()) * block_bytes
