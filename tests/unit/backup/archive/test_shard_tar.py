"""The tar of one shard, cut out of a collection's archive."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as some

from exporter.backup.archive.shard_tar import shard_tar, shard_tar_size
from exporter.backup.archive.walk import BadArchive, shards_of
from exporter.backup.words import ArchivedShard
from tests.unit.backup.archive.tars import contents, in_chunks, real_archive, tar_of, walked

FORMATS = [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]
PARTS = some.text(some.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=120).filter(
    lambda name: name not in (".", "..")
)


async def cut(archive: bytes, shard: ArchivedShard, step: int = 1 << 20) -> bytes:
    """Cut a shard out of a whole archive."""
    stretch = archive[shard.offset : shard.offset + shard.length]
    return b"".join([piece async for piece in shard_tar(in_chunks(stretch, step), shard.shard)])


def files_of(archive: bytes, shard: int) -> dict[str, bytes]:
    """Return what must be in the tar of a shard: its files, without the name of its folder."""
    folder = f"{shard}/"
    return {
        name.removeprefix(folder): body for name, body in contents(archive).items() if name.startswith(folder)
    }


@pytest.mark.parametrize("name", ["one_shard_of_three", "two_empty_shards"])
@pytest.mark.parametrize("step", [100, 512, 1 << 20])
async def test_the_shards_of_a_real_archive_become_tars_of_their_own(name: str, step: int) -> None:
    """With the same files, sparse ones too, without the folder, in as many bytes as was said before."""
    archive = real_archive(name)
    for shard in shards_of(walked(archive).members):
        made = await cut(archive, shard, step)

        assert files_of(archive, shard.shard) == contents(made)
        assert shard_tar_size(shard.length) == len(made)
        assert len(walked(made).members) == len(contents(made))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("length", [80, 92, 93, 100, 101, 150])
async def test_names_of_every_length_lose_the_folder_only(kind: int, length: int) -> None:
    """Short ones stand in the header, long ones before it, or in both its halves."""
    name = "segments/" + "x" * (length // 2) + "/" + "y" * (length - length // 2 - 20) + ".tar"
    archive = tar_of({f"12/{name}": b"data", f"12/{name}2": b"more"}, kind)
    (shard,) = shards_of(walked(archive).members)

    made = await cut(archive, shard)

    assert {name: b"data", f"{name}2": b"more"} == contents(made)
    assert shard_tar_size(shard.length) == len(made)


@given(
    names=some.lists(PARTS, min_size=1, max_size=5, unique=True),
    shard=some.integers(0, 10**6),
    kind=some.sampled_from(FORMATS[:2]),
)
async def test_any_names_lose_the_folder_only(names: list[str], shard: int, kind: int) -> None:
    """Beyond ASCII too, and where a name without its folder takes a block less."""
    wanted = {f"segments/{name}": name.encode() for name in names}
    archive = tar_of({f"{shard}/{name}": body for name, body in wanted.items()}, kind)
    (held,) = shards_of(walked(archive).members)

    made = await cut(archive, held)

    assert wanted == contents(made)
    assert shard_tar_size(held.length) == len(made)


async def test_a_long_name_that_ends_a_block_less_keeps_the_size_that_was_announced() -> None:
    """The upload says its size before it begins: what is saved comes back as zeros at the end."""
    name = "segments/" + "x" * (512 - len("segments/"))  # with its zero at the end, 513 bytes with the folder
    archive = tar_of({f"12/{name}": b"data"})
    (shard,) = shards_of(walked(archive).members)

    made = await cut(archive, shard)

    assert {name: b"data"} == contents(made)
    assert shard_tar_size(shard.length) == len(made)


async def test_the_folder_of_the_shard_itself_becomes_the_root() -> None:
    """Qdrant writes none, and a tar that has it must not end up with a member without a name."""
    archive = tar_of({"4/": b"", "4/segments/": b"", "4/segments/a": b"data"})
    (shard,) = shards_of(walked(archive).members)

    made = await cut(archive, shard)

    assert [member.name for member in walked(made).members] == ["./", "segments/", "segments/a"]


async def test_a_stretch_that_is_cut_off_is_refused() -> None:
    """A store that lost the end of a file must not become an upload that looks whole."""
    archive = real_archive("one_shard_of_three")
    (shard,) = shards_of(walked(archive).members)

    with pytest.raises(BadArchive, match="cut off"):
        await cut(archive[: shard.offset + shard.length - 512], shard)


async def test_a_stretch_of_another_shard_is_refused() -> None:
    """Whatever a manifest says: the data of one shard is never sent as another's."""
    archive = real_archive("one_shard_of_three")
    (shard,) = shards_of(walked(archive).members)

    with pytest.raises(BadArchive, match="where shard 2 must lie is 4/segments/"):
        await cut(archive, ArchivedShard(2, shard.offset, shard.length))


async def test_a_damaged_header_is_refused() -> None:
    """Before anything of the member is passed on."""
    archive = bytearray(real_archive("one_shard_of_three"))
    (shard,) = shards_of(walked(bytes(archive)).members)
    archive[shard.offset + 5] ^= 1

    with pytest.raises(BadArchive, match="checksum"):
        await cut(bytes(archive), shard)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, b"K", b"g"])
async def test_a_member_that_no_snapshot_has_is_refused(kind: bytes) -> None:
    """A link's target would lead elsewhere, once names are cut."""
    info = tarfile.TarInfo("4/segments/a")
    info.type = kind

    with pytest.raises(BadArchive, match="which no snapshot has"):
        await cut(info.tobuf(tarfile.GNU_FORMAT), ArchivedShard(4, 0, 512))
