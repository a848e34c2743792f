"""A YAML file as plain data, with the line of every key and item.

Stricter than YAML: no key twice, no tags, no merge keys, one document. Nothing here knows
what the keys mean.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from exporter.config.problems import KeyPath, Origin, ProblemList

# A configuration of a thousand clusters has half of it; the limit ends the reading of /dev/zero.
MAX_FILE_BYTES = 1 << 20

# Anchors may repeat parts; nested, they could make billions of a small file.
MAX_VALUES = 100_000

# Our deepest key is five levels down.
MAX_DEPTH = 32

_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null", "str", "timestamp")}
_TEXT_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"}


class Document:
    """What a file says. Parts that could not be understood are problems, and None in the tree."""

    def __init__(self, file: Path) -> None:
        self.tree: Any = None
        self.broken = False  # nothing of the file could be understood
        self.origins: dict[KeyPath, Origin] = {(): Origin(file=str(file))}
        self.problems = ProblemList(origins=self.origins)


def read_document(file: Path, *, expand: Callable[[str], str] = str) -> Document:
    """Return the file as mappings, lists, texts, numbers and booleans.

    `expand` changes each text, and refuses one by ValueError, which becomes a problem.
    A file that cannot be read or is no YAML is a problem of the document, not an exception.
    """
    document = Document(file)
    try:
        loader = yaml.SafeLoader(_text_of(file))
        node = _root_of(loader)
        if node is not None:
            builder = _Builder(file=file, document=document, loader=loader, expand=expand)
            document.tree = builder.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Origin(file=str(file), line=mark.line + 1 if mark is not None else None)
        document.problems.add_at(place, (), _syntax_advice(error.problem or ""))
    except yaml.YAMLError:
        document.problems.add((), "the file has control characters, which YAML forbids")
    except RecursionError:
        document.problems.add((), f"values are nested deeper than {MAX_DEPTH} levels")
    except ValueError as error:
        document.problems.add((), str(error))
    else:
        return document
    document.broken = True
    return document


def _syntax_advice(problem: str) -> str:
    if "'\\t'" in problem:
        return "this is not YAML: a tab stands here; indent with spaces"
    if "'" in problem:  # what it quotes may be a part of a secret
        problem = (
            "look for a missing colon, quote or bracket, or wrong indentation;"
            " inside { } and [ ], ${NAME} needs quotes"
        )
    return f"this is not YAML: {problem}"


def _root_of(loader: yaml.SafeLoader) -> yaml.Node | None:
    try:
        return loader.get_single_node()
    except (ValueError, OverflowError):  # "\\UFFFFFFFF", and numbers that int() does not take
        raise ValueError(
            "this is not YAML: a backslash is followed by a character that does not exist"
        ) from None


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
        """Return the plain data of a node. Raises ValueError when the file is too much."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise ValueError(f"the file has more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:  # an anchor that holds itself ends here too
            raise ValueError(f"values are nested deeper than {MAX_DEPTH} levels")
        self._document.origins.setdefault(path, self._at(node))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS:
            return self._scalar(node, path)
        return self._refused(path, "YAML tags (words with !) have no meaning here; remove it")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            place = self._at(key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                message = "merge keys (<<) have no meaning here; write the lines out"
                self._document.problems.add_at(place, path, message)
            elif not isinstance(key, str) or not key.isprintable():
                self._document.problems.add_at(place, path, "a key must be one word of visible characters")
            elif key in mapping:
                first = self._document.origins[(*path, key)].line
                message = f"this key is written twice, first in line {first}; remove one"
                self._document.problems.add_at(place, (*path, key), message)
            else:
                self._document.origins[(*path, key)] = place
                mapping[key] = self.value(value_node, (*path, key))
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag in _TEXT_TAGS:
            return self._text(node.value, path)
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError, yaml.YAMLError):
            return self._refused(path, "this looks like a number and is none; put quotes around it")

    def _text(self, text: str, path: KeyPath) -> str | None:
        try:
            expanded = self._expand(text)
            expanded.encode()
        except UnicodeEncodeError:
            return self._refused(path, "the text has half of a UTF-16 pair in it, which is no character")
        except ValueError as error:
            return self._refused(path, str(error))
        if "\0" in expanded:
            return self._refused(path, "the text has a NUL character in it")
        return expanded

    def _at(self, node: yaml.Node) -> Origin:
        return Origin(file=self._file, line=node.start_mark.line + 1)

    def _refused(self, path: KeyPath, message: str) -> str | None:
        """Note a problem and return what stands in the tree instead of the value."""
        self._document.problems.add(path, message)
        return None
