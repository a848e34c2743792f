"""Manifests and records as JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from exporter.backup.manifest import decode, decode_document, encode, encode_document
from exporter.backup.words import (
    BackupIntent,
    Consistency,
    Encoding,
    ExportRecord,
    KeyLayout,
    Level,
    PeerIntent,
    Proof,
)
from exporter.errors import JobError
from tests.kit.sets import chunk, export, exported, manifest, shard

PATH = "prod/docs/20270115T080000Z-00000a/manifest.json"


def test_a_manifest_comes_back_as_it_was_written() -> None:
    """With keys that are numbers, numbers above 2^53, and whatever the server's config holds."""
    written = manifest(
        keys=(KeyLayout(key=7, shards=(0,)), KeyLayout(key="é\n", shards=(1, 2))),
        shards=(shard(key=7, peer_ids=(2**63 + 1,)), shard(shard=1, key="é\n", points=None, archive=None)),
        config={"params": {"a": None, "b": [1, 2.5, {"c": True}], "big": 2**63}},
        uuid=None,
    )

    assert decode(encode(written), PATH) == written


def test_a_manifest_can_be_read_by_people() -> None:
    """It is JSON with a line a field."""
    data = encode(manifest())

    assert json.loads(data)["manifest"]["collection"] == "docs"
    assert data.count(b"\n") > 30


def test_a_field_of_a_newer_minor_version_is_skipped() -> None:
    """A field may be added within a format."""
    written = json.loads(encode(manifest()))
    body = json.dumps(written["manifest"] | {"weather": "fine"}).encode()

    data = b'{"format":1,"sha256":"%s","manifest":%s}' % (hashlib.sha256(body).hexdigest().encode(), body)

    assert decode(data, PATH) == manifest()


def test_a_manifest_of_a_newer_format_says_what_to_use() -> None:
    """Guessing at it could restore half a set."""
    data = encode(manifest()).replace(b'"format":1', b'"format":9', 1)

    with pytest.raises(JobError, match=r"manifest.json: written in format 9 .* up to format 2; use"):
        decode(data, PATH)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"<html>", b"\xff\xfe", b'{"format":1}', b'{"format":"x"}']
)
def test_what_is_no_manifest_is_named_by_its_path(data: bytes) -> None:
    """Nobody looks for it then."""
    with pytest.raises(JobError, match=r"prod/docs/.*/manifest\.json: .*damaged"):
        decode(data, PATH)


def test_every_flipped_bit_of_a_manifest_is_found() -> None:
    """A digit of a count that became another is JSON as good as any."""
    data = encode(manifest())

    for place in range(data.index(b'"manifest"'), len(data) - 1):
        flipped = bytearray(data)
        flipped[place] ^= 1
        try:
            read = decode(bytes(flipped), PATH)
        except JobError:
            continue
        assert read == manifest()


def test_every_cut_of_a_manifest_is_found() -> None:
    """A file that ends too early is none, wherever it ends."""
    data = encode(manifest())

    for length in range(len(data) - 1):
        with pytest.raises(JobError):
            decode(data[:length], PATH)


def test_records_come_back_as_they_were_written() -> None:
    """An intent and a proof, the two that a kill may leave behind."""
    intent = BackupIntent(
        id="20270115T080000Z-00000a",
        cluster="prod",
        collection="do\ncs",
        opened_at=1.5,
        owner="host 7",
        peers=(PeerIntent(peer="a", peer_id=None, listed=("x",), asked_at=2.5),),
    )
    proof = Proof(
        Level.OPENED, 3.0, good=False, problems=("no",), by="engine", took_seconds=0.5, points={"0": 1}
    )

    assert decode_document(encode_document(intent), BackupIntent, "i") == intent
    assert decode_document(encode_document(proof), Proof, "p") == proof


def test_a_record_that_is_damaged_is_named_by_its_path() -> None:
    """So that a person can look at it."""
    with pytest.raises(JobError, match=r"intents/x\.json: cannot be read"):
        decode_document(b"{", BackupIntent, "intents/x.json")


def test_an_export_comes_back_as_it_was_written() -> None:
    """With its chunks, whatever their keys and ids are, and how far it came before it was one."""
    chunks = (chunk(), chunk(file="0001-000000.points", key="k", first=2**64 - 1, last="f" * 32))
    made = exported(chunks=chunks, export=export(losses=("no",), consistency=Consistency.FUZZY))
    record = ExportRecord(
        made.id, "prod", "docs", Encoding.JSONL, 1.0, 2.0, None, {"a": "1.18.3"}, {"0/1": 7}, {}, 10, chunks,
        ("k", 7, None),
    )  # fmt: skip

    assert decode(encode(made), PATH) == made
    assert decode_document(encode_document(record), ExportRecord, "e") == record


@pytest.mark.parametrize("changed", [{"format": 1}, {"export": None}])
def test_an_export_that_an_older_program_would_take_for_a_snapshot_is_none(changed: dict[str, Any]) -> None:
    """It would find no archive in it, and nothing amiss."""
    with pytest.raises(JobError, match="neither one of a snapshot nor one of an export"):
        decode(encode(exported(**changed)), PATH)
