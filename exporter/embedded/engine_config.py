"""Qdrant's configuration as the engine's objects. Runs in a worker process only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qdrant_edge as edge

from exporter.embedded.collection_config import named_vector_params
from exporter.embedded.refusals import wrong_input

DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Euclid": edge.Distance.Euclid,
    "Dot": edge.Distance.Dot,
    "Manhattan": edge.Distance.Manhattan,
}
DATATYPES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,
    "uint8": edge.VectorStorageDatatype.Uint8,
}
COMPRESSIONS = {
    "x4": edge.CompressionRatio.X4,
    "x8": edge.CompressionRatio.X8,
    "x16": edge.CompressionRatio.X16,
    "x32": edge.CompressionRatio.X32,
    "x64": edge.CompressionRatio.X64,
}
TOKENIZERS = {
    "prefix": edge.TokenizerType.Prefix,
    "whitespace": edge.TokenizerType.Whitespace,
    "word": edge.TokenizerType.Word,
    "multilingual": edge.TokenizerType.Multilingual,
}
FIELD_TYPES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "geo": edge.PayloadSchemaType.Geo,
    "text": edge.PayloadSchemaType.Text,
    "bool": edge.PayloadSchemaType.Bool,
    "datetime": edge.PayloadSchemaType.Datetime,
    "uuid": edge.PayloadSchemaType.Uuid,
}
FIELD_PARAMS: dict[str, Callable[..., Any]] = {
    "keyword": edge.KeywordIndexParams,
    "integer": edge.IntegerIndexParams,
    "float": edge.FloatIndexParams,
    "geo": edge.GeoIndexParams,
    "text": edge.TextIndexParams,
    "bool": edge.BoolIndexParams,
    "datetime": edge.DatetimeIndexParams,
    "uuid": edge.UuidIndexParams,
}
# What every release of the engine's index parameters takes as plain values.
PLAIN_FIELD_PARAMS = frozenset(
    {"is_tenant", "is_principal", "on_disk", "lookup", "range", "min_token_len", "max_token_len", "lowercase"}
)


def engine_config(config: Mapping[str, Any]) -> edge.EdgeConfig:
    """Return the engine's configuration of a collection. Raises RefusalError for what it does not have."""
    optimizers = config["optimizer_config"]
    return edge.EdgeConfig(
        vectors={
            name: _vector(params, config["hnsw_config"])
            for name, params in named_vector_params(config).items()
        },
        sparse_vectors={
            name: edge.EdgeSparseVectorParams(
                on_disk=((params or {}).get("index") or {}).get("on_disk"),
                modifier=edge.Modifier.Idf if (params or {}).get("modifier") == "idf" else None,
            )
            for name, params in (config["params"].get("sparse_vectors") or {}).items()
        },
        on_disk_payload=config["params"]["on_disk_payload"],
        hnsw_config=_hnsw(config["hnsw_config"]),
        quantization_config=_quantization(config["quantization_config"]),
        optimizers=edge.EdgeOptimizersConfig(
            deleted_threshold=optimizers["deleted_threshold"],
            vacuum_min_vector_number=optimizers["vacuum_min_vector_number"],
            default_segment_number=optimizers["default_segment_number"],
            max_segment_size=optimizers["max_segment_size"],
            indexing_threshold=optimizers["indexing_threshold"],
            prevent_unoptimized=optimizers["prevent_unoptimized"],
        ),
    )


def engine_index(schema: Any) -> Any:
    """Return the engine's form of a payload index: its type, or parameters. Raises RefusalError."""
    kind = schema.get("type") if isinstance(schema, dict) else schema
    if kind not in FIELD_TYPES:
        raise wrong_input(f"Unknown payload index type {kind!r}")
    if not isinstance(schema, dict):
        return FIELD_TYPES[kind]
    asked = {name: value for name, value in schema.items() if name in PLAIN_FIELD_PARAMS}
    if schema.get("tokenizer") in TOKENIZERS:
        asked["tokenizer"] = TOKENIZERS[schema["tokenizer"]]
    return FIELD_PARAMS[kind](**asked)


def _vector(params: Mapping[str, Any], hnsw: Mapping[str, Any]) -> edge.EdgeVectorParams:
    multiple = params.get("multivector_config") is not None
    own_hnsw = params.get("hnsw_config")
    return edge.EdgeVectorParams(
        size=params["size"],
        distance=DISTANCES[params["distance"]],
        on_disk=params.get("on_disk"),
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if multiple else None,
        datatype=DATATYPES[params["datatype"]] if params.get("datatype") else None,
        quantization_config=_quantization(params.get("quantization_config")),
        hnsw_config=_hnsw({**hnsw, **own_hnsw}) if own_hnsw else None,
    )


def _hnsw(asked: Mapping[str, Any]) -> edge.HnswIndexConfig:
    return edge.HnswIndexConfig(
        m=asked["m"],
        ef_construct=asked["ef_construct"],
        full_scan_threshold=asked.get("full_scan_threshold", 10000),
        max_indexing_threads=asked.get("max_indexing_threads", 0),
        on_disk=asked.get("on_disk"),
        payload_m=asked.get("payload_m"),
    )


def _quantization(asked: Mapping[str, Any] | None) -> Any:
    if not asked:
        return None
    if scalar := asked.get("scalar"):
        return edge.ScalarQuantizationConfig(
            type=edge.ScalarType.Int8, quantile=scalar.get("quantile"), always_ram=scalar.get("always_ram")
        )
    if product := asked.get("product"):
        return edge.ProductQuantizationConfig(
            compression=COMPRESSIONS[product["compression"]], always_ram=product.get("always_ram")
        )
    if "binary" in asked:
        return edge.BinaryQuantizationConfig(always_ram=(asked["binary"] or {}).get("always_ram"))
    raise wrong_input(f"this server has no quantization {sorted(asked)}")
