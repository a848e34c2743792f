"""Where a store lies: a directory, or a bucket with a prefix. What may be written, and its one spelling."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, ValidationInfo

from exporter.config.written import Written

WRITE_A_STORE = "write the path of a directory, or s3://bucket/prefix"

_S3 = "s3://"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Amazon's rule but for a few names of its own; other servers' are no wider.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What Amazon calls safe in keys; anything else is escaped differently by different servers.
_PREFIX_PART = re.compile(r"[A-Za-z0-9!_.*'()=+-]{1,255}")


class Bucket(NamedTuple):
    """A bucket and the prefix of all keys within it, "" or without a slash at either end."""

    name: str
    prefix: str


def bucket_of(url: str) -> Bucket | None:
    """Return the bucket of a store's URL; None for a directory.

    Raises ValueError saying what to write, which never repeats the text: a key pasted here is a secret.
    """
    if not url.lower().startswith(_S3):
        return None
    name, _, prefix = url[len(_S3) :].partition("/")
    if "@" in name:
        raise ValueError("a key does not belong in the URL of a bucket; write access_key_id: below s3:")
    if not _BUCKET.fullmatch(name):
        raise ValueError(
            "a bucket's name has 3 to 63 small letters, digits, dots and hyphens; write s3://bucket/prefix"
        )
    parts = [part for part in prefix.split("/") if part]
    if not all(_PREFIX_PART.fullmatch(part) and part.strip(".") for part in parts):
        raise ValueError(
            "a prefix within a bucket has letters, digits and !_.*'()=+- between its slashes, and no . or .."
        )
    return Bucket(name, "/".join(parts))


def _store_url(text: str, info: ValidationInfo) -> str:
    """Return s3://bucket/prefix without a slash at the end, or the path of a directory."""
    if not text.strip():
        raise ValueError(f"is empty; {WRITE_A_STORE}")
    if not text.isprintable():
        raise ValueError(f"has a character that nobody can see; {WRITE_A_STORE}")
    bucket = bucket_of(text)
    if bucket is not None:
        return f"{_S3}{bucket.name}/{bucket.prefix}".rstrip("/")
    if _SCHEME.match(text):
        raise ValueError(f"only s3:// is a URL of a store; {WRITE_A_STORE}")
    return str(_directory(Path(text), info))


def _directory(path: Path, info: ValidationInfo) -> Path:
    """Start a relative path at the configuration file's directory. The directory need not be there yet."""
    if not isinstance(info.context, Written):
        return path
    path = info.context.directory / path
    try:
        if path.exists() and not path.is_dir():
            raise ValueError(f"there is a file of that name and no directory; {WRITE_A_STORE}")
    except OSError as error:  # a name that is too long, for one
        raise ValueError(f"this is not the path of a directory: {error.strerror}") from None
    return path


StoreUrl = Annotated[str, AfterValidator(_store_url)]
