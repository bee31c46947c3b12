"""Sends the load: the I/O around the pure parts of this package.

One run has at most `connections` requests in flight, each on a connection of its own. A request
may take several attempts; whatever becomes of it, it is counted once, under its last outcome.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.client.alarm import Alarm
from benchmarks.client.connection import Connection
from benchmarks.client.operations import Ended, Observer, Operation
from benchmarks.client.outcomes import Outcome, judged, may_repeat, of_error
from benchmarks.client.plan import Plan, Target
from benchmarks.client.recorder import Progress, Recorder
from benchmarks.client.requests import Answer, Request, Source, encode
from benchmarks.client.results import Result
from benchmarks.client.schedule import Arrivals, Step

SWEEP_S = 0.02
"""Time limits are looked at this often, so they are exact to this much."""

PROGRESS_EVERY_S = 1.0


class Load:
    """One run; `run` may be called once."""

    def __init__(
        self,
        target: Target,
        source: Source,
        plan: Plan,
        *,
        observer: Observer | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            observer: told of each request that was sent, in the event loop: it must be fast.
            on_progress: told about every second.
            stop: no request is begun once it is set; those in flight are awaited.
        """
        self._target, self._source, self._plan = target, source, plan
        self._observer, self._on_progress, self._stop = observer, on_progress, stop
        self._recorder = Recorder()
        self._arrivals = Arrivals(plan.rate_per_s or 1.0, plan.seconds)
        self._idle: list[Connection] = []
        self._active: dict[int, Operation] = {}
        self._by_connection: dict[Connection, Operation] = {}
        self._pauses = 0
        self._next = 0
        self._alarm_number = -1
        self._no_more = False
        self._ended_by = ""
        self._encoded: tuple[Request, bytes] | None = None

    async def run(self) -> Result:
        """Send everything, await the answers, and count.

        Raises whatever the source, a check or the observer raises: those are mistakes of the
        caller, and end the run.
        """
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._alarm = Alarm(self._loop, self._rang)
        started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        cpu_s = time.process_time()
        self._start_s = time.monotonic()
        self._next_progress_s = PROGRESS_EVERY_S
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        try:
            self._pump()
            await self._over
        finally:
            self._close()
        return self._recorder.result(
            target=self._target.url,
            plan=dataclasses.asdict(self._plan),
            loop=type(self._loop).__module__.partition(".")[0],
            started_at=started_at,
            started_monotonic_s=self._start_s,
            cpu_s=time.process_time() - cpu_s,
            ended_by=self._ended_by,
        )

    # ---- which request is next

    def _now_s(self) -> float:
        return time.monotonic() - self._start_s

    def _rang(self) -> None:
        self._alarm_number = -1  # it may ring a little early, and must then be set again
        self._pump()

    def _pump(self) -> None:
        """Begin all requests that are due and have room; set the alarm for the next one."""
        if self._over.done():
            return
        try:
            if self._plan.is_open:
                self._pump_open()
            else:
                self._pump_closed()
        except Exception as error:  # of the source: it ends the run, see `run`
            self._abandon(error)
            return
        if self._no_more and not self._active and not self._over.done():
            self._over.set_result(None)

    def _pump_open(self) -> None:
        while not self._stopped():
            now_s = self._now_s()
            room = len(self._active) < self._plan.connections
            step = self._arrivals.step(self._next, now_s, room, self._plan.late_max_s)
            due_s = self._arrivals.at_s(self._next)
            if step is Step.SEND:
                self._begin(due_s, now_s)
            elif step is Step.GIVE_UP:
                self._recorder.unsent(self._next, due_s, now_s)
                self._next += 1
            elif step is Step.WAIT:
                if due_s > now_s and self._alarm_number != self._next:
                    self._alarm_number = self._next
                    self._alarm.set(self._start_s + due_s)
                return  # without room: the end of a request, or the sweep, comes back here
            else:
                self._begin_no_more("time")

    def _pump_closed(self) -> None:
        while not self._stopped() and len(self._active) + self._pauses < self._plan.connections:
            now_s = self._now_s()
            if now_s >= self._plan.seconds:
                self._begin_no_more("time")
            else:
                self._begin(now_s, now_s)

    def _stopped(self) -> bool:
        if self._stop is not None and self._stop.is_set():
            self._begin_no_more("stop")
        elif self._next >= self._plan.requests:
            over = self._plan.is_open and self._next >= self._arrivals.count
            self._begin_no_more("time" if over else "requests")
        return self._no_more

    def _begin_no_more(self, reason: str) -> None:
        if not self._no_more:
            self._no_more, self._ended_by = True, reason

    def _begin(self, due_s: float, now_s: float) -> None:
        request = self._source(self._next)
        if request is None:
            self._begin_no_more("source")
            return
        operation = Operation(self._next, request, self._payload(request), due_s)
        self._next += 1
        self._active[operation.number] = operation
        self._recorder.begun(due_s, now_s)
        self._attempt(operation)

    def _payload(self, request: Request) -> bytes:
        if self._encoded is None or self._encoded[0] is not request:
            payload = encode(request, self._target.host, self._plan.keep_alive)
            self._encoded = (request, payload)
        return self._encoded[1]

    def _attempt(self, operation: Operation) -> None:
        operation.attempts += 1
        operation.sent_s = self._now_s()
        operation.deadline_s = operation.sent_s + self._plan.timeout_s
        if self._idle:
            self._hand_over(operation, self._idle.pop())
        else:
            operation.task = self._loop.create_task(self._connect(operation))

    async def _connect(self, operation: Operation) -> None:
        try:
            connection = await self._new_connection()
            operation.task = None
            if isinstance(connection, Outcome):
                self._attempt_ended(operation, connection, None)
            else:
                self._hand_over(operation, connection)
        except Exception as error:  # nobody awaits this task: it ends the run, see `run`
            self._abandon(error)

    async def _new_connection(self) -> Connection | Outcome:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self, self._plan.body_max_bytes),
                self._target.address,
                self._target.port,
            )
        except OSError as error:
            outcome = of_error(error)
            if outcome is None:
                raise
            return outcome
        self._recorder.connections_opened += 1
        return connection if connection.is_open else Outcome.RESET

    def _hand_over(self, operation: Operation, connection: Connection) -> None:
        operation.connection = connection
        operation.sent = True
        self._by_connection[connection] = operation
        request = operation.request
        connection.send(
            operation.payload,
            keep=self._plan.keep_alive,
            head_only=request.method == "HEAD",
            keep_body=request.check is not None or self._observer is not None,
        )

    def answered(self, connection: Connection, answer: Answer) -> None:
        """See `Owner`."""
        operation = self._by_connection.pop(connection)
        operation.connection = None
        if connection.is_open:
            self._idle.append(connection)
        try:
            outcome = judged(operation.request, answer)
        except Exception as error:  # of the check: it ends the run, see `run`
            self._abandon(error)
            return
        self._attempt_ended(operation, outcome, answer)

    def failed(self, connection: Connection, outcome: Outcome) -> None:
        """See `Owner`."""
        operation = self._by_connection.pop(connection)
        operation.connection = None
        if outcome is Outcome.RESET and connection.served:
            self._recorder.resets_on_reused += 1
        self._attempt_ended(operation, outcome, None)

    def dropped(self, connection: Connection, stray: bool) -> None:
        """See `Owner`."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._recorder.stray += stray

    def _attempt_ended(self, operation: Operation, outcome: Outcome, answer: Answer | None) -> None:
        self._recorder.attempt(
            outcome,
            again=operation.attempts > 1,
            body_bytes=answer.body_bytes if answer else 0,
        )
        left = operation.attempts <= self._plan.retries
        if left and may_repeat(operation.request, outcome, answer):
            pause_s = self._plan.retry_pause_s * 2 ** (operation.attempts - 1)
            operation.deadline_s = float("inf")
            self._loop.call_later(pause_s, self._retry, operation)
        else:
            self._ended(operation, outcome, answer)

    def _retry(self, operation: Operation) -> None:
        if not self._over.done():
            self._attempt(operation)

    def _ended(self, operation: Operation, outcome: Outcome, answer: Answer | None) -> None:
        now_s = self._now_s()
        del self._active[operation.number]
        self._recorder.ended(
            operation.number,
            outcome,
            due_s=operation.due_s,
            sent_s=operation.sent_s,
            now_s=now_s,
            attempts=operation.attempts,
        )
        if outcome is not Outcome.OK:
            self._recorder.unsent_definite += not operation.sent
            if not self._plan.is_open and self._plan.failure_pause_s:
                self._pauses += 1
                self._loop.call_later(self._plan.failure_pause_s, self._pause_over)
        if self._observer is not None and not self._observed(operation, outcome, answer, now_s):
            return
        self._pump()

    def _observed(
        self, operation: Operation, outcome: Outcome, answer: Answer | None, now_s: float
    ) -> bool:
        assert self._observer is not None
        try:
            self._observer(
                Ended(
                    number=operation.number,
                    request=operation.request,
                    outcome=outcome,
                    sent=operation.sent,
                    answer=answer,
                    attempts=operation.attempts,
                    due_s=self._start_s + operation.due_s,
                    ended_s=self._start_s + now_s,
                )
            )
        except Exception as error:  # of the observer: it ends the run, see `run`
            self._abandon(error)
            return False
        return True

    def _pause_over(self) -> None:
        self._pauses -= 1
        self._pump()

    # ---- time limits, progress, the end

    def _sweep(self) -> None:
        now_s = self._now_s()
        for operation in [one for one in self._active.values() if one.deadline_s <= now_s]:
            self._time_out(operation)
        if self._on_progress is not None and now_s >= self._next_progress_s:
            self._next_progress_s = now_s + PROGRESS_EVERY_S
            try:
                self._on_progress(self._recorder.progress(now_s))
            except Exception as error:  # of the caller's: it ends the run, see `run`
                self._abandon(error)
        self._pump()
        if not self._over.done():
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _time_out(self, operation: Operation) -> None:
        if operation.task is not None:
            operation.task.cancel()
            operation.task = None
        if operation.connection is not None:
            del self._by_connection[operation.connection]
            operation.connection.abort()
            operation.connection = None
        self._attempt_ended(operation, Outcome.TIMEOUT, None)

    def _abandon(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    def _close(self) -> None:
        self._alarm.close()
        self._sweeper.cancel()
        for operation in self._active.values():
            if operation.task is not None:
                operation.task.cancel()
        for connection in [*self._by_connection, *self._idle]:
            connection.abort()
