"""One collection's shard in the server: the queue before its worker, and what is known of it.

The worker does one thing at a time, in order. While it optimizes, everything else waits: that is
honest latency. What is known of the shard is answered from here, at once, whatever the worker does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from exporter.clock import Clock
from exporter.embedded.engine_process import EngineLostError, EngineProcess
from exporter.embedded.messages import Archived, Counts, Reply, Survey
from exporter.embedded.optimizer_log import OptimizerLog, Run
from exporter.embedded.refusals import RefusalError
from exporter.embedded.shard_view import Plan, SegmentView, plans, segment_views

# A survey flushes to disk, some tens of milliseconds: often enough for a poll, too rare to be felt.
SURVEY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Pacing:
    """When the optimizer runs. It stops all else in its worker, so it waits for a pause in the writes."""

    quiet_seconds: float = 0.3  # no write for so long: run
    patience_seconds: float = 5.0  # work pending for so long: run, pause or not


@dataclass(slots=True)
class Operation:
    """One thing waiting for the worker."""

    verb: str
    argument: dict[str, Any]
    writes: bool
    answer: asyncio.Future[Any]


class Shard:
    """The queue, the pacing of the optimizer, and the newest counts and survey."""

    def __init__(self, *, folder: Path, config: dict[str, Any], pacing: Pacing, clock: Clock) -> None:
        self.config = config
        self.operations = 0  # writes accepted since creation
        self.optimized_points = 0  # of all segments that optimizing made, cumulative
        self.error: str | None = None  # why the last optimizing failed
        self.counts = Counts()
        self.log = OptimizerLog(opened_seconds=clock.now())
        self.segment_numbers: dict[str, int] = {}  # in the order first seen
        self.folder = folder
        self._snapshots = 0  # asked for and not done
        self._pacing = pacing
        self._clock = clock
        self._survey = Survey(self.counts, [])
        self._waiting: deque[Operation] = deque()
        self._arrived = asyncio.Event()
        self._process: EngineProcess | None = None
        self._work: asyncio.Task[None] | None = None
        self._lost: RefusalError | None = None
        self._awake = False  # Qdrant does not optimize after a start until a write or a PATCH
        self._replan = False  # a PATCH: run the optimizer whatever the thresholds say
        self._interrupted = False  # the process was killed in the middle of a run
        self._declined = False  # the engine found nothing to do and nothing has changed since
        self._surveyed_seconds = self._wrote_seconds = clock.monotonic()
        self._unsurveyed = False
        self._pending_since_seconds: float | None = None

    async def open(self) -> None:
        """Start the worker and create or load the shard. Raises RefusalError with the engine's reason."""
        self._awake = not self.folder.exists()
        self._process = await EngineProcess.start()
        try:
            reply = await self._call("open", self._opening())
        except EngineLostError as error:
            raise RefusalError(500, f"Service internal error: {error}") from error
        if reply.status != 200:
            raise RefusalError(reply.status, str(reply.result))
        self._work = asyncio.create_task(self._serve(), name=f"shard {self.folder.name}")

    async def close(self, *, keep: bool) -> None:
        """End the worker. With `keep`, what was written is on disk afterwards."""
        try:
            if self._work is not None:
                self._work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._work
        finally:
            if self._process is not None:
                await self._process.stop(keep=keep)

    async def read(self, verb: str, argument: dict[str, Any], timeout_seconds: float | None) -> Any:
        """Return the worker's answer. Raises RefusalError: 408 after `timeout_seconds`, or the engine's."""
        operation = self._submit(verb, argument, writes=False)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await operation.answer
        except TimeoutError:
            text = f"Timeout: Timeout error: {verb} timed out after {timeout_seconds} seconds"
            raise RefusalError(408, text) from None

    async def write(self, verb: str, argument: dict[str, Any], *, wait: bool) -> dict[str, Any]:
        """Queue a change and return its number; with `wait`, when it is done. Raises RefusalError."""
        operation = self._submit(verb, argument, writes=True)
        number = self.operations
        if wait:
            await operation.answer
        return {"operation_id": number, "status": "completed" if wait else "acknowledged"}

    async def snapshot(self, target: Path, documents: Mapping[str, str]) -> Archived:
        """Write the shard's archive, after what waits now; reads and writes wait. Raises RefusalError."""
        argument = {"target": str(target), "documents": dict(documents)}
        operation = self._submit("snapshot", argument, writes=False)
        self._snapshots += 1
        try:
            return msgspec.convert(await operation.answer, Archived)
        finally:
            self._snapshots -= 1

    def reconfigure(self, config: dict[str, Any]) -> None:
        """Load the shard anew with another configuration and run the optimizer, after what waits now.

        A run under way is cancelled, as Qdrant does it. The engine has no way to end one but to end its
        process: what it held is on the disk, and the next one finds it there.
        """
        self.config = config
        self._submit("open", self._opening(), writes=False)
        self._awake, self._declined = True, False
        if self.log.running is not None and self._process is not None:
            self._interrupted = True
            self._process.kill()

    @property
    def process_id(self) -> int | None:
        """The worker's process."""
        return None if self._process is None else self._process.process_id

    @property
    def queue_length(self) -> int:
        """Changes accepted that the worker has not begun."""
        return sum(operation.writes for operation in self._waiting)

    @property
    def segments(self) -> tuple[SegmentView, ...]:
        """The segments as known now."""
        return segment_views(self._survey, self.counts)

    @property
    def pending(self) -> tuple[Plan, ...]:
        """Optimizing that should be done and is not under way."""
        if self._declined or self.log.running is not None:
            return ()
        return plans(self.segments, self.config)

    @property
    def status(self) -> str:
        """Qdrant's rule: red failed, yellow at work or about to be, grey pending but asleep, green."""
        if self.error is not None:
            return "red"
        if self.log.running is not None or self._snapshots:
            return "yellow"
        if self.pending:
            return "yellow" if self._awake else "grey"
        return "green"

    def _opening(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "config": self.config}

    def _submit(self, verb: str, argument: dict[str, Any], *, writes: bool) -> Operation:
        if self._lost is not None:
            raise self._lost
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # an answer that nobody waits for any more is no fault of the loop's
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        operation = Operation(verb, argument, writes, answer)
        self.operations += writes
        self._waiting.append(operation)
        self._arrived.set()
        return operation

    async def _serve(self) -> None:
        try:
            while True:
                operation = await self._next_operation()
                if operation is not None:
                    await self._perform(operation)
                await self._keep_up()
        except EngineLostError as error:
            self.error = str(error)
        finally:  # whatever ended this, nobody may wait for an answer that cannot come
            self._lost = RefusalError(500, f"Service internal error: {self.error or 'the shard is closed'}")
            self._refuse_waiting(self._lost)

    async def _next_operation(self) -> Operation | None:
        """Return what waits longest; None when upkeep is due before anything arrives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds_to_upkeep()):
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
        return self._waiting.popleft() if self._waiting else None

    async def _perform(self, operation: Operation) -> None:
        if operation.answer.cancelled() and not operation.writes:
            return
        try:
            reply = await self._call(operation.verb, operation.argument)
        except EngineLostError as error:
            if not operation.answer.done():
                operation.answer.set_exception(RefusalError(500, f"Service internal error: {error}"))
            raise
        except OverflowError as error:  # a number that no 64 bits hold, and so nothing was sent
            reply = Reply(400, f"Format error in JSON body: {error}")
        if operation.verb == "open":  # only now: a run with the settings before would find nothing
            self._replan, self._declined = True, False
        if operation.writes:
            self._awake, self._declined, self._unsurveyed = True, False, True
            self._wrote_seconds = self._clock.monotonic()
        if operation.answer.done():
            return
        if reply.status == 200:
            operation.answer.set_result(reply.result)
        else:
            operation.answer.set_exception(RefusalError(reply.status, str(reply.result)))

    async def _call(self, verb: str, argument: dict[str, Any]) -> Reply:
        assert self._process is not None, "open comes first"
        reply = await self._process.call(verb, argument)
        if reply.counts is not None:
            self.counts = reply.counts
        if reply.survey is not None:
            self._survey = reply.survey
            self._surveyed_seconds, self._unsurveyed = self._clock.monotonic(), False
            for segment in reply.survey.segments:
                self.segment_numbers.setdefault(segment.uuid, len(self.segment_numbers))
        elif verb == "open" and reply.status != 200:
            self.error = str(reply.result)
        return reply

    def _optimizing_due_seconds(self) -> float | None:
        """The monotonic time at which to optimize; None when there is nothing to do."""
        if self.config["optimizer_config"]["max_optimization_threads"] == 0:
            return None  # switched off: work is planned, and waits for a PATCH
        if self._replan:
            return 0.0  # long ago
        if not (self._awake and self.pending):
            self._pending_since_seconds = None
            return None
        if self._pending_since_seconds is None:
            self._pending_since_seconds = self._clock.monotonic()
        return min(
            self._wrote_seconds + self._pacing.quiet_seconds,
            self._pending_since_seconds + self._pacing.patience_seconds,
        )

    def _seconds_to_upkeep(self) -> float | None:
        dues = [] if (due := self._optimizing_due_seconds()) is None else [due]
        if self._unsurveyed:
            dues.append(self._surveyed_seconds + SURVEY_SECONDS)
        return max(0.0, min(dues) - self._clock.monotonic()) if dues else None

    async def _keep_up(self) -> None:
        now_seconds = self._clock.monotonic()
        due_seconds = self._optimizing_due_seconds()
        if due_seconds is not None and due_seconds <= now_seconds:
            await self._optimize()
        elif self._unsurveyed and self._surveyed_seconds + SURVEY_SECONDS <= now_seconds:
            await self._look()

    async def _look(self) -> None:
        reply = await self._call("survey", {})
        if reply.status != 200:
            self.error, self._unsurveyed = str(reply.result), False

    async def _optimize(self) -> None:
        await self._look()
        due = self.pending
        if not due and not self._replan:
            return
        self._replan = False
        before = self.segments
        run = Run(
            optimizer=due[0].optimizer if due else "config mismatch",
            segments=tuple(segment for plan in due for segment in plan.segments) or self.segments,
            started_seconds=self._clock.now(),
        )
        self.log.start(run)
        try:
            reply = await self._call("optimize", {})
        except EngineLostError:
            if not self._interrupted:
                raise
            if due:
                self.log.cancel(run, self._clock.now())
            else:
                self.log.drop(run)
            await self._begin_again()
            return
        if self._interrupted:  # it was done before the kill came
            await self._begin_again()
        if reply.status != 200:
            self.error, self._declined = str(reply.result), True
            self.log.finish(run, self._clock.now(), self.error)
        elif reply.result:
            self.error, self._declined = None, False
            self.log.finish(run, self._clock.now())
            self._note_rewritten(run, before)
        else:
            self._declined = True
            self.log.drop(run)

    async def _begin_again(self) -> None:
        """Load the shard in a new process, in place of one that was killed."""
        assert self._process is not None, "it was killed"
        self._interrupted = False
        await self._process.stop(keep=False)
        self._process = await EngineProcess.start()
        await self._call("open", self._opening())

    def _note_rewritten(self, run: Run, before: tuple[SegmentView, ...]) -> None:
        """Correct the plan by what the engine did: it may merge more segments than were due."""
        kept = {segment.uuid for segment in self.segments}
        known = {segment.uuid for segment in before}
        run.segments = tuple(segment for segment in before if segment.uuid not in kept)
        made = [segment for segment in self.segments if segment.uuid not in known]
        self.optimized_points += sum(segment.live_points for segment in made)

    def _refuse_waiting(self, refusal: RefusalError) -> None:
        while self._waiting:
            answer = self._waiting.popleft().answer
            if not answer.done():
                answer.set_exception(refusal)
