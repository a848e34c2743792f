"""Locks that lie in the store, for those who share nothing else.

A lock is a row of generations, `locks/NAME/000000007.json`; the newest says who has it and until when. Who
takes it puts the next generation, which only one can (put-if-absent). It is held for five minutes and
renewed in time; a holder that died is waited for so long, and then taken over.

Clocks: `until` is the holder's clock and compared with ours. So clocks may differ by 30 seconds, the grace;
one that is ahead is waited for longer, one that is further behind is taken over while it works, which it
notices at its next renewal.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from exporter.backup.storage.contract import Store
from exporter.clock import Clock
from exporter.errors import JobLocked, StoreError, StoreFull, StoreMissing
from exporter.logs import get_logger
from exporter.printable import printable

log = get_logger()

LOCKS = "locks"
LEASE_SECONDS = 300.0
RENEW_SECONDS = 100.0  # two renewals may fail
GRACE_SECONDS = 30.0
PULSE_SECONDS = 10.0  # a machine that slept past its lease shall know soon after
RELEASE_SECONDS = 15.0  # a store that hangs may not hold a stop up: the lease ends by itself
# The newest generation may be removed between our listing and our reading, by one who took the next.
LOOKS = 5

_GENERATION = re.compile(r"([0-9]{9})\.json")


@dataclass(frozen=True, slots=True)
class Claim:
    """A generation of a lock, as it lies in the store."""

    owner: str  # host and process, for people
    since: float  # Unix seconds, by the owner's clock
    until: float
    released: bool
    token: str  # no two claims are the same

    def is_held(self, now: float) -> bool:
        """Whether somebody else must wait, by a clock that may be half a minute off."""
        return not self.released and now < self.until + GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class Generation:
    """A claim and its number."""

    number: int  # from 1
    claim: Claim


class Held:
    """A lock that we have."""

    def __init__(
        self, name: str, generation: Generation, *, lost_at: float, taken_over: bool = False
    ) -> None:
        self.name = name
        self.taken_over = taken_over  # from one who never released it
        self.lost = asyncio.Event()
        self.generation = generation
        self.lost_at = lost_at  # monotonic seconds: unless it is renewed
        self.why = ""

    def check(self) -> None:
        """Raise JobLocked when the lock was lost."""
        if self.lost.is_set():
            raise JobLocked(f"the lock {printable(self.name)} was lost: {self.why}")


class Lease:
    """Takes locks in a store, for one owner."""

    def __init__(
        self,
        store: Store,
        *,
        owner: str,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._sleep = sleep

    async def holder(self, name: str) -> Claim | None:
        """Return who has a lock now; None when nobody has. Raises StoreError."""
        newest = await self._newest(name)
        return newest.claim if newest is not None and newest.claim.is_held(self._clock.now()) else None

    @asynccontextmanager
    async def held(self, name: str) -> AsyncGenerator[Held, None]:
        """Hold a lock while the body runs. `name` is a path of the store.

        Raises JobLocked, saying who and since when, where another has it. When it is lost meanwhile, the body
        is cancelled, and JobLocked comes out in place of that. StoreError where it cannot be taken.
        """
        held = await self.take(name)
        task = asyncio.current_task()
        assert task is not None
        cancels_before = task.cancelling()
        keeper = asyncio.create_task(self._keep(held, task.cancel))
        try:
            yield held
            await _ended(keeper)
            held.check()
        except asyncio.CancelledError:
            if held.lost.is_set() and task.uncancel() <= cancels_before:
                held.check()
            raise
        finally:
            await _ended(keeper)
            if not held.lost.is_set():
                await asyncio.shield(self._released(held))

    async def take(self, name: str) -> Held:
        """Take a lock and do no more about it."""
        newest = await self._newest(name)
        now = self._clock.now()
        lost_at = self._clock.monotonic() + LEASE_SECONDS
        if newest is not None and newest.claim.is_held(now):
            raise _locked(name, newest)
        number = 1 if newest is None else newest.number + 1
        claim = Claim(self._owner, now, now + LEASE_SECONDS, released=False, token=secrets.token_hex(8))
        is_ours = await self._store.put_if_absent(_path(name, number), _encoded(claim))
        # One who was slow between its look and its put may get a number that was used and removed.
        newest_now = await self._newest(name)
        if not is_ours or newest_now is None or newest_now.number != number:
            if is_ours:
                await self._store.delete(_path(name, number))
            raise _locked(name, newest_now)
        taken_over = newest is not None and not newest.claim.released
        if newest is not None and taken_over:
            log.warning(
                "lock.taken_over", lock=name, owner=printable(newest.claim.owner), since=newest.claim.since
            )
        return Held(name, Generation(number, claim), lost_at=lost_at, taken_over=taken_over)

    async def renew(self, held: Held) -> None:
        """Renew a lock, or say in `held` that it is lost. Raises StoreError where the store cannot tell."""
        lost_at = self._clock.monotonic() + LEASE_SECONDS
        numbers = await self._numbers(held.name)
        number = held.generation.number
        if not numbers or max(numbers) != number:
            _lose(held, "another took it over")
            return
        claim = replace(held.generation.claim, until=self._clock.now() + LEASE_SECONDS)
        await self._store.put(_path(held.name, number), _encoded(claim))
        held.generation = Generation(number, claim)
        held.lost_at = lost_at

    async def release(self, held: Held) -> None:
        """Say that a lock is free, and remove its older generations. Raises StoreError."""
        numbers = await self._numbers(held.name)
        number = held.generation.number
        if not numbers or max(numbers) != number:
            return
        claim = replace(held.generation.claim, released=True)
        try:
            await self._store.put(_path(held.name, number), _encoded(claim))
        except StoreFull:  # which takes no word, and lets go of one; what is older is over
            await self._store.delete(_path(held.name, number))
            return
        for older in numbers:
            if older < number:
                await self._store.delete(_path(held.name, older))

    async def _keep(self, held: Held, interrupt: Callable[[], object]) -> None:
        """Renew in time, for ever; `interrupt` when that fails for too long."""
        renew_at = self._clock.monotonic() + RENEW_SECONDS
        while not held.lost.is_set():
            await self._sleep(PULSE_SECONDS)
            left_seconds = held.lost_at - self._clock.monotonic()
            # By both clocks: the monotonic one stands still while a machine sleeps.
            if left_seconds <= 0 or self._clock.now() >= held.generation.claim.until:
                _lose(held, "it could not be renewed in time")
            elif self._clock.monotonic() >= renew_at and await self._was_renewed(held, left_seconds):
                renew_at = self._clock.monotonic() + RENEW_SECONDS
        log.error("lock.lost", lock=held.name, reason=held.why)
        interrupt()

    async def _was_renewed(self, held: Held, left_seconds: float) -> bool:
        try:
            async with asyncio.timeout(left_seconds):
                await self.renew(held)
        except TimeoutError:
            log.warning("lock.not_renewed", lock=held.name, error="no answer of the store in time")
        except StoreError as error:
            log.warning("lock.not_renewed", lock=held.name, error=str(error))
        else:
            return True
        return False

    async def _released(self, held: Held) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self.release(held)
        except (TimeoutError, StoreError) as error:
            log.warning("lock.left", lock=held.name, until=held.generation.claim.until, error=str(error))

    async def _newest(self, name: str) -> Generation | None:
        for _ in range(LOOKS):
            numbers = await self._numbers(name)
            if not numbers:
                return None
            number = max(numbers)
            with suppress(StoreMissing):
                return Generation(
                    number, _decoded(await self._store.get(_path(name, number)), numbers[number])
                )
        raise StoreError(f"{self._store.name}: the lock {printable(name)} changes too fast to be read")

    async def _numbers(self, name: str) -> dict[int, float]:
        """Return the generations that are there, and when each was written, by the store's clock."""
        prefix = f"{LOCKS}/{name}"
        found: dict[int, float] = {}
        with suppress(StoreMissing):  # of a directory that the first writing makes
            async for stored in self._store.list(prefix):
                match = _GENERATION.fullmatch(stored.path.removeprefix(f"{prefix}/"))
                if match is not None:
                    found[int(match[1])] = stored.modified_at
        return found


async def _ended(keeper: asyncio.Task[None]) -> None:
    keeper.cancel()
    await asyncio.wait([keeper])


def _lose(held: Held, why: str) -> None:
    held.why = why
    held.lost.set()


def _path(name: str, number: int) -> str:
    return f"{LOCKS}/{name}/{number:09}.json"


def _encoded(claim: Claim) -> bytes:
    return json.dumps(asdict(claim), sort_keys=True).encode()


def _decoded(data: bytes, written_at: float) -> Claim:
    """Read a claim. One that nobody can read holds for a lease from when it was written."""
    try:
        content = json.loads(data)
        return Claim(
            owner=str(content["owner"]),
            since=float(content["since"]),
            until=float(content["until"]),
            released=bool(content["released"]),
            token=str(content["token"]),
        )
    except (ValueError, TypeError, KeyError):
        return Claim("unreadable", written_at, written_at + LEASE_SECONDS, released=False, token="")


def _locked(name: str, by: Generation | None) -> JobLocked:
    if by is None:
        return JobLocked(f"{printable(name)} is locked: another took it at the same moment")
    since, until = (
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        for at in (by.claim.since, by.claim.until)
    )
    return JobLocked(
        f"{printable(name)} is locked by {printable(by.claim.owner)} since {since}, until {until}"
    )
