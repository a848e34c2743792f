"""A collection's settings as a server says them, made into the requests that make it anew. Pure.

`GET` and `PUT` of a collection speak differently: what `params` holds stands at the top of a creation, and
two of its fields are taken by `PATCH` alone. A field that nobody here knows is passed on as it is: a server
ignores what it does not know (seen on 1.18.3), and the comparison afterwards tells what it did not take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporter.qdrant.versions import Version

# Our mark in a collection's metadata: whoever finds it may go on with the collection, or remove it.
MARK = "qdrantx_restore"
# The first version whose collections keep metadata.
METADATA_SINCE = Version(1, 16, 0)

CUSTOM = "custom"
# Of `params`, these are taken by PATCH and ignored at creation.
_FAN_OUT = ("read_fan_out_factor", "read_fan_out_delay_ms")
# GET's name for the optimizers' settings, and PUT's.
_OPTIMIZERS, _OPTIMIZERS_AT_CREATION = "optimizer_config", "optimizers_config"
# The body of a PATCH that changes nothing and makes the server plan its optimizations anew.
WAKING: Mapping[str, Any] = {_OPTIMIZERS_AT_CREATION: {}}
# What creation says by another name, at another time or not at all: limits of strict mode would stand in
# the way of the load, so they come last, and the id is the server's to make.
_APART = frozenset({"params", _OPTIMIZERS, "strict_mode_config", "metadata", "uuid"})
# The number of shards a key gets by default, or of all shards: the layout says the latter itself.
_SHARD_NUMBER = "shard_number"


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands in a target's metadata."""

    restore_id: str
    set_id: str
    scratch: bool

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"id": self.restore_id, "set": self.set_id, "scratch": self.scratch}


def is_custom(config: Mapping[str, Any]) -> bool:
    """Whether points are put where their shard key says."""
    return bool(_params(config).get("sharding_method") == CUSTOM)


def keeps_metadata(version: Version | None) -> bool:
    """Whether a server of this version keeps metadata; an unreadable version is taken for a newer one."""
    return version is None or version >= METADATA_SINCE


def creation(config: Mapping[str, Any], *, shards: int, mark: Mark | None) -> dict[str, Any]:
    """Return the body that creates a collection of these settings, without fan-out and strict mode.

    `mark` None: the server keeps no metadata, and the collection's own is left out too. Nulls are: they are
    the server's defaults.
    """
    params = {name: value for name, value in _params(config).items() if name not in _FAN_OUT}
    body: dict[str, Any] = params | {name: said for name, said in config.items() if name not in _APART}
    body[_OPTIMIZERS_AT_CREATION] = config.get(_OPTIMIZERS)
    if not is_custom(config):
        body[_SHARD_NUMBER] = shards
    body = {name: value for name, value in _without_nulls(body).items() if value != {} or name == "vectors"}
    if mark is not None:
        body["metadata"] = _own_metadata(config) | {MARK: mark.document()}
    return body


def afterwards(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of the PATCH that comes when all is proven; {} where there is nothing to change."""
    params = {name: _params(config)[name] for name in _FAN_OUT if _params(config).get(name) is not None}
    strict = _without_nulls(config.get("strict_mode_config") or {})
    return ({"params": params} if params else {}) | ({"strict_mode_config": strict} if strict else {})


def without_mark() -> dict[str, Any]:
    """Return the body of the PATCH that takes our mark away; other metadata stays."""
    return {"metadata": {MARK: None}}


def mark_of(config: Mapping[str, Any]) -> Mark | None:
    """Read our mark in the settings of a collection; None where there is none, or one that is not ours."""
    found = (config.get("metadata") or {}).get(MARK)
    if not isinstance(found, dict):
        return None
    restore_id, set_id = found.get("id"), found.get("set")
    if not isinstance(restore_id, str) or not isinstance(set_id, str):
        return None
    return Mark(restore_id, set_id, scratch=found.get("scratch") is True)


def has_metadata(config: Mapping[str, Any]) -> bool:
    """Whether a collection has metadata of its own."""
    return bool(_own_metadata(config))


def indexes(payload_schema: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the payload indexes as (field, schema) for their creation, by field."""
    return tuple((field, _field_schema(said)) for field, said in sorted(payload_schema.items()))


def index_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which payload indexes are missing or other than in the backup. More of them are no difference."""
    problems = []
    for field, said in sorted(wanted.items()):
        if field not in found:
            problems.append(f"the payload index of {field} is missing")
        elif list(_differences("", _with_type(said), _with_type(found[field]))):
            problems.append(f"the payload index of {field} is not as it was")
    return tuple(problems)


def config_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the settings that are not as in the backup, with both values; metadata is not looked at."""
    hidden = {"metadata", "uuid"}
    ours = {name: _without_nulls(value) for name, value in wanted.items() if name not in hidden}
    ours = {name: value for name, value in ours.items() if value is not None}
    return tuple(
        f"{path} is {there!r}, and was {here!r} in the backup"
        for path, here, there in _differences("", ours, found)
    )


def _params(config: Mapping[str, Any]) -> Mapping[str, Any]:
    params: Mapping[str, Any] = config.get("params") or {}
    return params


def _own_metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a collection's metadata without a mark of ours: a restored collection was backed up, perhaps."""
    return {name: value for name, value in (config.get("metadata") or {}).items() if name != MARK}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    return value


def _field_schema(said: Mapping[str, Any]) -> Any:
    """Return a field's type, or its options where it has some."""
    options = _without_nulls(said.get("params") or {})
    return {"type": said.get("data_type")} | options if options else said.get("data_type")


def _with_type(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field's type and options in one shape, whether it was said with options or without."""
    options: dict[str, Any] = _without_nulls(said.get("params") or {})
    return {"type": said.get("data_type")} | options


def _differences(path: str, wanted: Any, found: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, wanted, found) of every leaf of `wanted` that is not so in `found`."""
    if not isinstance(wanted, Mapping):
        if wanted != found:
            yield path, wanted, found
        return
    held = found if isinstance(found, Mapping) else {}
    for name, part in wanted.items():
        yield from _differences(f"{path}.{name}" if path else name, part, held.get(name))
