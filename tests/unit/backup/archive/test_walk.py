"""What a walk through an archive finds, with Python's tarfile as the judge."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from exporter.backup.archive.walk import ROOT_FILE_LIMIT_BYTES, BadArchive, Member, TarWalk, shards_of
from exporter.backup.words import ArchivedShard
from tests.unit.backup.archive.tars import as_tarfile_says, real_archive, tar_of, walked

NAMES = some.text(some.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=160).filter(
    lambda name: name not in (".", "..")
)
FORMATS = some.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@pytest.mark.parametrize("name", ["one_shard_of_three", "two_empty_shards"])
@pytest.mark.parametrize("step", [1, 511, 512, 1 << 20])
def test_a_real_archive_is_walked_in_chunks_of_any_size(name: str, step: int) -> None:
    """Members and their places are those that tarfile finds, sparse logs included."""
    archive = real_archive(name)

    assert as_tarfile_says(archive) == list(walked(archive, step).members)


@given(
    files=some.dictionaries(NAMES, some.binary(max_size=1_500), max_size=6),
    kind=FORMATS,
    step=some.integers(1, 3_000),
)
def test_any_tar_is_read_as_tarfile_reads_it(files: dict[str, bytes], kind: int, step: int) -> None:
    """Long names and names beyond ASCII, in both formats, at any border of chunks."""
    archive = tar_of(files, kind)

    assert as_tarfile_says(archive) == list(walked(archive, step).members)


def test_a_sparse_file_in_many_pieces_is_as_long_as_its_map_and_its_pieces(tmp_path: Path) -> None:
    """A map too long for the header goes on in blocks of its own, before the data."""
    with (tmp_path / "open-1").open("wb") as log:
        for piece in range(200):
            log.seek(piece * 65_536)
            log.write(b"x" * 4_096)
    command = ["tar", "--sparse", "--format=gnu", "-cf", "made.tar", "open-1"]
    subprocess.run(command, cwd=tmp_path, check=True)
    archive = (tmp_path / "made.tar").read_bytes()

    (member,) = walked(archive, 1_000).members

    assert member.kind == "S"
    assert as_tarfile_says(archive) == [member]
    assert member.data_offset - member.offset > 4 * 512


def test_posix_records_name_and_measure_the_member_behind_them(tmp_path: Path) -> None:
    """GNU tar's POSIX format, with a sparse file in it, is read like its own."""
    assert shutil.which("tar") is not None
    (tmp_path / "4" / "wal").mkdir(parents=True)
    with (tmp_path / "4" / "wal" / "open-1").open("wb") as log:
        log.truncate(1 << 20)
    subprocess.run(
        ["tar", "--sparse", "--format=posix", "-cf", "made.tar", "4/wal/open-1"], cwd=tmp_path, check=True
    )

    (member,) = walked((tmp_path / "made.tar").read_bytes()).members

    assert member.name == "4/wal/open-1"
    assert 0 == member.offset < member.data_offset


def test_a_size_beyond_eight_gibibytes_is_read() -> None:
    """It does not fit the octal digits, so it stands there as a number; the data need not pass to know."""
    info = tarfile.TarInfo("4/segments/big.tar")
    info.size = 20 << 30

    (member,) = TarWalk().feed(info.tobuf(tarfile.GNU_FORMAT))

    assert member.end == (20 << 30) + 512


def test_the_small_files_at_the_root_are_kept() -> None:
    """They tell version, configuration, keys and indexes of the collection, whatever the chunks."""
    archive = real_archive("one_shard_of_three")

    files = walked(archive, 100).files

    assert {"version.info", "config.json", "shard_key_mapping.json", "payload_index.json"} == set(files)
    assert files["payload_index.json"] == b'{"schema":{}}'
    assert files["config.json"].startswith(b'{"params":{"vectors":{"size":')


def test_a_file_at_the_root_that_is_too_large_is_not_kept() -> None:
    """Memory is bounded, whatever the archive says it is."""
    walk = walked(tar_of({"config.json": bytes(ROOT_FILE_LIMIT_BYTES + 1), "version.info": b"0.4.2"}))

    assert walk.files == {"version.info": b"0.4.2"}


def test_only_a_shard_with_segments_is_held_by_an_archive() -> None:
    """A shard that was remote has two small files there; the stretch of the one held is where it lies."""
    walk = walked(real_archive("one_shard_of_three"))

    (shard,) = shards_of(walk.members)

    within = [member for member in walk.members if member.name.startswith("4/")]
    assert ArchivedShard(4, within[0].offset, within[-1].end - within[0].offset) == shard
    assert {"2/replica_state.json", "2/shard_config.json"} == {
        member.name for member in walk.members if member.name.startswith("2/")
    }


def test_an_empty_shard_is_held() -> None:
    """Nothing was ever written to it, and still it has segments."""
    shards = shards_of(walked(real_archive("two_empty_shards")).members)

    assert [shard.shard for shard in shards] == [0, 1]
    assert shards[0].length == shards[1].offset


def test_a_shard_in_two_places_is_no_archive_of_ours() -> None:
    """It could not be cut out as one stretch."""
    names = ("4/segments/a.tar", "3/segments/b.tar", "4/wal/open-1")
    members = [Member(name, 512 * at, 512 * at, 0, "0") for at, name in enumerate(names)]

    with pytest.raises(BadArchive, match="shard 4 lies in two places"):
        shards_of(members)


@pytest.mark.parametrize(
    "name", ["04/segments/a", "x/segments/a", "segments/a", "-1/segments/a", "٤/segments/a"]
)
def test_a_folder_that_is_no_number_is_no_shard(name: str) -> None:
    """Only the name that the server gives a shard's folder counts."""
    assert shards_of([Member(name, 0, 512, 10, "0")]) == ()


@some.composite
def cuts(draw: some.DrawFn) -> int:
    """Draw a place in the real archive before its end, the last zero block apart."""
    return draw(some.integers(0, len(real_archive("one_shard_of_three")) - 513))


@given(cut=cuts())
def test_an_archive_that_is_cut_off_anywhere_is_refused(cut: int) -> None:
    """Also where the cut falls between two members: then the blocks at its end are missing."""
    archive = real_archive("one_shard_of_three")[:cut]

    with pytest.raises(BadArchive, match="cut off"):
        walked(archive)


def test_a_header_with_a_flipped_bit_is_refused() -> None:
    """Every header has a checksum."""
    archive = bytearray(real_archive("one_shard_of_three"))
    archive[10] ^= 0x20

    with pytest.raises(BadArchive, match="header at byte 0"):
        walked(bytes(archive))


@pytest.mark.parametrize(
    "junk", [b"<html>503 Service Unavailable</html>" * 40, b"\x1f\x8b" + bytes(range(256)) * 4]
)
def test_what_is_no_tar_is_refused(junk: bytes) -> None:
    """An error page of a proxy, or a compressed stream."""
    with pytest.raises(BadArchive):
        walked(junk)


def test_something_behind_the_end_is_refused() -> None:
    """What comes after the blocks that end an archive is no part of it, and says that it is damaged."""
    with pytest.raises(BadArchive, match="behind the archive's end"):
        walked(real_archive("two_empty_shards") + b"x" * 512)


@pytest.mark.parametrize("kind", ["L", "x"])
def test_a_name_without_end_is_refused_before_it_fills_the_memory(kind: str) -> None:
    """A header can announce a name of any size."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind.encode(), 1 << 40

    with pytest.raises(BadArchive, match="a name of 1099511627776 bytes"):
        TarWalk().feed(info.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize("record", [b"99 path=x\n", b"x path=x\n", b"9 path=x\n\n", b"10 path=xy", b"0 \n"])
def test_posix_records_that_cannot_be_read_are_refused(record: bytes) -> None:
    """A wrong length would let a walk read the next record from anywhere."""
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    header = info.tobuf(tarfile.GNU_FORMAT)

    with pytest.raises(BadArchive, match="POSIX header at byte 0"):
        TarWalk().feed(header + record.ljust(512, b"\0"))
