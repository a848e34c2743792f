"""Settings of recorded collections made into requests, and what is compared afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.backup.restoring import schema
from exporter.backup.restoring.schema import Mark
from exporter.qdrant.versions import Version
from tests.kit.recordings import recording

MARK = Mark("20270116T080000Z-00000b", "20270115T080000Z-00000a", scratch=False)
RECORDED = [
    f"{version}/single/small/collection.{name}"
    for version in ("v1.12.6", "v1.16.3", "v1.18.3")
    for name in ("docs", "named", "quantized", "binary", "noindex", "strict")
]


def config_of(name: str) -> dict[str, Any]:
    """Return the settings in a recorded description."""
    config: dict[str, Any] = recording(name).json["result"]["config"]
    return config


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_setting_is_in_the_creation_or_comes_afterwards(name: str) -> None:
    """Nothing that a server said is lost, but nulls, which are its defaults."""
    config = config_of(name)

    body = schema.creation(config, shards=2, mark=None)
    later = schema.afterwards(config)

    params = {field: value for field, value in body.items() if field in config["params"]}
    said = {field: value for field, value in config["params"].items() if value is not None}
    assert params == {**said, "shard_number": 2}
    for part in ("hnsw_config", "wal_config", "quantization_config"):
        assert body.get(part) == without_nulls(config.get(part))
    assert body["optimizers_config"] == without_nulls(config["optimizer_config"])
    assert later.get("strict_mode_config") == without_nulls(config.get("strict_mode_config"))
    assert "strict_mode_config" not in body


def test_the_creation_speaks_as_the_recorded_request_did() -> None:
    """What the server says of `named` leads to the request that made it, with the defaults filled in."""
    asked = recording("v1.18.3/single/create/create.named").request["body"]

    body = schema.creation(config_of("v1.18.3/single/small/collection.named"), shards=1, mark=None)

    assert {field: body[field] for field in asked} == asked


def test_fan_out_is_for_a_patch() -> None:
    """Creation ignores it, seen on 1.18.3."""
    config = {"params": {"vectors": {}, "read_fan_out_factor": 1, "read_fan_out_delay_ms": 5}}

    body = schema.creation(config, shards=1, mark=None)
    later = schema.afterwards(config)

    assert body == {"vectors": {}, "shard_number": 1}
    assert later == {"params": {"read_fan_out_factor": 1, "read_fan_out_delay_ms": 5}}


def test_shards_of_a_key_are_not_the_shards_of_the_collection() -> None:
    """With custom sharding the number is that of a new key, and stays."""
    config = {"params": {"vectors": {}, "shard_number": 2, "sharding_method": "custom"}}

    assert schema.creation(config, shards=9, mark=None)["shard_number"] == 2


def test_a_field_of_a_newer_server_is_passed_on() -> None:
    """A server ignores what it does not know; one that knows it has it again."""
    config = {"params": {"vectors": {}, "payload": {"memory": "cold"}}, "new_config": {"a": 1}}

    body = schema.creation(config, shards=1, mark=None)

    assert body["payload"] == {"memory": "cold"}
    assert body["new_config"] == {"a": 1}


def test_metadata_keeps_its_nulls_and_gets_our_mark_in_place_of_an_older_one() -> None:
    """A collection that was restored once may be backed up while it still bore a mark."""
    config = {"params": {"vectors": {}}, "metadata": {"owner": None, schema.MARK: {"id": "old"}}}

    body = schema.creation(config, shards=1, mark=MARK)

    assert body["metadata"] == {"owner": None, schema.MARK: MARK.document()}
    assert schema.mark_of(body) == MARK


@pytest.mark.parametrize("said", [None, {}, {schema.MARK: "text"}, {schema.MARK: {"id": 7, "set": "x"}}])
def test_what_is_no_mark_of_ours_is_none(said: Any) -> None:
    """Metadata is anybody's, and of any shape."""
    assert schema.mark_of({"metadata": said}) is None


def test_metadata_is_kept_since_1_16() -> None:
    """An unreadable version is taken for a newer one."""
    assert [schema.keeps_metadata(version) for version in (Version(1, 15, 5), Version(1, 16, 0), None)] == [
        False,
        True,
        True,
    ]


def test_indexes_are_made_with_the_options_they_had() -> None:
    """A type alone where there are none; nulls are left out, as 1.18.3 says is_principal of an integer."""
    said = {
        "text": {"data_type": "text", "params": {"type": "text", "tokenizer": "word"}, "points": 5},
        "kind": {"data_type": "keyword", "points": 5},
        "n": {"data_type": "integer", "params": {"type": "integer", "range": False, "is_principal": None}},
    }

    assert schema.indexes(said) == (
        ("kind", "keyword"),
        ("n", {"type": "integer", "range": False}),
        ("text", {"type": "text", "tokenizer": "word"}),
    )


def test_an_index_that_is_missing_or_other_is_told_and_one_more_is_not() -> None:
    """The numbers of points in them say nothing of what they are."""
    wanted = {
        "gone": {"data_type": "keyword", "points": 5},
        "kind": {"data_type": "keyword", "points": 5},
        "n": {"data_type": "integer", "params": {"type": "integer", "range": False}},
    }
    found = {
        "kind": {"data_type": "keyword", "params": {"type": "keyword"}, "points": 0},
        "n": {"data_type": "integer", "params": {"type": "integer", "range": True}},
        "more": {"data_type": "float"},
    }

    assert schema.index_differences(wanted, found) == (
        "the payload index of gone is missing",
        "the payload index of n is not as it was",
    )


def test_settings_that_a_server_did_not_take_are_named_with_both_values() -> None:
    """What it has in addition, its defaults, is no difference; nor are metadata."""
    wanted = {
        "params": {"shard_number": 1, "replication_factor": 2},
        "optimizer_config": {"prevent_unoptimized": True, "max_segment_size": None},
        "quantization_config": None,
        "metadata": {"a": 1},
    }
    found = {
        "params": {"shard_number": 1, "replication_factor": 1},
        "optimizer_config": {"indexing_threshold": 10_000},
        "metadata": {},
    }

    assert schema.config_differences(wanted, found) == (
        "params.replication_factor is 1, and was 2 in the backup",
        "optimizer_config.prevent_unoptimized is None, and was True in the backup",
    )


def without_nulls(said: Any) -> Any:
    """Return settings without their defaults; None where nothing is left."""
    if not isinstance(said, dict):
        return said
    return {field: without_nulls(value) for field, value in said.items() if value is not None}
