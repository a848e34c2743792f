"""`peers forget`: takes a peer out of the state directory and tells a running daemon."""

from __future__ import annotations

import time
from pathlib import Path

from exporter.clock import Clock
from exporter.errors import StateError
from exporter.state import DATABASE_NAME, State, StateLock

# A daemon looks once a second; a busy one gets two more.
WAIT_SECONDS = 3.0
LOOK_SECONDS = 0.1


def forget_peer(directory: Path, cluster: str, peer: str, *, clock: Clock) -> str:
    """Forget a peer and return what came of it. Raises StateError where it is not known."""
    if not (directory / DATABASE_NAME).exists():  # opening would make one, and own it
        raise StateError(f"no daemon has kept its state in {directory}: give the --state.dir of the daemon")
    forgotten = f"peer {peer} of cluster {cluster} is forgotten"
    state = State.open(directory, clock=clock)
    try:
        number = state.request_forget(cluster, peer)
        if not StateLock(directory=directory).is_held():
            return f"{forgotten}; no daemon runs here, the next will not watch it"
        until = clock.monotonic() + WAIT_SECONDS
        while clock.monotonic() < until:
            if state.is_answered(number):
                return f"{forgotten}; the daemon watches it no more"
            time.sleep(LOOK_SECONDS)
    finally:
        state.close()
    return f"{forgotten}; the daemon has not looked for {WAIT_SECONDS:.0f} s, it will drop it when it does"
