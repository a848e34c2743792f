"""What the engine's process asks of a shard."""

from __future__ import annotations

from pathlib import Path

import pytest

edge = pytest.importorskip("qdrant_edge")

from exporter.backup.archive import engine_process  # noqa: E402  # imports the engine


def test_vectors_that_quantize_to_the_same_bits_are_found(tmp_path: Path) -> None:
    """Numbers that are all positive: as bits, every vector is the same, and any search finds any point."""
    vectors = edge.EdgeVectorParams(
        64, edge.Distance.Cosine, quantization_config=edge.BinaryQuantizationConfig()
    )
    shard = edge.EdgeShard.create(str(tmp_path), edge.EdgeConfig(vectors={"": vectors}))
    points = [
        edge.Point(number, [1.0 + (number >> bit % 8 & 1) + bit * number % 7 for bit in range(64)], {})
        for number in range(300)
    ]
    shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()

    answer = engine_process._read(shard)
    shard.close()

    assert (answer["queries"], answer["missed"], answer["lost"]) == (20, 0, 0)
