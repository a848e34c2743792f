"""What watching costs a real Qdrant server on this machine, from its own /proc entry.

Needs QDRANT_URL, the URL of a server on this machine that is otherwise quiet.
"""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

from exporter.config.clusters import PollSettings
from tests.bench.bench_poll import DEFAULT_POLL, telemetry_polls, watching
from tests.bench.process import cpu_seconds, listener
from tests.bench.verdict import judge, say

WINDOW_SECONDS = 120.0  # eight fast polls and two medium ones
FAST_SECONDS = PollSettings().fast_seconds
SETTLE_SECONDS = 30.0  # the first polls ask for everything at once


def main() -> None:
    """Measure the server's CPU without us and with us, and print the difference."""
    url = os.environ.get("QDRANT_URL", "")
    if not url:
        say("CPU that we cost a server", "not measured: QDRANT_URL is not set")
        return
    pid = listener(urlsplit(url).port or 6333)
    alone = share_of_a_core(pid)
    before = cpu_seconds(pid)
    with watching([url], DEFAULT_POLL) as program:
        time.sleep(SETTLE_SECONDS)
        first = cpu_seconds(pid) - before - alone * SETTLE_SECONDS
        watched = share_of_a_core(pid)
        polls = telemetry_polls(program)
    assert polls > WINDOW_SECONDS / FAST_SECONDS, f"only {polls} good answers: the figures mean nothing"
    say("CPU of the server without us", f"{alone * 100:.3g} % of a core")
    # every source once, the fast ones twice: the slow ones, ten minutes apart, are in this figure only
    say("CPU that our first 30 s cost the server, slow sources too", f"{first:.3g} s")
    judge("CPU that we cost the server", (watched - alone) * 100, "% of a core", below=1)


def share_of_a_core(pid: int) -> float:
    """Return the share of one core that a process uses over the window."""
    before = cpu_seconds(pid)
    time.sleep(WINDOW_SECONDS)
    return (cpu_seconds(pid) - before) / WINDOW_SECONDS


if __name__ == "__main__":
    main()
