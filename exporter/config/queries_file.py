"""A person's own queries for the probes: a file of JSON lines, read whole and checked line by line.

    {"vector": [0.1, 0.2], "using": "title", "filter": {"must": [...]}}
    {"vector": {"indices": [1, 7], "values": [0.5, 1.0]}, "using": "bm25"}
    {"id": 4711}

`vector` is dense, sparse or a list of lists; or `id` names a stored point. `using` and `filter` may lack.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from exporter.config.written import Written

# 1,000 vectors of 1,536 numbers as text; all of it is held in memory.
MAX_FILE_BYTES = 20 << 20
MAX_QUERIES = 1_000
# Enough to see the pattern; a file of another format is wrong in every line.
MAX_PROBLEMS = 5

KEYS = ("vector", "id", "using", "filter")
FILTER_KEYS = ("must", "should", "must_not", "min_should")
LARGEST_ID = 2**64 - 1


@dataclass(frozen=True, slots=True)
class WrittenQuery:
    """One line. `query` is the JSON of a vector or of a point's id, as the server takes it."""

    query: bytes
    using: str | None = None  # None: as configured, or the collection's own
    filter: bytes | None = None  # JSON


@dataclass(frozen=True, slots=True)
class QueriesFile:
    """The path of such a file and what it held when the configuration was read."""

    path: Path
    queries: tuple[WrittenQuery, ...] = field(repr=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: str(value.path), when_used="json"
            ),
        )


def read_queries_file(path: Path) -> QueriesFile:
    """Read a file of queries. Raises ValueError naming its first wrong lines and what to write."""
    try:
        if path.is_fifo() or path.is_socket():  # would be waited for, perhaps for ever
            raise ValueError(f"{path} is no regular file; write the path of one")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is longer than {MAX_FILE_BYTES} bytes; keep fewer queries")
    queries: list[WrittenQuery] = []
    problems: list[str] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            queries.append(_query(line))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
        if len(problems) > MAX_PROBLEMS:
            break
        if len(queries) > MAX_QUERIES:
            raise ValueError(f"{path} has more than {MAX_QUERIES} queries; keep at most so many")
    if problems:
        more = "; and more lines" if len(problems) > MAX_PROBLEMS else ""
        raise ValueError(f"{path}: {'; '.join(problems[:MAX_PROBLEMS])}{more}")
    if not queries:
        raise ValueError(f'{path} has no query; write lines such as {{"vector": [0.1, 0.2]}} or {{"id": 7}}')
    return QueriesFile(path, tuple(queries))


def checked_filter(value: Any) -> dict[str, Any]:
    """Return what looks like a filter of Qdrant's. Raises ValueError saying what one is made of."""
    if not isinstance(value, dict) or not value or not value.keys() <= set(FILTER_KEYS):
        raise ValueError(f"a filter is keys and values, with one or more of {', '.join(FILTER_KEYS)}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("a filter holds text, numbers, true, false, lists and keys only") from None
    return value


def _read(value: object, info: ValidationInfo) -> QueriesFile:
    if isinstance(value, QueriesFile):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("write the path of a file of queries, one JSON object a line")
    directory = info.context.directory if isinstance(info.context, Written) else Path()
    return read_queries_file(directory / value)


def _query(line: bytes) -> WrittenQuery:
    try:
        written = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(written, dict) or not written.keys() <= set(KEYS):
        raise ValueError(f"write one object with {', '.join(KEYS)} and nothing else")
    if ("vector" in written) == ("id" in written):
        raise ValueError("write either vector or id")
    if not isinstance(written.get("using", ""), str):
        raise ValueError("using is the name of a vector")  # noqa: TRY004  # pydantic takes no TypeError
    try:
        written.get("using", "").encode()
    except UnicodeEncodeError:
        raise ValueError("using has half of a UTF-16 pair in it, which is no character") from None
    query = _vector(written["vector"]) if "vector" in written else _point_id(written["id"])
    chosen = checked_filter(written["filter"]) if "filter" in written else None
    return WrittenQuery(
        query=_json(query),
        using=written.get("using"),
        filter=None if chosen is None else _json(chosen),
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _vector(value: Any) -> Any:
    match value:
        case {"indices": list(indices), "values": list(values)} if len(value) == 2:
            whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in indices)
            if not whole or len(indices) != len(values) or not _are_numbers(values):
                raise ValueError("a sparse vector has as many indices, whole numbers, as values")
        case [[*_], *_]:
            if not all(isinstance(row, list) and _are_numbers(row) for row in value):
                raise ValueError("a multivector is a list of lists of numbers")
        case list():
            if not _are_numbers(value):
                raise ValueError("a vector is a list of finite numbers")
        case _:
            raise ValueError("vector is a list of numbers, a list of those, or {indices, values}")
    return value


def _are_numbers(values: list[Any]) -> bool:
    return bool(values) and all(_numbers(values))


def _numbers(values: list[Any]) -> Iterator[bool]:
    for value in values:
        try:
            yield isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        except OverflowError:  # a whole number beyond every float
            yield False


def _point_id(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_ID:
        return value
    if isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            pass
    raise ValueError("id is a whole number from 0 or a UUID")
