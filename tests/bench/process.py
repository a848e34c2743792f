"""What another process costs, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MEBIBYTE = 1 << 20


def family(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        return []
    below = (family(int(child)) for child in children.read_text().split())
    return [pid, *(member for members in below for member in members)]


def cpu_seconds(pid: int) -> float:
    """Return user and system CPU that a process and its living descendants have used, in seconds."""
    return sum(_ticks(member) for member in family(pid)) / TICKS_PER_SECOND


def _ticks(pid: int) -> int:
    # The name in parentheses may hold spaces; fields 14 and 15 of proc(5) follow it at 11 and 12.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_mebibytes(pid: int) -> float:
    """Return what a process and its living descendants hold in RAM, in MiB."""
    return sum(_status_kibibytes(member, "VmRSS") for member in family(pid)) / 1024


def peak_mebibytes(pid: int) -> float:
    """Return the most that the process alone ever held in RAM, in MiB."""
    return _status_kibibytes(pid, "VmHWM") / 1024


def _status_kibibytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise LookupError(f"/proc/{pid}/status has no {field}")


def listener(port: int) -> int:
    """Return the process that listens on a TCP port here; LookupError when none can be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: LISTEN
                inodes.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(os.readlink(descriptor) in inodes for descriptor in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:  # it ended meanwhile, or is another user's
            continue
    raise LookupError(f"nobody whom we may look at listens on port {port}")
