"""The master: carries out what the crew decides, with real processes, signals and a clock.

SIGTERM or SIGINT: finish what was begun, then end; a second one: end at once. SIGHUP: new workers,
with code and certificates as they are now, take the place of the old ones, slot by slot.
SIGUSR1: the workers read their certificates anew, and stay.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from week01_http_server.transport.tls import CertificateError, Certificates
from week01_http_server.workers import lines
from week01_http_server.workers.crew import Crew, State, Worker
from week01_http_server.workers.plan import Plan
from week01_http_server.workers.processes import WorkerProcess
from week01_http_server.workers.quiet import drop_new_connections

logger = logging.getLogger("week01_http_server.master")


class Figures(Protocol):
    """What the workers count, kept where they share it with us (`metrics.Figures`)."""

    def share(self, worker: int) -> int:
        """The descriptor of a file for a new worker; valid until `fold`."""

    def fold(self, worker: int) -> None:
        """The worker is gone: its counts are kept, its file is not needed any more."""


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Master:
    """Keeps `len(slots)` workers alive until it is told to end.

    Args:
        plan: what the workers serve.
        slots: for each worker the sockets it accepts from; they stay open here.
        announce: called once when all workers serve.
        outlive: the sockets belong to somebody else and go on without us.
        figures: makes the shared file of a new worker's metrics, and is told of its end.
    """

    def __init__(
        self,
        plan: Plan,
        slots: Sequence[Sequence[socket.socket]],
        *,
        announce: Callable[[], None],
        outlive: bool = False,
        figures: Figures | None = None,
    ) -> None:
        self._plan = plan
        self._slots = [tuple(slot) for slot in slots]
        self._announce = announce
        self._outlive = outlive
        self._figures = figures
        self._processes: dict[Worker, WorkerProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._crew = Crew(len(self._slots), plan.settings.deadlines, self)

    def run(self) -> int:
        """Serve until told to end; returns the exit status."""
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        self._selector.register(wake_read, selectors.EVENT_READ)
        previous_fd = signal.set_wakeup_fd(wake_write)
        previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        try:
            self._crew.tick(time.monotonic())
            while self._crew.finished is None:
                self._turn(wake_read)
            return self._crew.finished
        finally:
            # Also on an error of our own no worker is left behind: the pipes' ends end them.
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_fd)
            self._selector.close()
            os.close(wake_read)
            os.close(wake_write)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _turn(self, wake_read: int) -> None:
        """Wait for the next event and take it up."""
        due = self._crew.next_due()
        timeout_s = None if due is None else max(0.0, due - time.monotonic())
        for key, _ in self._selector.select(timeout_s):
            if key.fd == wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 1024)
            else:
                self._hear(key.data)
        while self._signals:
            self._obey(self._signals.pop(0))
        self._crew.tick(time.monotonic())

    def _obey(self, number: int) -> None:
        now = time.monotonic()
        if number == signal.SIGHUP:
            problem = self._certificate_problem()
            if problem:
                self.say(f"reload refused, the old workers go on: {problem}")
            else:
                self._crew.reload(now)
        elif number == signal.SIGUSR1:
            for process in self._processes.values():
                process.send(signal.SIGUSR1)
        else:
            self._crew.stop(now)

    def _certificate_problem(self) -> str | None:
        tls = self._plan.settings.tls
        try:
            if tls is not None:
                Certificates(tls.pairs)
        except CertificateError as error:
            return str(error)
        return None

    def _hear(self, worker: Worker) -> None:
        process = self._processes[worker]
        words, alive = process.read()
        for word in words:
            now = time.monotonic()
            if word == lines.READY:
                logger.info("worker %d (process %d) is ready", worker.number, process.pid)
                self._crew.ready(worker, now)
            elif word == lines.LEAVING:
                self._crew.leaves(worker, now)
            elif word == lines.WORN_OUT:
                self._crew.worn_out(worker, now)
        if not alive:
            self._selector.unregister(process.fd)
            del self._processes[worker]
            reason = process.buried()
            # Of all others the crew tells the reason.
            level = logging.INFO if worker.state is State.LEAVING else logging.DEBUG
            logger.log(level, "worker %d (process %d): %s", worker.number, process.pid, reason)
            if self._figures is not None:
                self._figures.fold(worker.number)
            self._crew.died(worker, reason, time.monotonic())

    # ---- Hands of the crew

    def spawn(self, worker: Worker) -> None:
        """Start its process."""
        listening = [each.fileno() for each in self._slots[worker.slot]]
        figures = -1 if self._figures is None else self._figures.share(worker.number)
        process = WorkerProcess(worker.number, self._plan, listening, figures)
        self._processes[worker] = process
        self._selector.register(process.fd, selectors.EVENT_READ, worker)

    def drain(self, worker: Worker) -> None:
        self._processes[worker].send(signal.SIGTERM)

    def halt(self, worker: Worker) -> None:
        self._processes[worker].send(signal.SIGQUIT)

    def kill(self, worker: Worker) -> None:
        self._processes[worker].send(signal.SIGKILL)

    def stop_listening(self) -> None:
        """Keep new connections out, and leave the queues to the workers until they end."""
        logger.info("stopping: requests in flight are finished")
        if not self._outlive:
            own = {each for slot in self._slots for each in slot}
            if not drop_new_connections(own):
                logger.info("who connects in the last moment may be reset: no filter on sockets")
            for each in own:
                each.close()

    def all_ready(self) -> None:
        self._announce()

    def renewed(self) -> None:
        logger.info("reloaded: new workers serve, the old ones finish what they have begun")

    def say(self, text: str) -> None:
        logger.warning("%s", text)
