"""The request that writes points."""

from __future__ import annotations

import msgspec

from exporter.qdrant.upserting import UPSERT, upsert


def test_points_go_as_they_were_written_and_are_waited_for() -> None:
    """The name of the collection is a part of the path, whatever is in it."""
    asked = upsert("a b/c", [b'{"id":1,"vector":{}}', b'{"id":2,"vector":{}}'])

    assert (asked.request.method, asked.endpoint) == ("PUT", UPSERT)
    assert asked.request.path == "/collections/a%20b%2Fc/points?wait=true"
    assert msgspec.json.decode(asked.request.body or b"") == {
        "points": [{"id": 1, "vector": {}}, {"id": 2, "vector": {}}]
    }


def test_a_shard_key_is_named_as_the_number_or_the_text_that_it_is() -> None:
    """A number in quotes is another key."""
    bodies = [upsert("docs", [b"{}"], key).request.body for key in (7, "7")]

    assert [msgspec.json.decode(body or b"")["shard_key"] for body in bodies] == [7, "7"]
