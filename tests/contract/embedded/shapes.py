"""The shape of JSON documents: which keys an object has, which types a value takes.

Objects whose keys are data (vector names, routes, field names) are maps: their keys count as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The last part of the path of every object whose keys are data.
MAPS = frozenset(
    {
        "num_vectors_by_name",
        "indexed_only_excluded_vectors",
        "vector_data",
        "sparse_vector_data",
        "index_schema",
        "payload_schema",
        "replicate_states",
        "responses",
        "responses.*",
        "collection_data",
        "sparse_vectors",
    }
)


@dataclass(slots=True)
class Shape:
    """What was seen at each path of some documents of one kind."""

    keys: dict[str, list[frozenset[str]]] = field(default_factory=lambda: defaultdict(list))
    types: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def of(cls, documents: Iterable[Any]) -> Shape:
        """Walk documents of one kind."""
        shape = cls()
        for document in documents:
            shape._walk("", document)
        return shape

    def _walk(self, path: str, value: Any) -> None:
        self.types[path].add(_type_name(value))
        if isinstance(value, list):
            for one in value:
                self._walk(f"{path}[]", one)
        elif isinstance(value, dict):
            is_map = any(path == name or path.endswith(f".{name}") for name in MAPS)
            # the vectors of a collection: parameters of the unnamed one, or a map of named ones
            is_map = is_map or (path.endswith(".vectors") and "size" not in value)
            if not is_map:
                self.keys[path].append(frozenset(value))
            for key, one in value.items():
                self._walk(f"{path}.{'*' if is_map else key}".lstrip("."), one)


def differences(answered: Shape, recorded: Shape, exceptions: Mapping[str, str]) -> list[str]:
    """Name every way in which the answers have another shape than the recordings.

    A key that every recorded object has must be in every answered one; a key that some have must be
    in some; a key that none has must be nowhere. `exceptions` are paths that may be missing.
    """
    found = []
    for path, recorded_keys in recorded.keys.items():
        if _excepted(path, exceptions):
            continue
        known, always = frozenset().union(*recorded_keys), frozenset.intersection(*recorded_keys)
        if path not in answered.keys:
            found.append(f"no object at {path!r}")
            continue
        for keys in answered.keys[path]:
            found += [f"unknown key {_join(path, key)}" for key in keys - known]
            found += [f"key sometimes missing {_join(path, key)}" for key in always - keys]
        seen = frozenset().union(*answered.keys[path])
        found += [f"key never seen {_join(path, key)}" for key in known - always - seen]
    for path in answered.types.keys() & recorded.types.keys():
        found += [f"{path}: {kind}" for kind in answered.types[path] - recorded.types[path]]
    return sorted({one for one in found if not _excepted(one.rpartition(" ")[2], exceptions)})


def missing(answered: Shape, path: str) -> bool:
    """Some answered object lacks the key at this path."""
    parent, _, key = path.rpartition(".")
    return any(key not in keys for keys in answered.keys.get(parent, [])) or parent not in answered.keys


def _excepted(path: str, exceptions: Mapping[str, str]) -> bool:
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in exceptions)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}".lstrip(".")


def _type_name(value: Any) -> str:
    return {dict: "object", list: "array", type(None): "null"}.get(type(value), type(value).__name__)
