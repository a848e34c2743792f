"""Odd names of collections, fields and aliases come through the server, the gateway and the sources whole."""

from __future__ import annotations

import pytest

from tests.contract.ground import Qdrant, path_of
from tests.contract.look import look_at

LONGEST_NAME = 255
ODD = (
    "new\nline",
    "tab\tand space ",
    "per%41cent",
    "a&b=c;d?e#f".replace("?", "!"),
    "naïve-Größe-数据-данные",
    "emoji-🦀👩‍🚀",
    "quote'and{brace}",
    "dots..and.-dash",
)
REFUSED = ('quote"', "back\\slash", "a/b", "less<", "more>", "colon:", "pipe|", "question?", "star*")


@pytest.mark.parametrize("suffix", ODD)
async def test_an_odd_name_comes_through_whole(qdrant: Qdrant, suffix: str) -> None:
    """Created, filled, listed, polled by every source, and told by its own name."""
    name = await qdrant.create(suffix)
    await qdrant.write(name, 3)

    look = await look_at(qdrant)

    listed = await qdrant.result("GET", "/collections")
    assert {"name": name} in listed["collections"]
    assert look.failing == []
    assert look.number("collection_points", name) == 3


async def test_the_longest_name_comes_through_whole(qdrant: Qdrant) -> None:
    """255 characters are taken; one more is refused."""
    suffix = "x" * (LONGEST_NAME - len(qdrant.prefix))
    name = await qdrant.create(suffix)

    look = await look_at(qdrant)
    longer = await qdrant.ask("PUT", path_of(f"{name}x"), {"vectors": {"size": 4, "distance": "Dot"}})

    assert look.failing == []
    assert look.number("collection_points", name) == 0
    assert longer.status == 422


@pytest.mark.parametrize("suffix", REFUSED)
async def test_a_name_that_cannot_be_a_folder_is_refused(qdrant: Qdrant, suffix: str) -> None:
    """422, naming the character."""
    refused = await qdrant.ask(
        "PUT", path_of(qdrant.prefix + suffix), {"vectors": {"size": 4, "distance": "Dot"}}
    )

    assert refused.status == 422
    assert "collection name cannot contain" in refused.json["status"]["error"]


async def test_an_odd_alias_comes_through_whole(qdrant: Qdrant) -> None:
    """Told as a label exactly as it was given."""
    name = await qdrant.create()
    alias = f"{qdrant.prefix}alias\n🦀 %41"
    action = {"create_alias": {"collection_name": name, "alias_name": alias}}
    await qdrant.result("POST", "/collections/aliases", {"actions": [action]})

    look = await look_at(qdrant)

    assert look.readings[f"alias_info{{alias={alias},collection={name}}}"] == 1


@pytest.mark.parametrize("field", ["a.b[].c-d_e", "größe", '"x y🦀"', 'meta."x y"[]'])
async def test_an_odd_field_comes_through_whole(real: Qdrant, field: str) -> None:
    """Told as a label exactly as the server shows it. The embedded engine does not count indexes."""
    name = await real.create()
    index = {"field_name": field, "field_schema": "keyword"}
    await real.result("PUT", f"{path_of(name)}/index?wait=true", index)

    look = await look_at(real)

    assert [field] == list((await real.info(name))["payload_schema"])
    told = look.of_collection("collection_payload_index_points", name)
    assert told == {f"field={field},type=keyword": 0}


async def test_a_field_that_is_no_path_is_refused(qdrant: Qdrant) -> None:
    """400 with the path."""
    name = await qdrant.create()
    index = {"field_name": "a b", "field_schema": "keyword"}

    refused = await qdrant.ask("PUT", f"{path_of(name)}/index?wait=true", index)

    assert refused.status == 400
    assert refused.json["status"]["error"].startswith("Format error in JSON body: Invalid json path: 'a b'")
