"""Tars for the tests of this folder: real snapshot archives, and made ones."""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from exporter.backup.archive.walk import Member, TarWalk

DATA = Path(__file__).parent / "data"


def real_archive(name: str) -> bytes:
    """Return a snapshot that a real server 1.18.3 made.

    `one_shard_of_three`, `three_shards_of_three`, `two_shards_of_three`: of three peers, at one time. The
    collection has the custom keys b (shard 2, 300 points) and c (shards 3 and 4, 155 and 145), each shard on
    two peers: the first archive has 4, the second all, the third 2 and 3.
    `two_empty_shards`: of one node, nothing was ever written.
    """
    return lzma.decompress((DATA / f"{name}.snapshot.xz").read_bytes())


def tar_of(files: Mapping[str, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar of these files, in Python's way; a name that ends with / is a directory."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=kind) as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(body))
    return held.getvalue()


def contents(tar: bytes) -> dict[str, bytes]:
    """Return the files of a tar as Python's tarfile reads them, with the holes of sparse ones filled."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {
            member.name: file.read()
            for member in opened.getmembers()
            if (file := opened.extractfile(member)) is not None
        }


def walked(archive: bytes, step: int = 1 << 20) -> TarWalk:
    """Walk a whole archive in chunks of so many bytes."""
    walk = TarWalk()
    for at in range(0, len(archive), step):
        walk.feed(archive[at : at + step])
    walk.finish()
    return walk


def as_tarfile_says(archive: bytes) -> list[Member]:
    """Return the members as Python's tarfile finds them, with the sizes that are stored."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [
            Member(
                member.name + "/" * member.isdir(),
                member.offset,
                member.offset_data,
                stored_size(member),
                member.type.decode().replace("\0", "0"),
            )
            for member in opened.getmembers()
        ]


def stored_size(member: tarfile.TarInfo) -> int:
    """Return the bytes that a member takes in the archive: of a sparse one its pieces only."""
    return sum(size for _, size in member.sparse) if member.sparse is not None else member.size


async def in_chunks(data: bytes, step: int) -> AsyncIterator[bytes]:
    """Yield data in chunks."""
    for at in range(0, len(data), step):
        yield data[at : at + step]
