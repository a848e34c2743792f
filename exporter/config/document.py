"""A YAML file as plain data, with the line of every key and item.

Stricter than YAML: no key twice, no tags, no merge keys, one document. Nothing here knows
what the keys mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from exporter.config.problems import KeyPath, Origin

# A configuration of a thousand clusters has half of it; the limit ends the reading of /dev/zero.
MAX_FILE_BYTES = 1 << 20

# Anchors may repeat parts; nested, they could make billions of a small file.
MAX_VALUES = 100_000

# Our deepest key is five levels down.
MAX_DEPTH = 32

_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null", "str", "timestamp")}
_TEXT_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"}


@dataclass(slots=True)
class Document:
    """What a file says. With `problems`, `tree` is what could be understood of it."""

    tree: Any = None
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)


def read_document(file: Path, *, expand: Callable[[str], str] = str) -> Document:
    """Return the file as mappings, lists, texts, numbers and booleans.

    `expand` changes each text, and refuses one by ValueError, which becomes a problem.
    A file that cannot be read or is no YAML is a problem of the document, not an exception.
    """
    document = Document(origins={(): Origin(file=str(file))})
    try:
        loader = yaml.SafeLoader(_text_of(file))
        node = loader.get_single_node()
    except ValueError as error:
        document.problems.append(((), str(error)))
    except yaml.MarkedYAMLError as error:
        _note_syntax(document, file, error)
    except yaml.YAMLError:
        document.problems.append(((), "the file has control characters, which YAML forbids"))
    except RecursionError:
        document.problems.append(((), f"values are nested deeper than {MAX_DEPTH} levels"))
    else:
        builder = _Builder(file=file, document=document, loader=loader, expand=expand)
        if node is not None:
            document.tree = builder.value(node, ())
    return document


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("this is not the path of a file") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the file is longer than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None


def _note_syntax(document: Document, file: Path, error: yaml.MarkedYAMLError) -> None:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else None
    document.origins[()] = Origin(file=str(file), line=line)
    # error.problem may quote a few characters of the line, which may be those of a secret
    document.problems.append(
        ((), "this is not YAML; look for a missing colon, quote or bracket, a tab, or wrong indentation")
    )


class _Builder:
    """Turns the nodes of one file into plain data and notes where each was."""

    def __init__(
        self, *, file: Path, document: Document, loader: yaml.SafeLoader, expand: Callable[[str], str]
    ) -> None:
        self._file = str(file)
        self._document = document
        self._loader = loader
        self._expand = expand
        self._values = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._document.origins.setdefault(path, self._at(node))
        self._values += 1
        if self._values > MAX_VALUES:
            if self._values == MAX_VALUES + 1:
                self._note((), f"the file has more than {MAX_VALUES} values")
            return None
        if len(path) > MAX_DEPTH:  # an anchor that holds itself ends here too
            return self._note(path, f"values are nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS:
            return self._scalar(node, path)
        return self._note(path, "YAML tags (words with !) have no meaning here; remove it")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._note_at(key_node, (*path, "<<"), "merge keys have no meaning here; write the lines out")
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._note_at(key_node, path, "a key must be one word")
                continue
            key = key_node.value
            inner = (*path, key)
            if key in mapping:
                first = self._document.origins[inner].line
                self._note_at(key_node, (*path, key + " "), f"{key} is written twice, first in line {first}")
                continue
            self._document.origins[inner] = self._at(key_node)
            mapping[key] = self.value(value_node, inner)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag in _TEXT_TAGS:
            return self._text(node.value, path)
        try:
            return self._loader.construct_object(node)  # type: ignore[no-untyped-call]
        except (ValueError, KeyError, yaml.YAMLError):
            return self._note(path, "this looks like a number and is none; put quotes around it")

    def _text(self, text: str, path: KeyPath) -> str | None:
        try:
            expanded = self._expand(text)
            expanded.encode()
        except UnicodeEncodeError:
            return self._note(path, "the text has half of a UTF-16 pair in it, which is no character")
        except ValueError as error:
            return self._note(path, str(error))
        if "\0" in expanded:
            return self._note(path, "the text has a NUL character in it")
        return expanded

    def _at(self, node: yaml.Node) -> Origin:
        return Origin(file=self._file, line=node.start_mark.line + 1)

    def _note(self, path: KeyPath, message: str) -> None:
        self._document.problems.append((path, message))

    def _note_at(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self._document.origins.setdefault(path, self._at(node))
        self._note(path, message)
