"""What is learnt of a snapshot's archive while it passes: no byte of it is read twice."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from exporter.backup.archive.walk import BadArchive, TarWalk, shards_of
from exporter.backup.words import ArchivedShard
from exporter.qdrant.keeping import ACTIVE

_REPLICA_STATE = re.compile(r"([0-9]{1,9})/replica_state\.json")
# A hundred bytes and forty a replica.
_STATE_LIMIT_BYTES = 1 << 20


class _ReplicaState(msgspec.Struct):
    this_peer_id: int
    peers: dict[int, str]


class _Catch:
    """A small member on its way."""

    def __init__(self, shard: int, begin: int, size_bytes: int) -> None:
        self.shard = shard
        self.begin = begin
        self.end = begin + size_bytes
        self.body = bytearray()


class Passing:
    """An archive as its chunks pass. `feed` may run in a thread, one call at a time."""

    def __init__(self) -> None:
        self._walk = TarWalk()
        self._hash = hashlib.sha256()
        self._catches: list[_Catch] = []
        self._states: dict[int, bytes] = {}
        self.size_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk. Raises BadArchive."""
        self._hash.update(chunk)
        for member in self._walk.feed(chunk):
            found = _REPLICA_STATE.fullmatch(member.name)
            if found is not None and member.kind == "0" and member.size_bytes <= _STATE_LIMIT_BYTES:
                self._catches.append(_Catch(int(found[1]), member.data_offset, member.size_bytes))
        if self._catches:
            self._catch(chunk)
        self.size_bytes += len(chunk)

    def finish(self) -> None:
        """Say that all of it passed. Raises BadArchive where it is cut off, or no archive of a collection."""
        self._walk.finish()
        if "config.json" not in self._walk.files:
            raise BadArchive("the archive has no config.json: it is no snapshot of a collection")

    @property
    def sha256(self) -> str:
        """The SHA-256 of what passed, hexadecimal."""
        return self._hash.hexdigest()

    @property
    def shards(self) -> tuple[ArchivedShard, ...]:
        """The shards whose data passed. Raises BadArchive."""
        return shards_of(self._walk.members)

    @property
    def not_active(self) -> frozenset[int]:
        """The shards whose replica was not Active when it was archived, by the archive's own word."""
        return frozenset(shard for shard, body in self._states.items() if not _is_active(body))

    @property
    def config(self) -> dict[str, Any]:
        """The collection's settings, as the archive has them. Raises BadArchive."""
        return self._document("config.json")

    @property
    def payload_index(self) -> dict[str, Any]:
        """The payload indexes, as the archive has them; {} before it had that file. Raises BadArchive."""
        return self._document("payload_index.json") if "payload_index.json" in self._walk.files else {}

    def _document(self, name: str) -> dict[str, Any]:
        try:
            return msgspec.json.decode(self._walk.files[name], type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise BadArchive(f"the archive's {name} cannot be read") from error

    def _catch(self, chunk: bytes) -> None:
        first, last = self.size_bytes, self.size_bytes + len(chunk)
        for catch in self._catches:
            catch.body += chunk[max(catch.begin - first, 0) : max(catch.end - first, 0)]
        whole = [catch for catch in self._catches if catch.end <= last]
        self._states |= {catch.shard: bytes(catch.body) for catch in whole}
        self._catches = [catch for catch in self._catches if catch.end > last]


def _is_active(body: bytes) -> bool:
    """What cannot be read is no proof of harm: another version may write it otherwise."""
    try:
        said = msgspec.json.decode(body, type=_ReplicaState)
    except msgspec.MsgspecError:
        return True
    return said.peers.get(said.this_peer_id, ACTIVE) == ACTIVE
