"""What alerting is told of a watched cluster: its peers, and what its settings measure."""

from __future__ import annotations

import asyncio
from pathlib import Path

from exporter.board import Board
from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings, PeerSettings, PollSettings
from exporter.config.probes import ProbesSettings
from exporter.duty.surroundings import presence_of
from exporter.observe.fleet import Fleet


def test_presence_says_what_the_settings_measure(tmp_path: Path) -> None:
    """Known before the first poll, so after a restart as well as after a reload."""
    settings = ClusterSettings(
        name="shop",
        peers=(
            PeerSettings(url="http://a:6333", name="a", storage_path=tmp_path),
            PeerSettings(url="http://b:6333", name="b"),
        ),
        poll=PollSettings(disabled_sources=("issues",)),
        probes=ProbesSettings(enabled=False),
    )
    fleet = Fleet(board=Board(clock=SystemClock()), clock=SystemClock(), off_loop=asyncio.to_thread)

    there = presence_of(fleet.build([settings]))["shop"]

    assert (there.peers, there.collections) == ({"a", "b"}, None)
    assert (there.probes, there.disabled_sources) == (settings.probes, {"issues"})
    assert there.mounted == {"a"}
