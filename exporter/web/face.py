"""What the HTTP face shows, as callables that the application passes in.

The face asks at each request and keeps nothing, so it can never show what is no longer so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class PageBytes(Protocol):
    """A rendered exposition, in both forms."""

    @property
    def plain(self) -> bytes:
        """Text format 0.0.4."""
        ...

    @property
    def gzipped(self) -> bytes:
        """The same, compressed."""
        ...


@dataclass(frozen=True, slots=True)
class LandingPeer:
    """One peer for the landing page. `up` is None before its first poll has ended."""

    name: str
    up: bool | None
    note: str = ""  # version, or why it is down


@dataclass(frozen=True, slots=True)
class LandingCluster:
    """One cluster for the landing page."""

    name: str
    peers: tuple[LandingPeer, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that a person should do, and how: peers nobody watches, a refused reload, …"""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class LandingAlert:
    """One alert that fires, for the landing page."""

    name: str
    severity: str
    summary: str
    since: str  # how long: "12 min"
    runbook: str = ""  # its name, or the address of one that is not ours


@dataclass(frozen=True, slots=True)
class Landing:
    """What the landing page says."""

    version: str
    clusters: tuple[LandingCluster, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    alerts: tuple[LandingAlert, ...] = ()  # what fires, the worst first
    external_url: str | None = None  # where people reach this daemon, as configured


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """Everything the HTTP face can ask of the daemon."""

    page: Callable[[], PageBytes]
    ready: Callable[[], bool]  # every peer's first poll has ended, also in failure
    status: Callable[[], Mapping[str, Any]]  # JSON-able
    config_yaml: Callable[[], str]  # without secrets
    reload: Callable[[], Awaitable[str | None]]  # None: done; text: why the old one stays in force
    landing: Callable[[], Landing]
    alerts: Callable[[], Mapping[str, Any]]  # JSON-able
    rules: Callable[[], Mapping[str, Any]]  # JSON-able
    # both read the disk and are called in a thread
    runbooks: Callable[[], Sequence[str]]  # names
    runbook: Callable[[str], str | None]  # text by name; None: there is none
