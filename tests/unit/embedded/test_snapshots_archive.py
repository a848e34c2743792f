"""The archive that a worker writes, read by Python's tarfile and by our own reader."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from exporter.embedded.refusals import RefusalError
from exporter.embedded.snapshots_archive import write_archive
from exporter.embedded.snapshots_unpacked import unpack_collection, unpack_shard

UUID = "6d1f3c2e-0000-4000-8000-000000000001"
PAGE = 64 * 1024  # a hole of this size is one on every file system we know
LONG_FOLDER = "payload_index/" + "f" * 120  # more than a tar's header has room for
DOCUMENTS = {"config.json": '{"params":{}}', "payload_index.json": '{"schema":{"k":"keyword"}}'}


def shard_in(folder: Path) -> Path:
    """A shard's folder with every kind of file: empty, small, all hole, many holes, a long name."""
    segment = folder / "segments" / UUID
    (segment / LONG_FOLDER).mkdir(parents=True)
    (folder / "wal").mkdir()
    (segment / "segment.json").write_text('{"version":7}', encoding="ascii")
    (segment / LONG_FOLDER / "empty").write_bytes(b"")
    for name, stretches in (("hole", 0), ("few", 2), ("many", 60)):
        with (segment / name).open("wb") as file:
            for number in range(stretches):
                file.seek((2 * number + 1) * PAGE)
                file.write(bytes([number + 1]) * PAGE)
            file.truncate((2 * stretches + 3) * PAGE + 5)
    (folder / "wal" / "open-1").write_bytes(b"x" * 513)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def written(folder: Path) -> bytes:
    """The archive of such a shard."""
    target = folder / "made.snapshot"
    told = write_archive(target, shard=shard_in(folder / "shard"), segments=[UUID], documents=DOCUMENTS)
    archive = target.read_bytes()
    assert (told.size_bytes, told.checksum) == (len(archive), hashlib.sha256(archive).hexdigest())
    return archive


def test_pythons_tarfile_reads_every_file_back(tmp_path: Path) -> None:
    """Holes are filled with zeros, a long name is whole, a segment is a tar within the tar."""
    archive = written(tmp_path)

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    with tarfile.open(fileobj=io.BytesIO(files.pop(f"0/segments/{UUID}.tar"))) as segment:
        inside = {member.name: segment.extractfile(member).read() for member in segment}  # type: ignore[union-attr]

    shard = contents(tmp_path / "shard")
    assert {
        f"segments/{UUID}/{name.removeprefix('snapshot/files/')}": body for name, body in inside.items()
    } == {name: body for name, body in shard.items() if name.startswith("segments/")}
    assert files["0/wal/open-1"] == shard["wal/open-1"]
    assert {name: body.decode() for name, body in files.items() if "/" not in name} == DOCUMENTS
    assert len(archive) % tarfile.BLOCKSIZE == 0


def test_holes_take_no_room_in_the_archive_nor_on_disk_afterwards(tmp_path: Path) -> None:
    """Of 62 stretches of data and 62 holes the archive has the data, and so has the disk again."""
    archive = written(tmp_path)
    unpacked = unpack_collection(tmp_path / "made.snapshot", tmp_path / "unpacked")

    many = unpacked.shard.folder / "segments" / UUID / "many"
    assert len(archive) < 66 * PAGE
    assert many.stat().st_size == 123 * PAGE + 5
    assert contents(unpacked.shard.folder) == contents(tmp_path / "shard")


def test_what_an_archive_holds_is_read(tmp_path: Path) -> None:
    """Configuration, payload indexes, and the number of the newest change."""
    written(tmp_path)

    unpacked = unpack_collection(tmp_path / "made.snapshot", tmp_path / "unpacked")

    assert (unpacked.config, unpacked.fields) == ({"params": {}}, {"k": "keyword"})
    assert (unpacked.shard.operations, unpacked.shard.fields) == (7, {})


@pytest.mark.parametrize("cut", [100, 1_000, 70_000, 2_000_000])
def test_an_archive_that_ends_early_is_refused(tmp_path: Path, cut: int) -> None:
    """In a header, in a small file, in a segment: 500, with the reason."""
    archive = written(tmp_path)
    (tmp_path / "made.snapshot").write_bytes(archive[:cut])

    with pytest.raises(RefusalError, match="500: Service internal error: "):
        unpack_collection(tmp_path / "made.snapshot", tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["../evil", "/evil", "segments/../../evil"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """500, and nothing is written there."""
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())

    with pytest.raises(RefusalError, match="outside of destination path"):
        unpack_shard(tmp_path / "made.tar", tmp_path / "folder" / "unpacked")

    assert [path.name for path in tmp_path.rglob("*")] == ["made.tar"]


def test_a_link_in_an_archive_is_left_out(tmp_path: Path) -> None:
    """A snapshot has none, and following one would leave the folder."""
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        link = tarfile.TarInfo("segments")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        tar.addfile(link)

    with pytest.raises(RefusalError, match="missing data at shard"):
        unpack_shard(tmp_path / "made.tar", tmp_path / "unpacked")

    assert not (tmp_path / "unpacked").exists()
