"""Where things lie in a store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backup import layout
from exporter.backup.words import Encoding, Level
from exporter.errors import JobError

ID = "20261126T023000Z-1a2b3c"
ANY_NAME = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        [
            ".",
            "..",
            "/",
            "../../etc/passwd",
            "a/b",
            "a\nb",
            "\x00",
            "%41",
            "A",
            "😀",
            ".hidden",
            "~",
            "",
            "locks",
        ]
    ),
)


@given(name=ANY_NAME)
def test_a_collection_whatever_it_is_called_stays_in_its_folder(name: str) -> None:
    """Its part of a path has harmless characters only, is not hidden, leads nowhere else and fits."""
    part = layout.place("prod", name, ID).folder.split("/")

    assert part[0] == "prod"
    assert part[2:] == [ID]
    assert part[1].isascii()
    assert not set(part[1]) & set("/\\\0\n \"'*?<>|:")
    assert not part[1].startswith(".")
    assert 1 <= len(part[1]) <= 200


@given(one=ANY_NAME, other=ANY_NAME)
def test_two_names_never_share_a_folder(one: str, other: str) -> None:
    """Also where one is written like the other's encoding, or both are too long."""
    assert (layout.encoded(one) == layout.encoded(other)) == (one == other)


def test_two_long_names_that_begin_alike_have_two_folders() -> None:
    """What is cut off still counts, in the hash."""
    parts = {layout.encoded("n" * 254 + last) for last in "abc"}

    assert len(parts) == 3
    assert all(layout.named(part) == "n" * 120 for part in parts)


@pytest.mark.parametrize("cluster", ["locks", "intents", "restores"])
def test_a_cluster_called_like_a_folder_of_ours_has_one_of_its_own(cluster: str) -> None:
    """Its sets are not taken for locks, nor locks for its sets."""
    path = layout.place(cluster, "docs", ID).manifest

    assert not path.startswith(f"{cluster}/")
    assert layout.place_of(path) == (layout.place(cluster, "docs", ID), "manifest.json")
    assert layout.place_of(f"{cluster}/docs/{ID}/manifest.json") is None


@given(name=st.text(max_size=16))
def test_a_short_name_is_read_back_from_its_folder(name: str) -> None:
    """For people who look at what is left of a set without a manifest."""
    assert layout.named(layout.encoded(name)) == (name or "%")


def test_the_lock_of_a_cluster_is_no_collection_s() -> None:
    """No collection can be called so that both are the same."""
    assert layout.lock_name("prod") == "prod/~cluster"
    assert layout.lock_name("prod", "~cluster") != layout.lock_name("prod")
    assert layout.lock_name("prod", "docs") == "prod/docs"


@pytest.mark.parametrize(
    "text",
    ["", "..", "docs", "20261126T023000Z", f"{ID}/x", f"../{ID}", "20261126T023000Z-1A2B3C", f"{ID}\n"],
)
def test_what_is_no_id_becomes_no_path(text: str) -> None:
    """An id comes from a person or a file, and becomes a part of paths."""
    with pytest.raises(JobError, match="no id"):
        layout.place("prod", "docs", text)
    with pytest.raises(JobError, match="no id"):
        layout.intent_path(text)
    with pytest.raises(JobError, match="no id"):
        layout.restore_path(text)


def test_an_id_says_when_it_began() -> None:
    """To the second, in UTC; and its digits keep two of one second apart."""
    made = layout.new_id(1_795_919_400.9, lambda count: "ab" * count)

    assert made == "20261129T023000Z-ababab"
    assert layout.id_time(made) == 1_795_919_400.0


def test_an_id_of_a_day_that_does_not_exist_is_none() -> None:
    """Nor is a folder of that name a set's."""
    with pytest.raises(JobError, match="date"):
        layout.id_time("20261331T023000Z-1a2b3c")
    assert layout.place_of("prod/docs/20261331T023000Z-1a2b3c/manifest.json") is None


@pytest.mark.parametrize(
    "file", ["../x.snapshot", ".snapshot", "a/b.snapshot", "manifest.json", ".x.snapshot", ""]
)
def test_a_manifest_that_names_a_file_elsewhere_is_not_followed(file: str) -> None:
    """A manifest is data: what it names is below its own folder or nothing."""
    with pytest.raises(JobError, match="as we never do"):
        layout.place("prod", "docs", ID).file(file)


@given(label=st.text(min_size=1, max_size=300))
def test_every_peer_has_a_file_of_its_own(label: str) -> None:
    """Its label may be an address with a port, or anything that was discovered."""
    file = layout.archive_file(label)

    assert layout.place("prod", "docs", ID).file(file).endswith(f"/{ID}/{file}")


def test_the_files_of_a_set_are_told_apart() -> None:
    """Manifest, proofs by level, acceptance."""
    place = layout.place("prod", "docs", ID)

    paths = [place.manifest, place.proof(Level.HASHED), place.proof(Level.RESTORED), place.accepted]
    assert [layout.place_of(path) for path in paths] == [
        (place, "manifest.json"),
        (place, "proof-2.json"),
        (place, "proof-4.json"),
        (place, "accepted.json"),
    ]


@pytest.mark.parametrize("encoding", list(Encoding))
def test_chunks_lie_in_the_folder_of_their_set(encoding: Encoding) -> None:
    """Named by the numbers of their shard key and of their own, in the order in which they are read."""
    names = [layout.chunk_file(*numbers, encoding) for numbers in ((0, 9), (0, 10), (1, 0), (12, 345_678))]

    assert names == sorted(names)
    for name in names:
        assert layout.place("prod", "docs", ID).file(name).endswith(f"/{ID}/{name}")
        assert name.endswith(layout.DATA_SUFFIXES)
