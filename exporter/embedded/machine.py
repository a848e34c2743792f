"""What the operating system says of the worker processes and of the machine. Linux; elsewhere absent."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from exporter.clock import Clock

KIB = 1024
# A shorter span would show the scheduler's ticks (10 ms each) rather than the use.
SHORTEST_SPAN_SECONDS = 1.0


class Machine:
    """Memory and processor use of the workers, and the machine they run on."""

    def __init__(self, *, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._since_seconds = clock.monotonic()
        self._processor_seconds: dict[int, float] = {}
        self._cores_used = 0.0

    def resident_bytes(self, process_ids: Iterable[int]) -> int | None:
        """Return the workers' resident memory in bytes, from /proc; None where there is no /proc.

        The engine's data lives in the workers. The server's own process is not in it: other parts
        of this program may run in that one.
        """
        if sys.platform != "linux":
            return None
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        pages = (_fields(process_id, "statm") for process_id in process_ids)
        return sum(int(fields[1]) * page_bytes for fields in pages if fields)

    def system(self, process_ids: Iterable[int]) -> dict[str, Any]:
        """Return telemetry's app.system: cores, memory and disk in KiB."""
        release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
        answer: dict[str, Any] = {
            "distribution": release.get("ID"),
            "distribution_version": release.get("VERSION_ID"),
            "is_docker": Path("/.dockerenv").exists(),
            "cores": os.cpu_count(),
            "ram_size": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // KIB,
            "disk_size": shutil.disk_usage(self._folder).total // KIB,
            "cpu_endian": sys.byteorder,
        }
        if sys.platform == "linux":
            answer["cpu_cores_used"] = self._measured_cores(process_ids)
        return answer

    def _measured_cores(self, process_ids: Iterable[int]) -> float:
        """Return the cores that the workers kept busy since the last look at least a second ago."""
        span_seconds = self._clock.monotonic() - self._since_seconds
        if span_seconds >= SHORTEST_SPAN_SECONDS:
            used = {process_id: _processor_seconds(process_id) for process_id in process_ids}
            grown = sum(now - self._processor_seconds.get(one, 0.0) for one, now in used.items())
            self._cores_used = grown / span_seconds
            self._processor_seconds = used
            self._since_seconds += span_seconds
        return self._cores_used


def _fields(process_id: int, name: str) -> list[str]:
    try:
        text = Path(f"/proc/{process_id}/{name}").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []  # it ended since
    return text.rpartition(")")[2].split()  # a command name in parentheses may hold spaces


def _processor_seconds(process_id: int) -> float:
    fields = _fields(process_id, "stat")
    # utime and stime, the 14th and 15th of proc(5), of which two went with the command's name
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
