"""Every problem of a configuration, each with its place, collected before anyone is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from exporter.config.fields import Section, keys_of
from exporter.errors import Problem

KeyPath = tuple[str | int, ...]

WRITE_KEYS = "write keys and values here, one `key: value` a line"
WRITE_A_LIST = "write a list here, one `- item` a line"

# What a person should write instead, by pydantic's name for the error.
_INSTEAD = {
    "missing": "is missing and must be written",
    "string_type": "write text here; put quotes around a number, a date or yes and no",
    "path_type": "write a path here",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "int_parsing_size": "write a smaller number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "finite_number": "write a finite number",
    "tuple_type": WRITE_A_LIST,
    "model_type": WRITE_KEYS,
    "dict_type": WRITE_KEYS,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written."""

    file: str = ""
    line: int | None = None
    name: str = ""  # the flag or the variable, when it was not a file


class ProblemList:
    """Collects problems by path in the tree of settings; tells them in the order of the files."""

    def __init__(self, *, origins: Mapping[KeyPath, Origin]) -> None:
        self._origins = origins
        self._found: list[tuple[Origin, KeyPath, str]] = []
        self._causes: set[KeyPath] = set()

    def add(self, path: KeyPath, message: str) -> None:
        """Note a problem, unless this very place has one: the first is the cause."""
        if path not in self._causes:
            self._causes.add(path)
            self._found.append((self._origin(path), path, message))

    def add_at(self, origin: Origin, path: KeyPath, message: str) -> None:
        """Note a problem whose place is not that of the path's value, and explains no other."""
        self._found.append((origin, path, message))

    def add_consequence(self, path: KeyPath, message: str) -> None:
        """Note a problem, unless one above or below it explains it."""
        for cause in self._causes:
            shared = min(len(cause), len(path))
            if cause[:shared] == path[:shared]:
                return
        self._found.append((self._origin(path), path, message))

    def told(self) -> tuple[Problem, ...]:
        """Return all problems: those of files by line, then those of flags and variables."""
        in_order = sorted(self._found, key=lambda entry: (entry[0].name != "", entry[0].line or 0))
        return tuple(
            Problem(origin.file, origin.line, origin.name or ".".join(map(str, path)), message)
            for origin, path, message in in_order
        )

    def _origin(self, path: KeyPath) -> Origin:
        for length in range(len(path), -1, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]]
        return Origin()


def explained(error: ValidationError, root: type[Section]) -> Iterator[tuple[KeyPath, str]]:
    """Yield path and advice for each refusal of the models. Never repeats a value."""
    for refusal in error.errors(include_url=False, include_input=False):
        path: KeyPath = refusal["loc"]
        if path[-1:] == ("[key]",):  # pydantic's word for "the key itself is refused"
            path = path[:-1]
        kind = refusal["type"]
        context: Mapping[str, Any] = refusal.get("ctx", {})
        if kind == "extra_forbidden":
            message = _unknown_key(root, path)
        elif kind == "value_error":
            message = str(context["error"])
        elif kind == "literal_error":
            message = f"write one of {context['expected']}"
        else:
            message = _INSTEAD.get(kind, "this cannot be used here")
        yield path, message


def _unknown_key(root: type[Section], path: KeyPath) -> str:
    section = _section_at(root, path[:-1])
    if advice := section.refused_keys.get(str(path[-1])):
        return advice
    known = keys_of(section)
    near = get_close_matches(str(path[-1]), known, n=1)
    if near:
        return f"there is no such key; did you mean {near[0]}?"
    return f"there is no such key; known here: {', '.join(known)}"


def _section_at(root: type[Section], path: KeyPath) -> type[Section]:
    section, is_a_name = root, False
    for key in path:
        if is_a_name:  # of a mapping from names to sections: a person chose it
            is_a_name = False
        elif isinstance(key, str):
            annotation = keys_of(section)[key].annotation
            section = section_in(annotation) or section
            is_a_name = get_origin(annotation) is dict
    return section


def section_in(annotation: Any) -> type[Section] | None:
    """Return the section that an annotation is, or is a tuple of, or may be; else None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for argument in get_args(annotation):
        if found := section_in(argument):
            return found
    return None
