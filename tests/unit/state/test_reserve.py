"""The file that keeps room on the disk."""

from __future__ import annotations

from pathlib import Path

from exporter.state import RESERVE_NAME, Reserve
from exporter.state.reserve import RESERVE_BYTES


def test_the_reserve_takes_real_blocks_and_gives_them_back(tmp_path: Path) -> None:
    """A sparse file would keep nothing; a second call does nothing."""
    reserve = Reserve(tmp_path)

    assert reserve.make()
    assert reserve.make()

    held = (tmp_path / RESERVE_NAME).stat()
    assert held.st_size == RESERVE_BYTES
    assert held.st_blocks * 512 >= RESERVE_BYTES
    assert reserve.release()
    assert not reserve.release()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    """The process may have ended while it was made."""
    (tmp_path / RESERVE_NAME).write_bytes(b"short")

    assert Reserve(tmp_path).make()

    assert (tmp_path / RESERVE_NAME).stat().st_size == RESERVE_BYTES


def test_where_nothing_can_be_written_there_is_no_reserve(tmp_path: Path) -> None:
    """It goes without; whoever needs the directory says so."""
    reserve = Reserve(tmp_path / "missing")

    assert not reserve.make()
    assert not reserve.release()
