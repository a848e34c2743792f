"""Where things lie in a store. Pure.

    CLUSTER/COLLECTION/ID/manifest.json       written last: without it there is no set
    CLUSTER/COLLECTION/ID/PEER.snapshot       one archive a peer
    CLUSTER/COLLECTION/ID/KEY-NUMBER.points   a chunk of an export; .jsonl.zst where it is for people
    CLUSTER/COLLECTION/ID/proof-LEVEL.json    the newest proof of a level
    CLUSTER/COLLECTION/ID/accepted.json
    intents/ID.json    restores/ID.json    exports/ID.json    thresholds/ID.json    locks/…

Whatever a cluster, a collection or a peer is called, its part of a path has letters, digits, "_", "-", ".",
"%" and "~" only, never begins with a dot and fits into every file system.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from exporter.backup.words import Encoding, Level
from exporter.errors import JobError

INTENTS = "intents"
RESTORES = "restores"
EXPORTS = "exports"
THRESHOLDS = "thresholds"
LOCKS = "locks"
MANIFEST = "manifest.json"
ACCEPTED = "accepted.json"
ARCHIVE_SUFFIX = ".snapshot"
CHUNK_SUFFIXES = {Encoding.MSGPACK: ".points", Encoding.JSONL: ".jsonl.zst"}
DATA_SUFFIXES = (ARCHIVE_SUFFIX, *CHUNK_SUFFIXES.values())

# Folders at the top that are no cluster's.
_OURS = frozenset({INTENTS, RESTORES, EXPORTS, THRESHOLDS, LOCKS})
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
# A file's name has 255 bytes at most, of which a suffix and a temporary file's marks need some. A longer
# part keeps its beginning, for people, and has the hash of the whole name.
_LONGEST_PART = 200
_KEPT_OF_LONG = 120
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_ARCHIVE = re.compile(r"[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*" + re.escape(ARCHIVE_SUFFIX))
# The number of its shard key among all, and its own among those of the key; of one that is written again
# after a kill, another number.
_CHUNK = re.compile(r"\d{4}-\d{6}(\.points|\.jsonl\.zst)")
_ID_TIME = "%Y%m%dT%H%M%SZ"
# No name is encoded to this: "~" comes after 120 characters or not at all.
_WHOLE_CLUSTER = "~cluster"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a set, by its parts."""

    cluster: str  # as folders
    collection: str
    id: str

    @property
    def folder(self) -> str:
        """Its path in the store."""
        return f"{self.cluster}/{self.collection}/{self.id}"

    @property
    def manifest(self) -> str:
        """The path of its manifest."""
        return f"{self.folder}/{MANIFEST}"

    @property
    def accepted(self) -> str:
        """The path of what says that a person accepted it."""
        return f"{self.folder}/{ACCEPTED}"

    def proof(self, level: Level) -> str:
        """The path of the newest proof of a level."""
        return f"{self.folder}/proof-{level.value}.json"

    def file(self, name: str) -> str:
        """The path of an archive or a chunk by its name. Raises JobError where that is no name of ours."""
        if not (_ARCHIVE.fullmatch(name) or _CHUNK.fullmatch(name)):
            raise JobError(f"backup {self.id}: its manifest names a file as we never do; it is not ours")
        return f"{self.folder}/{name}"


def place(cluster: str, collection: str, set_id: str) -> Place:
    """Return where a set lies. Raises JobError where the id is none."""
    return Place(cluster_folder(cluster), encoded(collection), checked_id(set_id))


def place_of(path: str) -> tuple[Place, str] | None:
    """Read a path of the store as the place of a set and a file's name; None where it is something else."""
    parts = path.split("/")
    if len(parts) != 4 or parts[0] in _OURS:
        return None
    try:
        id_time(parts[2])
    except JobError:
        return None
    return Place(*parts[:3]), parts[3]


def folder_of_collection(cluster: str, collection: str) -> str:
    """Return the directory of all sets of a collection."""
    return f"{cluster_folder(cluster)}/{encoded(collection)}"


def cluster_folder(cluster: str) -> str:
    """Return the directory of all sets of a cluster: its name, but for the names of our own folders."""
    part = encoded(cluster)
    return f"%{ord(part[0]):02X}{part[1:]}" if part in _OURS else part


def archive_file(peer: str) -> str:
    """Return the name of a peer's archive within a set, by the peer's label."""
    return encoded(peer) + ARCHIVE_SUFFIX


def chunk_file(key_number: int, number: int, encoding: Encoding) -> str:
    """Return the name of a chunk within a set: of the shard key with this number, the so manieth of it."""
    return f"{key_number:04}-{number:06}{CHUNK_SUFFIXES[encoding]}"


def export_path(set_id: str) -> str:
    """Return where the record of an export under way lies. Raises JobError where the id is none."""
    return f"{EXPORTS}/{checked_id(set_id)}.json"


def thresholds_path(intent_id: str) -> str:
    """Return where the intent of changed thresholds lies. Raises JobError where the id is none."""
    return f"{THRESHOLDS}/{checked_id(intent_id)}.json"


def intent_path(set_id: str) -> str:
    """Return where the intent of a backup lies. Raises JobError where the id is none."""
    return f"{INTENTS}/{checked_id(set_id)}.json"


def restore_path(restore_id: str) -> str:
    """Return where the record of a restore lies. Raises JobError where the id is none."""
    return f"{RESTORES}/{checked_id(restore_id)}.json"


def lock_name(cluster: str, collection: str | None = None) -> str:
    """Name the lock of a collection, or of a whole cluster, below locks/: two parts of a path."""
    return f"{cluster_folder(cluster)}/{_WHOLE_CLUSTER if collection is None else encoded(collection)}"


def encoded(name: str) -> str:
    """Return a name as one part of a path: percent-encoded, and shortened where it is too long.

    Two names never share a part; upper and lower case are told apart, which the disk must do too.
    """
    data = name.encode("utf-8", "surrogatepass")
    part = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)
    if part.startswith("."):  # ".", ".." and whatever hides itself
        part = "%2E" + part[1:]
    if not part:
        return "%"
    if len(part) <= _LONGEST_PART:
        return part
    return f"{part[:_KEPT_OF_LONG]}~{hashlib.sha256(data).hexdigest()}"


def named(part: str) -> str:
    """Return what a part of a path was the name of, for people: of a long name only the beginning."""
    return unquote(part.partition("~")[0], errors="replace")


def new_id(now: float, token: Callable[[int], str] = secrets.token_hex) -> str:
    """Make the id of a set or of a restore that begins now (Unix seconds)."""
    return f"{time.strftime(_ID_TIME, time.gmtime(now))}-{token(3)}"


def checked_id(text: str) -> str:
    """Return an id as it is. Raises JobError where it is none: it becomes a part of paths."""
    if not _ID.fullmatch(text):
        raise JobError("this is no id of a backup; one looks like 20261126T023000Z-1a2b3c, see `backup list`")
    return text


def id_time(set_id: str) -> float:
    """Return when what bears the id began, in Unix seconds. Raises JobError where it is none."""
    stamp = checked_id(set_id).partition("-")[0]
    try:
        return float(calendar.timegm(time.strptime(stamp, _ID_TIME)))
    except ValueError as error:  # month 13
        raise JobError("this is no id of a backup: its date does not exist") from error
