"""The verb itself: reach a peer, search through it, show what came of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from exporter.clock import Clock, SystemClock
from exporter.config.clusters import ClusterSettings
from exporter.config.settings import Settings
from exporter.observe.polled import lanes_to
from exporter.printable import printable
from exporter.probing.measuring import Measuring
from exporter.probing.peers import Named, Peers, PlanLooks, Reached
from exporter.probing.report import NotProbed, Output, Report, Searches, Wanted
from exporter.probing.settling import Settled, cluster_wanted, notes_on, settle, strict_limits
from exporter.probing.show import progress_bar, show, summary_of_failures


async def probe(settings: Settings, wanted: Wanted, console: Console, errors: Console) -> int:
    """Probe one collection, print what came of it and return the exit code.

    1: the probe failed. 2: what was typed does not fit. 3: nothing can be said of the server: the
    collection is empty, strict mode forbids the search, or the server calls it wrong.
    Cancelled, it shows what there is first.
    """
    clock, teller = SystemClock(), _Teller(wanted.output, console, errors)
    try:
        cluster = cluster_wanted(settings, wanted)
        peers = Peers(settings=cluster, clock=clock)
        try:
            return await _probe(cluster, wanted, peers, clock, teller)
        finally:
            await peers.close()
    except NotProbed as error:
        teller.show_error(error)
        return error.code


async def _probe(
    cluster: ClusterSettings, wanted: Wanted, peers: Peers, clock: Clock, teller: _Teller
) -> int:
    reached = await peers.reach(wanted.peer)
    named = await peers.find(reached, wanted.collection)
    settled = settle(cluster, wanted, named.collection)
    report = _report(cluster, wanted, reached, named, settled)
    teller.begin(report)
    looks = PlanLooks(peers=peers, collection=named.collection, silent=reached.silent)
    lanes = lanes_to(reached.target, cluster, clock)
    try:
        with progress_bar(teller.errors, shown=wanted.count > 1) as tell:
            await Measuring(
                wanted=wanted,
                settled=settled,
                report=report,
                lanes=lanes,
                version=reached.seen.version,
                looks=None if "segments" in cluster.poll.disabled_sources else looks,
                pool_limit_bytes=cluster.probes.pool_limit_bytes,
                clock=clock,
                tell=tell,
            ).run()
    except asyncio.CancelledError:
        report.interrupt()
        teller.end(report)
        raise
    finally:
        await lanes.close()
    teller.end(report)
    return report.exit_code


def _report(
    cluster: ClusterSettings, wanted: Wanted, reached: Reached, named: Named, settled: Settled
) -> Report:
    return Report(
        cluster=cluster.name,
        peer=reached.target.label,
        silent_peers=reached.silent,
        version=reached.seen.version_text,
        collection=named.collection.name,
        alias=named.alias,
        vectors=named.collection.vectors,
        vector=settled.vector.name,
        strict_mode=strict_limits(settled.asking),
        notes=tuple(notes_on(settled.asking, wanted.count)),
        searches=Searches(wanted.count),
    )


@dataclass(frozen=True, slots=True)
class _Teller:
    """Says things where they belong: results to one stream, what a person should know to the other."""

    output: Output
    console: Console
    errors: Console

    def begin(self, report: Report) -> None:
        """Say what is done otherwise than asked for, before it takes its time."""
        for label, why in report.silent_peers.items():
            self._complain(f"peer {label} does not answer: {why}")
        for note in report.notes:
            self._complain(note)

    def end(self, report: Report) -> None:
        """Show what came of it."""
        if self.output is Output.JSON:
            self._show_document(report.document())
        else:
            show(report, self.console)
        failures = summary_of_failures(report)
        if failures:
            self._complain(failures)

    def show_error(self, error: NotProbed) -> None:
        """Show why nothing was searched."""
        if self.output is Output.JSON:
            self._show_document({"error": str(error), "exit_code": error.code})
        for line in str(error).splitlines():
            self._complain(line)

    def _complain(self, line: str) -> None:
        self.errors.print(Text(printable(line)), soft_wrap=True)

    def _show_document(self, document: Mapping[str, Any]) -> None:
        self.console.out(json.dumps(document, indent=2), highlight=False)
