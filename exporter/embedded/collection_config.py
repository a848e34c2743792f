"""What a collection was asked to be: read from a request, held in the shape of the answer.

The configuration is the JSON object that GET /collections/{name} shows, with Qdrant's defaults
filled in. Nothing here knows the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from exporter.embedded.refusals import RefusalError, bad_body, invalid, wrong_input

Document = dict[str, Any]

KIB = 1024
LONGEST_NAME = 255
# Seen refused on 1.18.3: quote, backslash, slash. The rest is read in its code.
REFUSED_IN_NAMES = '<>:"/\\|?*\0\x1f'
DISTANCES = ("Cosine", "Euclid", "Dot", "Manhattan")
LARGEST_DIMENSION = 65536  # Qdrant's own limit
ELEMENT_BYTES = {"float32": 4, "float16": 2, "uint8": 1}
QUANTIZATIONS = frozenset({"scalar", "product", "binary"})
LEAST_VACUUM_VECTORS = 100  # below: 422
ENGINE_WAL: Document = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}

DEFAULT_HNSW: Document = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
# Those of other replicas, of which there are none, are kept and shown.
PATCHABLE_PARAMS = (
    "replication_factor",
    "write_consistency_factor",
    "read_fan_out_factor",
    "read_fan_out_delay_ms",
    "on_disk_payload",
)
DEFAULT_OPTIMIZERS: Document = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
    "prevent_unoptimized": None,
}
# What a payload index shows of what it was not asked to be, by type; other types show nothing.
DEFAULT_INDEX_PARAMS: dict[str, Document] = {
    "integer": {"lookup": None, "range": None, "is_principal": None},
    "float": {"is_principal": None},
    "datetime": {"is_principal": None},
    "text": {"tokenizer": "word"},
}


@dataclass(frozen=True, slots=True)
class DenseVector:
    """One dense vector of a collection. `name` is "" for the unnamed one."""

    name: str
    size: int
    element_bytes: int
    multiple: bool  # a multivector: many rows a point

    @property
    def bytes_each(self) -> int:
        """Raw bytes of one row."""
        return self.size * self.element_bytes


def check_name(name: str) -> None:
    """Refuse a collection name that Qdrant refuses, with its words. Raises RefusalError (422)."""
    before = "Validation error in path parameters: [collection_name: "
    if name in (".", ".."):  # a folder would have that name too
        raise RefusalError(500, f"Service internal error: Invalid path to delete: {name}")
    for character in REFUSED_IN_NAMES:
        if character in name:
            raise RefusalError(422, f'{before}collection name cannot contain "{character}" char]')
    if not 1 <= len(name) <= LONGEST_NAME:
        raise RefusalError(422, f'{before}value "{name}" invalid, must be from 1 to 255 characters]')


def created(body: Mapping[str, Any]) -> Document:
    """Return the configuration that a creation asks for. Raises RefusalError (400, 422)."""
    shards = body.get("shard_number", 1)
    if shards not in (None, 1):
        raise wrong_input(f"this server holds one shard a collection, not {shards}")
    _refuse_what_is_not_served(body)
    vectors, sparse = body.get("vectors") or {}, body.get("sparse_vectors")
    _check_vectors(vectors)
    params: Document = {
        "vectors": vectors,
        "shard_number": 1,
        "replication_factor": body.get("replication_factor") or 1,
        "write_consistency_factor": body.get("write_consistency_factor") or 1,
        "on_disk_payload": body.get("on_disk_payload", True),
    }
    if sparse:
        params["sparse_vectors"] = sparse
    config: Document = {
        "params": params,
        "hnsw_config": DEFAULT_HNSW | _given(body, "hnsw_config"),
        "optimizer_config": DEFAULT_OPTIMIZERS | _optimizers(body),
        "quantization_config": body.get("quantization_config"),
    }
    if body.get("metadata") is not None:
        config["metadata"] = _metadata(body)
    return config


def restored(archived: Mapping[str, Any]) -> Document:
    """Return the configuration of a collection made anew from an archive's. Raises RefusalError."""
    params = archived.get("params")
    if not isinstance(params, dict):
        raise RefusalError(500, "Service internal error: Json error in config.json: no params")
    return created({**archived, **params, "optimizers_config": archived.get("optimizer_config")})


def as_archived(config: Document) -> Document:
    """Return a configuration as an archive holds it: a real server wants to know of the write-ahead log."""
    return {**config, "wal_config": ENGINE_WAL, "uuid": None}


def check_compatible(config: Document, archived: Mapping[str, Any]) -> None:
    """Refuse to load an archive into a collection of other vectors. Raises RefusalError (400)."""
    held, given = _vector_kinds(config), _vector_kinds(restored(archived))
    if held != given:
        text = f"Collection vectors: {held} Snapshot Vectors: {given}"
        raise wrong_input(f"Snapshot is not compatible with existing collection: {text}")


def patched(config: Document, body: Mapping[str, Any]) -> Document:
    """Return a configuration with the changes of a PATCH. Raises RefusalError (400, 422)."""
    _refuse_what_is_not_served(body)
    for key in ("vectors", "sparse_vectors"):
        if body.get(key):
            raise wrong_input(f"this server cannot change {key} of a collection")
    changed = deepcopy(config)
    changed["hnsw_config"] |= _given(body, "hnsw_config")
    changed["optimizer_config"] |= _optimizers(body)
    if body.get("quantization_config") is not None:
        asked = body["quantization_config"]
        changed["quantization_config"] = None if asked == "Disabled" else asked
    for key in PATCHABLE_PARAMS:
        if (asked := _given(body, "params").get(key)) is not None:
            changed["params"][key] = asked
    if body.get("metadata") is not None:
        given = _metadata(body)
        merged = changed.get("metadata", {}) | given
        changed["metadata"] = {
            key: value for key, value in merged.items() if key not in given or value is not None
        }
    return changed


def dense_vectors(config: Mapping[str, Any]) -> tuple[DenseVector, ...]:
    """Return the dense vectors of a configuration, in its order."""
    vectors = config["params"]["vectors"]
    named = {"": vectors} if _is_unnamed(vectors) else vectors
    return tuple(
        DenseVector(
            name=name,
            size=int(params["size"]),
            element_bytes=ELEMENT_BYTES[params.get("datatype") or "float32"],
            multiple=params.get("multivector_config") is not None,
        )
        for name, params in named.items()
    )


def index_schema(asked: str | Document) -> Document:
    """Return a payload index as it is shown: its type, and parameters where some were given."""
    if isinstance(asked, str):
        return {"data_type": asked}
    kind = str(asked.get("type"))
    return {"data_type": kind, "params": DEFAULT_INDEX_PARAMS.get(kind, {}) | asked}


def asked_schema(shown: Document) -> Any:
    """Return what a payload index was asked to be, from how it is shown: `index_schema` the other way."""
    params = shown.get("params")
    if params is None:
        return shown["data_type"]
    return {name: value for name, value in params.items() if value is not None}


def sparse_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the sparse vectors of a configuration."""
    return tuple(config["params"].get("sparse_vectors") or ())


def named_vector_params(config: Mapping[str, Any]) -> Mapping[str, Document]:
    """Return what was asked of each dense vector, the unnamed one under ""."""
    vectors = config["params"]["vectors"]
    return {"": vectors} if _is_unnamed(vectors) else vectors


def _vector_kinds(config: Document) -> Document:
    """Return what of the vectors cannot change: size, distance, datatype, one or many; and sparse names."""
    kinds: Document = {
        name: [params.get(key) for key in ("size", "distance", "datatype", "multivector_config")]
        for name, params in named_vector_params(config).items()
    }
    return kinds | dict.fromkeys(sparse_names(config), "sparse")


def _metadata(body: Mapping[str, Any]) -> Document:
    if not isinstance(body["metadata"], dict):
        raise bad_body("metadata: invalid type, expected a map")
    return dict(body["metadata"])


def _is_unnamed(vectors: Mapping[str, Any]) -> bool:
    return isinstance(vectors.get("size"), int)


def _refuse_what_is_not_served(body: Mapping[str, Any]) -> None:
    """Refuse, rather than accept and not do it."""
    strict_mode = body.get("strict_mode_config")
    if strict_mode and strict_mode != {"enabled": False}:
        raise wrong_input("this server does not serve strict_mode_config")
    if body.get("sharding_method"):
        raise wrong_input("this server does not serve sharding_method")
    quantization = body.get("quantization_config")
    if quantization and quantization != "Disabled" and not QUANTIZATIONS & set(quantization):
        raise wrong_input(f"this server serves the quantizations {', '.join(sorted(QUANTIZATIONS))}")


def _check_vectors(vectors: Any) -> None:
    no_variant = bad_body("data did not match any variant of untagged enum VectorsConfig")
    if not isinstance(vectors, dict):
        raise no_variant
    for params in [vectors] if "size" in vectors else vectors.values():
        if not isinstance(params, dict):
            raise no_variant
        size, distance = params.get("size"), params.get("distance")
        if not isinstance(size, int) or not 0 < size <= LARGEST_DIMENSION or distance not in DISTANCES:
            raise no_variant
        if (params.get("datatype") or "float32") not in ELEMENT_BYTES:
            raise no_variant


def _given(body: Mapping[str, Any], key: str) -> Document:
    asked = body.get(key) or {}
    if not isinstance(asked, dict):
        raise bad_body(f"{key}: invalid type, expected a map")
    return {name: value for name, value in asked.items() if value is not None}


def _optimizers(body: Mapping[str, Any]) -> Document:
    asked = _given(body, "optimizers_config")
    _check_range(asked, "deleted_threshold", lambda share: 0 <= share <= 1, "must be from 0.0 to 1.0")
    _check_range(
        asked,
        "vacuum_min_vector_number",
        lambda number: number >= LEAST_VACUUM_VECTORS,
        f"must be {LEAST_VACUUM_VECTORS} or larger",
    )
    if "deleted_threshold" in asked:
        asked["deleted_threshold"] = float(asked["deleted_threshold"])
    return {name: value for name, value in asked.items() if name in DEFAULT_OPTIMIZERS}


def _check_range(asked: Document, name: str, fits: Callable[[float], bool], rule: str) -> None:
    if name not in asked:
        return
    value = asked[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_body(f"optimizers_config.{name}: invalid type, expected a number")
    shown = float(value) if name == "deleted_threshold" else value
    if not fits(value):
        raise invalid(f"optimizers_config.{name}", f"value {shown} invalid, {rule}")
