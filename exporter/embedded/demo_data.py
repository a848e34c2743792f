"""Made-up points that lie in clusters, as embeddings do: an index over them is neither perfect nor random."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

CLUSTERS = 24
# Of a cluster's own width to the distance between centres: neighbours mostly share a cluster.
SPREAD = 0.35


class ClusteredVectors:
    """Vectors around a few centres. The same seed makes the same centres."""

    def __init__(self, *, dimension: int, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # data, no secret
        self._centres = [[self._random.gauss(0.0, 1.0) for _ in range(dimension)] for _ in range(CLUSTERS)]

    def one(self) -> tuple[int, list[float]]:
        """Return a cluster's number and a vector of it."""
        number = self._random.randrange(CLUSTERS)
        gauss = self._random.gauss
        return number, [centre + gauss(0.0, SPREAD) for centre in self._centres[number]]

    def points(self, ids: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Yield points as the REST API takes them, with their cluster's number as payload."""
        for point_id in ids:
            number, vector = self.one()
            yield {"id": point_id, "vector": vector, "payload": {"cluster": number}}
