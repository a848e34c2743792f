"""A person's own queries: what a file may hold, and what is said about a line that is wrong."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config import queries_file
from exporter.config.queries_file import MAX_PROBLEMS, QueriesFile, WrittenQuery, read_queries_file
from exporter.config.redaction import redacted_yaml
from tests.unit.config.bad_files import PEERS
from tests.unit.config.writing import problems_of, settings_of

UUID = "5f9c1d3e-8f1a-4a52-9d2b-0f6f3a1c9e77"


def read(directory: Path, content: str | bytes) -> QueriesFile:
    """Write a file of queries and read it."""
    file = directory / "queries.jsonl"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_queries_file(file)


def problem_of(directory: Path, content: str | bytes) -> str:
    """Return what is said about a bad file, with its path taken out."""
    with pytest.raises(ValueError, match=re.escape(str(directory))) as caught:
        read(directory, content)
    return str(caught.value).replace(f"{directory}/", "")


def test_every_kind_of_query_is_read(tmp_path: Path) -> None:
    """Dense, sparse, of several rows, or the id of a stored point; with a name and a filter or without."""
    content = """\
{"vector": [0.1, -2, 3e-7]}
{"vector": {"indices": [1, 7], "values": [0.5, 1.0]}, "using": "bm25"}
{"vector": [[1, 2], [3, 4]], "using": "colbert", "filter": {"must": [{"key": "a", "match": {"value": "ä"}}]}}
{"id": 18446744073709551615}
{"id": "5F9C1D3E8F1A4A529D2B0F6F3A1C9E77", "using": ""}
"""

    assert read(tmp_path, content).queries == (
        WrittenQuery(b"[0.1,-2,3e-07]"),
        WrittenQuery(b'{"indices":[1,7],"values":[0.5,1.0]}', using="bm25"),
        WrittenQuery(
            b"[[1,2],[3,4]]",
            using="colbert",
            filter=b'{"must":[{"key":"a","match":{"value":"\\u00e4"}}]}',
        ),
        WrittenQuery(b"18446744073709551615"),
        WrittenQuery(f'"{UUID}"'.encode(), using=""),
    )


@pytest.mark.parametrize(
    "content", ['{"id": 1}\n\n  \n{"id": 2}', '{"id": 1}\r\n{"id": 2}\r\n', '\ufeff{"id": 1}\n{"id": 2}']
)
def test_empty_lines_and_the_ends_that_windows_writes_are_no_queries(tmp_path: Path, content: str) -> None:
    """Nor is the mark with which some editors begin a file."""
    assert [query.query for query in read(tmp_path, content).queries] == [b"1", b"2"]


ONE_OBJECT = "write one object with vector, id, using, filter and nothing else"
EITHER = "write either vector or id"
A_VECTOR = "vector is a list of numbers, a list of those, or {indices, values}"
DENSE = "a vector is a list of finite numbers"
MULTI = "a multivector is a list of lists of numbers"
SPARSE = "a sparse vector has as many indices, whole numbers, as values"
AN_ID = "id is a whole number from 0 or a UUID"
A_FILTER = "a filter is keys and values, with one or more of must, should, must_not, min_should"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("0.1, 0.2", "is not JSON"),
        ("{'id': 1}", "is not JSON"),
        (b"\xff", "is not JSON"),
        ("[" * 5_000, "is not JSON"),
        ('{"id": ' + "9" * 5_000 + "}", "is not JSON"),
        ("[0.1, 0.2]", ONE_OBJECT),
        ("7", ONE_OBJECT),
        ('{"id": 1, "limit": 5}', ONE_OBJECT),
        ("{}", EITHER),
        ('{"using": "title"}', EITHER),
        ('{"vector": [1], "id": 1}', EITHER),
        ('{"id": 1, "using": 5}', "using is the name of a vector"),
        ('{"id": 1, "using": null}', "using is the name of a vector"),
        (
            '{"id": 1, "using": "\\ud800"}',
            "using has half of a UTF-16 pair in it, which is no character",
        ),
        ('{"vector": []}', DENSE),
        ('{"vector": ["a"]}', DENSE),
        ('{"vector": [true]}', DENSE),
        ('{"vector": [NaN]}', DENSE),
        ('{"vector": [1e999]}', DENSE),
        ('{"vector": [1' + "0" * 400 + "]}", DENSE),
        ('{"vector": [1, [2]]}', DENSE),
        ('{"vector": [[1], 2]}', MULTI),
        ('{"vector": [[1], []]}', MULTI),
        ('{"vector": [[[1]]]}', MULTI),
        ('{"vector": 5}', A_VECTOR),
        ('{"vector": null}', A_VECTOR),
        ('{"vector": {"indices": [1]}}', A_VECTOR),
        ('{"vector": {"indices": [1], "values": [1], "x": 1}}', A_VECTOR),
        ('{"vector": {"indices": [1, 2], "values": [1]}}', SPARSE),
        ('{"vector": {"indices": [-1], "values": [1]}}', SPARSE),
        ('{"vector": {"indices": [1.0], "values": [1]}}', SPARSE),
        ('{"vector": {"indices": [], "values": []}}', SPARSE),
        ('{"id": -1}', AN_ID),
        ('{"id": 1.0}', AN_ID),
        ('{"id": true}', AN_ID),
        ('{"id": "docs-1"}', AN_ID),
        ('{"id": 18446744073709551616}', AN_ID),
        ('{"id": 1, "filter": {}}', A_FILTER),
        ('{"id": 1, "filter": {"key": "city", "match": {"value": 1}}}', A_FILTER),
        ('{"id": 1, "filter": null}', A_FILTER),
        (
            '{"id": 1, "filter": {"must": [NaN]}}',
            "a filter holds text, numbers, true, false, lists and keys only",
        ),
    ],
)
def test_a_wrong_line_is_told_by_its_number_and_what_to_write(
    tmp_path: Path, line: str | bytes, message: str
) -> None:
    """And never repeated: a key pasted there must not end up in a log."""
    content = b'{"id": 1}\n\n' + (line.encode() if isinstance(line, str) else line) + b'\n{"id": 2}\n'

    assert problem_of(tmp_path, content) == f"queries.jsonl: line 3: {message}"


def test_of_many_wrong_lines_the_first_are_told(tmp_path: Path) -> None:
    """A file of another format is wrong in every one."""
    wrong = "".join(f"{number},0.5\n" for number in range(MAX_PROBLEMS + 37))

    told = "; ".join(f"line {number}: is not JSON" for number in range(1, MAX_PROBLEMS + 1))
    assert problem_of(tmp_path, wrong) == f"queries.jsonl: {told}; and more lines"


@pytest.mark.parametrize("content", ["", "\n\n", "   "])
def test_a_file_without_a_query_is_refused(tmp_path: Path, content: str) -> None:
    """Nothing would ever be searched, and nobody would know why."""
    assert problem_of(tmp_path, content) == (
        'queries.jsonl has no query; write lines such as {"vector": [0.1, 0.2]} or {"id": 7}'
    )


def test_a_file_that_is_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is held in memory."""
    assert len(read(tmp_path, '{"id": 1}\n' * 1_000).queries) == 1_000
    assert problem_of(tmp_path, '{"id": 1}\n' * 1_001) == (
        "queries.jsonl has more than 1000 queries; keep at most so many"
    )

    monkeypatch.setattr(queries_file, "MAX_FILE_BYTES", 100)
    assert len(read(tmp_path, '{"id": 1}\n' * 10).queries) == 10
    assert problem_of(tmp_path, '{"id": 1}\n' * 10 + " ") == (
        "queries.jsonl is longer than 100 bytes; keep fewer queries"
    )


def test_a_file_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    """With the path that was tried."""
    for name, reason in (("gone", "No such file or directory"), (".", "Is a directory")):
        with pytest.raises(ValueError, match=reason) as caught:
            read_queries_file(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name} cannot be read: {reason}"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A reload would wait in it for a writer that never comes."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ValueError, match="is no regular file"):
        read_queries_file(tmp_path / "pipe")


def test_a_relative_path_starts_at_the_configuration_file(tmp_path: Path) -> None:
    """As every path that is written there; and what is shown loads to the same queries."""
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "own.jsonl").write_text('{"id": 7}\n')
    text = PEERS + "  probes: {collections: [{queries_file: q/own.jsonl}]}"

    loaded = settings_of(tmp_path, text)

    own = loaded.clusters[0].probes.collections[0].queries_file
    assert own == QueriesFile(tmp_path / "q" / "own.jsonl", (WrittenQuery(b"7"),))
    assert settings_of(tmp_path, redacted_yaml(loaded)) == loaded


def test_queries_are_never_shown(tmp_path: Path) -> None:
    """They are somebody's data, and long: only their path is told."""
    (tmp_path / "own.jsonl").write_text('{"vector": [0.123456], "filter": {"must": ["s3cr3t"]}}\n')
    loaded = settings_of(tmp_path, PEERS + "  probes: {collections: [{queries_file: own.jsonl}]}")

    shown = repr(loaded) + redacted_yaml(loaded)

    assert "own.jsonl" in shown
    assert "0.123456" not in shown
    assert "s3cr3t" not in shown


def test_a_wrong_line_is_told_with_all_else_that_is_wrong(tmp_path: Path) -> None:
    """The configuration's own lines beside those of the file it names."""
    (tmp_path / "own.jsonl").write_text('{"id": 7}\n{"id": -7}\n')
    text = PEERS + "  probes:\n    collections:\n    - limit: 0\n      queries_file: own.jsonl\n"

    assert problems_of(tmp_path, text) == [
        "config.yaml:5: clusters.0.probes.collections.0.limit:"
        " write 1 to 1000: ids are compared by it, and it is the k of recall",
        "config.yaml:6: clusters.0.probes.collections.0.queries_file:"
        " own.jsonl: line 2: id is a whole number from 0 or a UUID",
    ]


_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_NUMBERS = _FLOATS | st.integers(-(2**63), 2**64)
_DENSE = st.lists(_NUMBERS, min_size=1, max_size=5)
_SPARSE = st.lists(st.tuples(st.integers(0, 2**32 - 1), _NUMBERS), min_size=1, max_size=5).map(
    lambda pairs: {"indices": [index for index, _ in pairs], "values": [value for _, value in pairs]}
)
_VECTORS = _DENSE | _SPARSE | st.lists(_DENSE, min_size=1, max_size=3)
_IDS = st.integers(0, 2**64 - 1) | st.uuids().map(str)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
_FILTERS = st.dictionaries(st.sampled_from(queries_file.FILTER_KEYS), _VALUES, min_size=1)
_OPTIONS = {"using": st.text(max_size=5), "filter": _FILTERS}
_LINES = st.fixed_dictionaries({"vector": _VECTORS}, optional=_OPTIONS) | st.fixed_dictionaries(
    {"id": _IDS}, optional=_OPTIONS
)
_MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_MANY
@given(lines=st.lists(_LINES, min_size=1, max_size=5), ascii_only=st.booleans())
def test_what_was_written_is_what_is_searched_with(
    tmp_path: Path, lines: list[dict[str, Any]], ascii_only: bool
) -> None:
    """To the last bit of each number, whichever way the JSON was written."""
    content = "\n".join(json.dumps(line, ensure_ascii=ascii_only) for line in lines)

    found = read(tmp_path, content).queries

    assert [json.loads(query.query) for query in found] == [
        line["vector"] if "vector" in line else line["id"] for line in lines
    ]
    assert [query.using for query in found] == [line.get("using") for line in lines]
    assert [None if query.filter is None else json.loads(query.filter) for query in found] == [
        line.get("filter") for line in lines
    ]


def queries_or_problem(directory: Path, content: bytes) -> tuple[WrittenQuery, ...] | str:
    """Return the queries of a file, or what is wrong with it."""
    try:
        return read(directory, content).queries
    except ValueError as error:
        return str(error)


@_MANY
@given(
    content=st.binary(max_size=80)
    | st.text(alphabet='{}[]":, \n\\uvectoridsngflmNaI0123456789.e-', max_size=80).map(str.encode)
    | st.lists(_VALUES | st.dictionaries(st.sampled_from(queries_file.KEYS), _VALUES), max_size=3).map(
        lambda lines: "\n".join(map(json.dumps, lines)).encode()
    )
)
def test_any_file_gives_queries_that_can_be_sent_or_lines_that_are_wrong(
    tmp_path: Path, content: bytes
) -> None:
    """No file, however broken, makes the program fail in another way, then or at the first search."""
    found = queries_or_problem(tmp_path, content)

    if isinstance(found, str):
        assert re.match(r".*queries\.jsonl(: line \d+: | has no query)", found)
        return
    for query in found:
        msgspec.json.decode(query.query)
        assert query.filter is None or msgspec.json.decode(query.filter)
        msgspec.json.encode({"using": query.using})
