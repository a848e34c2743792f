"""One file per thing polled: a thin `poll` that asks, a pure `read` that understands."""
