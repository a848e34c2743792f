"""config.example.yaml holds every option, with the default that is in force and its flag."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from exporter.config.clusters import ClusterSettings, PeerSettings
from exporter.config.document import Document, read_document
from exporter.config.fields import Section, keys_of
from exporter.config.flags import FLAGS, SECRET_VARIABLES
from exporter.config.loader import load
from exporter.config.problems import section_in
from exporter.config.settings import Settings

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"

Option = tuple[tuple[str, ...], object]


def _options(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Yield path and default of every key that holds a value, as GET /config would show it."""
    shown = section.model_construct().model_dump(mode="json", warnings=False)
    for key, field in keys_of(section).items():
        inner = section_in(field.annotation)
        if inner is None or field.default == ():
            default = None if field.default is PydanticUndefined else shown[key]
            yield (*path, key), default
        if inner is not None:
            yield from _options(inner, (*path, key))


OPTIONS = tuple(_options(Settings))


@pytest.fixture
def whole_example(tmp_path: Path) -> Document:
    """The example with every commented-out option (`#key:`) in force, lines as they were."""
    text = re.sub(r"^( *)#(?=[a-z_0-9]+:)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    (tmp_path / "whole.yaml").write_text(text)
    return read_document(tmp_path / "whole.yaml")


def _without_indexes(path: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(key for key in path if isinstance(key, str))


def _comments(document: Document) -> dict[tuple[str, ...], str]:
    """Return the comment above each option, as one line."""
    lines = EXAMPLE.read_text().splitlines()
    comments = {}
    for path, origin in document.origins.items():
        if not path or not isinstance(path[-1], str):
            continue
        first = last = (origin.line or 0) - 1
        while lines[first - 1].strip().startswith("# "):
            first -= 1
        comments[_without_indexes(path)] = " ".join(line.strip(" #") for line in lines[first:last])
    return comments


def _as_stated(default: object) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if default == [":10633"]:
        return '":10633"'
    return str(default).replace("'", '"')


def test_the_example_is_valid_as_it_stands_and_says_only_defaults() -> None:
    """Who copies it and changes a line changes just that."""
    expected = Settings(clusters=(ClusterSettings(peers=(PeerSettings(url="http://localhost:6333"),)),))

    assert load(EXAMPLE, {}, {}) == expected


@pytest.mark.parametrize(("path", "default"), OPTIONS, ids=[".".join(path) for path, _ in OPTIONS])
def test_the_example_states_the_default_of_every_option(
    whole_example: Document, path: tuple[str, ...], default: Any
) -> None:
    """A new option without a line there, or a changed default, fails here."""
    comment = _comments(whole_example)[path]

    stated = re.search(r"Default: (.+?)[.,:;]?(?: |$)", comment)
    assert stated is not None, comment
    assert stated[1].rstrip(".,:;") == _as_stated(default)


def test_the_example_has_no_option_that_does_not_exist(whole_example: Document) -> None:
    """A removed option must go from the example too."""
    sections = {path[:length] for path, _ in OPTIONS for length in range(1, len(path) + 1)}
    free = {("clusters", "bearer_token"), ("clusters", "probes", "collections", "filter")}

    written = {_without_indexes(path) for path in whole_example.origins} - {()}
    inside_free = {path for path in written for value in free if path[: len(value)] == value != path}

    assert whole_example.problems.told() == ()
    assert written - inside_free == sections


def test_the_example_names_every_flag_at_its_option(whole_example: Document) -> None:
    """Who reads about an option learns how to give it on the command line."""
    comments = _comments(whole_example)
    options = [flag for flag in FLAGS if flag.path]

    missing = [
        flag.option
        for flag in options
        if flag.option not in comments[tuple(key for key in flag.path.split(".") if key not in "0*")]
    ]

    assert missing == []
    assert [flag for flag in SECRET_VARIABLES if flag.variable not in EXAMPLE.read_text()] == []
