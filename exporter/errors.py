"""The exceptions of the house.

    ExporterError
        ConfigError             what a person wrote cannot be used; carries every problem
        StateError              the state directory cannot be used
            StateFull           for want of room, perhaps
        ListenError             an address cannot be listened on
        SourceError(kind)       a call to Qdrant failed
            SourceTimeout
            SourceUnreachable
            SourceAuth
            SourceRefused       status and Retry-After
            BadPayload
            SourceUnsupported   this server has no such endpoint
        JobError                a chore failed; says what it wanted and what stood in the way
            JobRefused          it was not begun: doing it would do harm
            JobDenied           the key may not do it
            JobLocked           another holds the lock
            StoreError          the store of backups cannot be read or written
                StoreMissing    there is no such object
                StoreTaken      there is one, where there must be none
                StoreShort      the object ends too early
                StoreDenied     the store refuses us
                StoreFull       no room

Messages name the thing and the limit, never a secret: no URL with userinfo, no raw value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.model import Fault, FaultKind


class ExporterError(Exception):
    """Root of everything this program raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where, what, and what to write instead."""

    file: str
    line: int | None  # 1-based; None for a flag or an environment variable
    path: str  # "clusters.0.peers.1.url", "--log.level", "$QDRANT_API_KEY"
    message: str  # what is wrong and what to write

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(ExporterError):
    """The configuration cannot be used. `problems` holds all of them, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StateError(ExporterError):
    """The state directory cannot be opened, read or written."""


class StateFull(StateError):
    """A write failed as it does where no room is left: once some is freed, it may succeed."""


class ListenError(ExporterError):
    """An address cannot be listened on; says which, why and what to do."""


class SourceError(ExporterError):
    """A call to Qdrant failed; becomes a Fault at the source's boundary."""

    kind: FaultKind

    def __init__(self, endpoint: str, detail: str) -> None:
        self.endpoint = endpoint
        self.detail = detail
        super().__init__(f"{endpoint}: {detail}")

    def fault(self) -> Fault:
        """This failure as data."""
        return Fault(self.kind, self.endpoint, self.detail)


class SourceTimeout(SourceError):
    """No whole answer within the total deadline."""

    kind = FaultKind.TIMEOUT


class SourceUnreachable(SourceError):
    """No connection, or it broke before a whole answer."""

    kind = FaultKind.UNREACHABLE


class SourceAuth(SourceError):
    """401 or 403."""

    kind = FaultKind.AUTH


class SourceRefused(SourceError):
    """An answer that says no. `retry_after_seconds` is set where the server named one."""

    kind = FaultKind.REFUSED

    def __init__(
        self, endpoint: str, detail: str, *, status: int, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(endpoint, detail)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class BadPayload(SourceError):
    """An answer that is not what Qdrant says: HTML, truncated JSON, a wrong type, too large."""

    kind = FaultKind.BAD_PAYLOAD


class SourceUnsupported(SourceError):
    """This server's version has no such endpoint."""

    kind = FaultKind.UNSUPPORTED


class JobError(ExporterError):
    """A chore failed, or a part of it; says what it wanted and what stood in the way."""


class JobRefused(JobError):
    """It was not begun, because doing it would do harm; says what to do instead."""


class JobDenied(JobError):
    """Qdrant refuses the key what the chore needs."""


class JobLocked(JobError):
    """Another run holds the lock; says who and since when."""


class StoreError(JobError):
    """The store of backups cannot be read or written."""


class StoreMissing(StoreError):
    """There is no such object."""


class StoreTaken(StoreError):
    """There is an object where there must be none."""


class StoreShort(StoreError):
    """The object ends before what was asked for."""


class StoreDenied(StoreError):
    """The store refuses us: key or rights."""


class StoreFull(StoreError):
    """No room is left."""
