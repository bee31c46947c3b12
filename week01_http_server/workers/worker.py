"""One worker: a program that serves from sockets it inherits until it is told to end.

SIGTERM: drain and end. SIGQUIT: end at once. SIGUSR1: read the certificates anew. SIGINT and
SIGHUP are for the master, which tells us. When the master is gone, so are we.

Started by `processes.WorkerProcess` with two descriptors as arguments; see `lines`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable

import uvloop

from week01_http_server.access_log import AccessLog, LineWriter
from week01_http_server.asgi.lifespan import LifespanFailed
from week01_http_server.journal import Journal, Reader
from week01_http_server.logs import configure
from week01_http_server.server import Server
from week01_http_server.settings import Settings
from week01_http_server.transport.forwarded import Trust
from week01_http_server.transport.proxy_protocol import ProxyPreface
from week01_http_server.transport.tls import CertificateError, Certificates
from week01_http_server.workers import lines
from week01_http_server.workers.plan import CannotServe, Plan, application_of
from week01_http_server.workers.quiet import QUEUE_S

logger = logging.getLogger("week01_http_server.worker")

PUBLISH_S = 0.5
"""How old the figures may be that the master adds up."""


class _Worker:
    """The parts of one worker, and the order in which they start and end."""

    def __init__(self, assignment: lines.Assignment, status_fd: int) -> None:
        self._assignment = assignment
        self._plan: Plan = assignment.plan
        self._status_fd = status_fd
        self._drain = asyncio.Event()
        self._halt = asyncio.Event()
        self._certificates: Certificates | None = None
        self._log: LineWriter | None = None
        self._server: Server | None = None
        self._closers: list[Callable[[], None]] = []
        self._timers: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """Serve; returns the exit status."""
        self._handle_signals()
        problem = await self._start()
        if problem is not None:
            lines.tell(self._status_fd, lines.FAILED, problem)
            return 1
        assert self._server is not None
        lines.tell(self._status_fd, lines.READY)
        await _first_of(self._drain.wait(), self._halt.wait())
        lines.tell(self._status_fd, lines.LEAVING)
        try:
            if not self._halt.is_set():
                await _first_of(self._finish(self._server), self._halt.wait())
            return await self._close(self._server)
        finally:
            for timer in self._timers:
                timer.cancel()
            for close in self._closers:
                close()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain.set)
        loop.add_signal_handler(signal.SIGQUIT, self._halt.set)
        loop.add_signal_handler(signal.SIGUSR1, self._reload_certificates)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, lines.HELD_BACK)

    async def _start(self) -> str | None:
        """Load, start up and listen; returns in one line what went wrong."""
        settings = self._plan.settings
        try:
            if settings.tls is not None:
                self._certificates = Certificates(settings.tls.pairs)
            app = application_of(self._plan)
        except (CannotServe, CertificateError) as error:
            return str(error)
        except (Exception, SystemExit) as error:
            # The app's own code failed while it was imported: its author needs the traceback.
            logger.error("the app cannot be loaded", exc_info=error)
            return f"the app raised {_named(error)} while it was loaded"
        journal = self._journal(settings)
        self._server = Server(settings, app, observer=journal, preface=_preface(settings))
        try:
            context = self._certificates.context if self._certificates else None
            await self._server.start(
                [socket.socket(fileno=fd) for fd in self._assignment.listening], context
            )
        except LifespanFailed as error:
            return f"the app did not start: {error}"
        except TimeoutError:
            return f"the app did not start within {settings.deadlines.lifespan_s:g} s"
        except Exception as error:
            logger.error("the app's start-up failed", exc_info=error)
            return f"the app's start-up raised {_named(error)}"
        return None

    def _journal(self, settings: Settings) -> Journal | None:
        """What is told of each answer, to whom; None when nobody asks."""
        readers: list[Reader] = []
        if settings.access_log:
            self._log = LineWriter(1)
            trust = Trust(settings.trusted_peers, settings.forwarded_fields)
            readers.append(AccessLog(self._log.write, trust))
        if self._assignment.figures >= 0:
            from week01_http_server.metrics import Meter

            meter = Meter(self._assignment.figures, self._moment)
            readers.append(meter)
            self._closers.append(meter.publish)
            self._timers.append(asyncio.create_task(_every(PUBLISH_S, meter.publish)))
        retire_after = settings.requests_per_worker_max
        if not readers and not retire_after:
            return None
        journal = Journal(readers, retire_after=retire_after, retire=self._worn_out)
        self._closers.insert(0, journal.flush)
        if self._log is not None:
            self._closers.append(self._log.close)
        self._timers.append(asyncio.create_task(journal.run()))
        return journal

    def _moment(self) -> tuple[int, int, int]:
        """Connections open, accepted so far, and log lines lost so far."""
        lost = self._log.lost_lines if self._log is not None else 0
        try:
            state = self._server.state if self._server is not None else None
        except RuntimeError:  # before the start, or after the close
            state = None
        if state is not None:
            self._accepted = state.accepted
        return (len(state.guests) if state is not None else 0), self._accepted, lost

    _accepted = 0

    def _worn_out(self) -> None:
        lines.tell(self._status_fd, lines.WORN_OUT)

    def _reload_certificates(self) -> None:
        if self._certificates is None:
            return
        complaints = self._certificates.reload()
        for complaint in complaints:
            logger.warning("%s", complaint)
        if not complaints:
            logger.info("the certificates were read anew")

    async def _finish(self, server: Server) -> None:
        """Take in what the queues hold, then finish it and all that is in flight."""
        await asyncio.sleep(QUEUE_S)
        await server.drain()

    async def _close(self, server: Server) -> int:
        try:
            await server.close()
        except LifespanFailed as error:
            logger.error("the app did not shut down in order: %s", error)
            return 1
        except TimeoutError:
            limit_s = self._plan.settings.deadlines.lifespan_s
            logger.error("the app did not shut down within %g s", limit_s)
            return 1
        except Exception as error:
            logger.error("the app's shut-down failed", exc_info=error)
            return 1
        return 0


def _named(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _preface(settings: Settings) -> Callable[[object], ProxyPreface | None] | None:
    """Whose connections must begin with a PROXY header: those of trusted peers, and no others
    are let in."""
    if not settings.proxy_protocol:
        return None
    trust = Trust(settings.trusted_peers, settings.forwarded_fields)

    def parser(peer: object) -> ProxyPreface | None:
        # A unix socket's client has "" or a path, TCP's (host, port) or (host, port, flow, scope).
        believed = trust.believes((peer[0], peer[1]) if isinstance(peer, tuple) else None)
        return ProxyPreface() if believed else None

    return parser


async def _every(seconds: float, do: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        do()


async def _first_of(*ways: Awaitable[object]) -> None:
    """Wait for the first; cancel the others, and raise what the first raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()


def _end_with_master(control_fd: int) -> None:
    """Wait for the master's end of the pipe to close, on a thread, so that it is noticed even
    while the app holds up the loop."""
    with contextlib.suppress(OSError):
        while os.read(control_fd, 1024):
            pass
    os._exit(1)


def main() -> int:
    """Read the assignment and serve it."""
    control_fd, status_fd = int(sys.argv[1]), int(sys.argv[2])
    try:
        assignment = lines.take(control_fd)
    except EOFError:
        return 1
    for fd in (control_fd, status_fd, *assignment.listening, assignment.figures):
        if fd >= 0:
            os.set_inheritable(fd, False)  # nothing that the app starts shall hold them open
    threading.Thread(
        target=_end_with_master, args=(control_fd,), name="end-with-master", daemon=True
    ).start()
    configure(assignment.plan.log_level, f"worker {assignment.number}")

    async def work() -> int:
        return await _Worker(assignment, status_fd).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


if __name__ == "__main__":
    sys.exit(main())
