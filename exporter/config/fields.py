"""Field types of the settings: what may be written, its bounds, and how it is shown again.

Every refusal is a ValueError whose text tells the person what to write. It never repeats
the value: a key pasted into the wrong line must not end up in a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo

from exporter.config.addresses import WRITE_AN_ADDRESS, checked_template, normal_url, split_listen_address
from exporter.config.quantities import (
    WRITE_A_DURATION,
    WRITE_A_SIZE,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from exporter.config.written import Written

# All become label values, state keys and parts of URLs; 63 is the limit of a DNS label.
_SHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PEER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,252}")

# Qdrant refuses these in a collection name (seen on 1.18.3), and more than 255 bytes.
_NEVER_IN_A_COLLECTION_NAME = ('"', "\\", "/")
MAX_COLLECTION_NAME_BYTES = 255


class Section(BaseModel):
    """One feature's part of the configuration: frozen, and without keys that nobody reads."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    # Keys that the format has and we do not, and what to do instead.
    refused_keys: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _nothing_written_is_the_default(cls, value: Any) -> Any:
        # `poll:` with nothing after it is null in YAML. An unknown key stays, to be refused.
        if not isinstance(value, dict):
            return value
        known = keys_of(cls)
        return {key: written for key, written in value.items() if written is not None or key not in known}


def keys_of(section: type[Section]) -> dict[str, FieldInfo]:
    """Return a section's fields by the key a person writes."""
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else name: field
        for name, field in section.model_fields.items()
    }


def _given_by_code(value: Any, info: ValidationInfo) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and not isinstance(info.context, Written)


def _seconds(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if _given_by_code(value, info):
        return float(value)
    raise ValueError(WRITE_A_DURATION)


def _size(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, str):
        return parse_size(value)
    if _given_by_code(value, info):
        return int(value)
    raise ValueError(WRITE_A_SIZE)


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would read `cap: yes` as 1
        raise ValueError("write a number")  # noqa: TRY004  # pydantic takes no TypeError
    return value


def _one_or_many(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        return value
    raise ValueError(WRITE_AN_ADDRESS)


def _at_least_one(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise ValueError("the list is empty; write an address or leave the key out")
    if len(set(addresses)) < len(addresses):
        raise ValueError("an address is written twice; remove one")
    return addresses


def _filled(text: str) -> str:
    if not text:
        raise ValueError("is empty; write something or leave the key out")
    return text


def short_name(whose: str) -> AfterValidator:
    """Make a check of names that become label values; `whose` is for people: "a cluster"."""

    def check(text: str) -> str:
        if not _SHORT_NAME.fullmatch(text):
            raise ValueError(
                f"{whose}'s name has 1 to 63 letters, digits, dots, hyphens and underscores"
                " and starts with a letter or digit"
            )
        return text

    return AfterValidator(check)


def _peer_name(text: str) -> str:
    if text.startswith("id:"):
        raise ValueError('names that start with "id:" are kept for peers known by id only; write another')
    if not _PEER_NAME.fullmatch(text):
        raise ValueError(
            "a peer's name has letters, digits, dots, colons, hyphens and underscores"
            " and starts with a letter or digit"
        )
    return text


def _collection_name(text: str) -> str:
    _filled(text)
    if any(character in text for character in _NEVER_IN_A_COLLECTION_NAME):
        raise ValueError('Qdrant has no collection with a ", a \\ or a / in its name')
    if len(text.encode()) > MAX_COLLECTION_NAME_BYTES:
        raise ValueError(f"Qdrant has no collection name longer than {MAX_COLLECTION_NAME_BYTES} bytes")
    return text


def _listen_address(text: str) -> str:
    split_listen_address(text)
    return text


def _external_url(text: str) -> str:
    return normal_url(text, default_port=None)


def _path(path: Path, info: ValidationInfo) -> Path:
    return info.context.directory / path if isinstance(info.context, Written) else path


def _existing_file(path: Path, info: ValidationInfo) -> Path:
    path = _path(path, info)
    try:
        if not isinstance(info.context, Written) or path.is_file():
            return path
        if path.is_dir():
            raise ValueError(f"{path} is a directory; write the path of a file")
    except OSError as error:  # a name that is too long, for one
        raise ValueError(f"this is not the path of a file: {error.strerror}") from None
    raise ValueError(f"there is no file {path} that we may see")


def _directory(path: Path, info: ValidationInfo) -> Path:
    path = _path(path, info)
    try:
        if isinstance(info.context, Written) and path.exists() and not path.is_dir():
            raise ValueError(f"{path} is not a directory")
    except OSError as error:
        raise ValueError(f"this is not the path of a directory: {error.strerror}") from None
    return path


def within(lowest: float, highest: float, *, show: Callable[[Any], str] = str, reason: str) -> AfterValidator:
    """Make a check of bounds, both included, whose refusal tells them and the reason."""

    def check(value: float) -> float:
        if not lowest <= value <= highest:
            raise ValueError(f"write {show(lowest)} to {show(highest)}: {reason}")
        return value

    return AfterValidator(check)


Seconds = Annotated[
    float, BeforeValidator(_seconds), PlainSerializer(format_duration, return_type=str, when_used="json")
]
Size = Annotated[int, BeforeValidator(_size), PlainSerializer(format_size, return_type=str, when_used="json")]
Count = Annotated[int, BeforeValidator(_number)]
Ratio = Annotated[float, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(_filled)]
PeerUrl = Annotated[str, AfterValidator(normal_url)]
ExternalUrl = Annotated[str, AfterValidator(_external_url)]
UrlTemplate = Annotated[str, AfterValidator(checked_template)]
ClusterName = Annotated[str, short_name("a cluster")]
PeerName = Annotated[str, AfterValidator(_peer_name)]
CollectionName = Annotated[str, AfterValidator(_collection_name)]
ListenAddresses = Annotated[
    tuple[Annotated[str, AfterValidator(_listen_address)], ...],
    BeforeValidator(_one_or_many),
    AfterValidator(_at_least_one),
]
AnyPath = Annotated[Path, AfterValidator(_path)]
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
Directory = Annotated[Path, AfterValidator(_directory)]
