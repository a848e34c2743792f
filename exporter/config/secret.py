"""A value that must never be seen: API keys, bearer tokens, password hashes."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from exporter.config.written import Written

HIDDEN = "<secret>"

# HTTP servers refuse headers beyond 8 to 16 KiB; the limit also ends the reading of /dev/zero.
MAX_SECRET_BYTES = 16_384

HOW_TO_WRITE_ONE = "write ${NAME_OF_A_VARIABLE}, or {file: /path/to/secret}, or the text itself in quotes"


class Secret:
    """Text that shows as `<secret>` in str, repr, format, dumps and JSON. Only `reveal` tells it.

    In the configuration: text, `${VARIABLE}` inside text, or `{file: path}`.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text. To be called where it is sent or compared, nowhere else."""
        return self._value

    def __str__(self) -> str:
        return HIDDEN

    __repr__ = __str__

    def __format__(self, format_spec: str) -> str:
        return format(HIDDEN, format_spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda _: HIDDEN, when_used="json"
            ),
        )


def read_secret_file(path: Path) -> str:
    """Return the text of a secret's file without the line break at its end.

    Raises ValueError naming the path, never the content.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ValueError(f"cannot read the secret's file {path}: {reason}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"the secret's file {path} is longer than {MAX_SECRET_BYTES} bytes")
    try:
        text = content.decode("ascii").removesuffix("\n").removesuffix("\r")
        return _sendable(text)
    except ValueError:
        raise ValueError(
            f"the secret's file {path} must hold one line of visible ASCII characters and nothing else"
        ) from None


def _read(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(_sendable(value))
    if isinstance(info.context, Written) and isinstance(value, dict) and value.keys() == {"file"}:
        path = value["file"]
        if not isinstance(path, str) or not path:
            raise ValueError("write {file: /path/to/secret}")
        return Secret(read_secret_file(info.context.directory / path))
    raise ValueError(HOW_TO_WRITE_ONE)


def _sendable(text: str) -> str:
    if not text:
        raise ValueError("the secret is empty; leave the key out if there is none")
    if not all("!" <= character <= "~" for character in text):
        raise ValueError(
            "the secret has a space, a line break or a character beyond ASCII, which no HTTP header can carry"
        )
    return text
