"""The documents of a store as JSON, and back. Pure.

A manifest is written with its own SHA-256, so that a flipped byte in it is found like one in an archive.
It is JSON that people can read; a field that a newer minor version added is skipped.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from exporter.backup.words import (
    EXPORT_FORMAT,
    MANIFEST_FORMAT,
    BackupIntent,
    ExportRecord,
    Manifest,
    Proof,
    RestoreRecord,
    SetKind,
    ThresholdIntent,
)
from exporter.errors import JobError

T = TypeVar("T", BackupIntent, ExportRecord, Proof, RestoreRecord, ThresholdIntent)


class _Written(msgspec.Struct):
    """What a manifest's file holds."""

    format: int
    sha256: str  # of the bytes of `manifest` as they stand in the file
    manifest: msgspec.Raw


class _Format(msgspec.Struct):
    format: int


class Accepted(msgspec.Struct, frozen=True):
    """A person looked at a set that pruning stopped at, and said it is as it should be."""

    at: float  # Unix seconds
    by: str = ""


def encode(manifest: Manifest) -> bytes:
    """Write a manifest."""
    body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    sha256 = hashlib.sha256(body).hexdigest()
    return msgspec.json.encode(_Written(manifest.format, sha256, msgspec.Raw(body))) + b"\n"


def decode(data: bytes, path: str) -> Manifest:
    """Read a manifest; `path` is for people. Raises JobError: of another format, or damaged."""
    try:
        written_format = msgspec.json.decode(data, type=_Format).format
    except msgspec.MsgspecError as error:
        raise JobError(f"{path}: this is no manifest, or it is damaged") from error
    if written_format > MANIFEST_FORMAT:
        raise JobError(
            f"{path}: written in format {written_format} by a newer qdrant-exporter, and this one reads up to"
            f" format {MANIFEST_FORMAT}; use the version that made the backup, or a newer one"
        )
    try:
        written = msgspec.json.decode(data, type=_Written)
        manifest = msgspec.json.decode(written.manifest, type=Manifest)
    except msgspec.MsgspecError as error:
        raise JobError(f"{path}: the manifest is damaged: {error}") from error
    if hashlib.sha256(written.manifest).hexdigest() != written.sha256:
        raise JobError(f"{path}: the manifest is damaged: its SHA-256 is not the one it was written with")
    if not 1 <= written_format == manifest.format:
        raise JobError(f"{path}: format {written_format} is none that there ever was")
    is_export = manifest.kind is SetKind.EXPORT
    if is_export != (manifest.export is not None) or (is_export and manifest.format < EXPORT_FORMAT):
        raise JobError(f"{path}: the manifest is neither one of a snapshot nor one of an export")
    return manifest


def encode_document(
    document: BackupIntent | ExportRecord | Proof | RestoreRecord | ThresholdIntent | Accepted,
) -> bytes:
    """Write a small document."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def decode_document(data: bytes, kind: type[T], path: str) -> T:
    """Read a small document; `path` is for people. Raises JobError where it cannot be read."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise JobError(f"{path}: cannot be read: {error}") from error
