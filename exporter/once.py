"""`once`: one full poll of everything, shown to a person or a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter import __version__
from exporter.board import Board, BoardView
from exporter.clock import SystemClock
from exporter.config.settings import Settings
from exporter.exposition.own import OwnMetrics
from exporter.exposition.renderer import Renderer
from exporter.model import Reading
from exporter.observe.derived.collections import LAG, POINTS, SHARDS
from exporter.observe.derived.replicas import LIVE, STATE
from exporter.observe.watch import ClusterWatch
from exporter.one_look import one_look
from exporter.printable import printable
from exporter.status import failing_sources, note_on, status, status_in_force, total_of, value_of

EXIT_GOOD = 0
EXIT_PEER_DOWN = 1
EXIT_PARTLY_FAILED = 3  # 2 is the configuration's

STATUS_STYLES = {
    "green": "green", "yellow": "yellow", "grey": "bright_black",
    "red": "red", "unloaded": "red", "unavailable": "bold red",
}  # fmt: skip


class Output(StrEnum):
    """How the result is shown."""

    TABLE = "table"
    JSON = "json"
    PROMETHEUS = "prometheus"


async def once(settings: Settings, output: Output, console: Console) -> int:
    """Poll every peer once, print what was learnt and return the exit code.

    1: a peer is down. 3: a source failed, a peer is not watched, or the addresses given do not make
    one cluster each.
    """
    clock = SystemClock()
    board = Board(clock=clock, expires=False)
    async with one_look(settings, board=board, clock=clock) as watches:
        _show(watches, board, output, console)
        return exit_code(watches.values())


def exit_code(watches: Iterable[ClusterWatch]) -> int:
    """Return what the look amounts to."""
    watches = list(watches)
    if any(not poller.up for watch in watches for poller in watch.pollers().values()):
        return EXIT_PEER_DOWN
    if any(complaints(watch) for watch in watches):
        return EXIT_PARTLY_FAILED
    return EXIT_GOOD


def _show(watches: Mapping[str, ClusterWatch], board: Board, output: Output, console: Console) -> None:
    view = board.view()
    if output is Output.PROMETHEUS:
        page = Renderer(clock=SystemClock()).render(view.blocks(), OwnMetrics(version=__version__).text())
        console.out(page.plain.decode(), end="", highlight=False)
    elif output is Output.JSON:
        console.out(json.dumps(status(watches, view), indent=2), highlight=False)
    else:
        for watch in watches.values():
            _show_cluster(watch, view, console)


def _show_cluster(watch: ClusterWatch, view: BoardView, console: Console) -> None:
    name = watch.settings.name
    peers = Table(
        "peer", "up", "version", "sources that failed", title=f"cluster {name}", title_justify="left"
    )
    failing = failing_sources(watch.pollers())
    for label, poller in watch.pollers().items():
        up = Text("yes", "green") if poller.up else Text("no", "bold red")
        known = view.of_cluster(name, "telemetry").get(label)
        version = Text(known.seen.version_text if known else "")
        failed = ", ".join(source for peer, source, _ in failing if peer == label)
        peers.add_row(Text(label), up, version, failed if poller.up else Text(note_on(poller, None)))
    console.print(peers)
    if watch.derived.selected:
        console.print(_collections_table(watch))
    elif watch.derived.collections_known == 0:
        console.print("no collections")
    for line in complaints(watch):
        console.print(Text(printable(line), "yellow"))


def _collections_table(watch: ClusterWatch) -> Table:
    table = Table("collection", "status")
    for heading in ("points", "indexing lag", "shards", "replicas live"):
        table.add_column(heading, justify="right")
    for name in watch.derived.selected:
        readings = watch.derived.blocks[f"collection:{name}"]
        state = status_in_force(readings) or "unknown"
        table.add_row(
            Text(printable(name)),
            Text(state, STATUS_STYLES.get(state, "")),
            _count(value_of(readings, POINTS)),
            _count(total_of(readings, LAG)),
            *_shards_and_replicas(readings),
        )
    return table


def _count(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _shards_and_replicas(readings: Sequence[Reading]) -> tuple[str, str]:
    shards = value_of(readings, SHARDS)
    live = [one.value for one in readings if one.spec is LIVE]
    replicas = sum(1 for one in readings if one.spec is STATE)
    # a shard whose live replicas nobody we watch can count makes the sum a guess
    known = sum(live) if len(live) == shards else None
    return _count(shards), f"{_count(known)} of {replicas}"


def complaints(watch: ClusterWatch) -> list[str]:
    """Return one line for everything that a person should look at."""
    lines = [f"{trouble.kind.value}: {trouble.text}" for trouble in watch.roster.troubles()]
    lines += [
        f"peer {one.peer_id} ({one.uri}) is not watched: {one.reason}" for one in watch.roster.unwatched()
    ]
    lines += [f"{peer}: {source}: {what}" for peer, source, what in failing_sources(watch.pollers())]
    return lines
