"""What every verb must do on every engine: the checks that an engine has to pass.

Written against the Engine protocol and the fault proxy's API alone. An engine's own test makes a
`Subject` (a running topology with one service that answers a question) and runs each of `CHECKS`;
each leaves the service running and the links whole.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial

import anyio
from anyio.abc import SocketStream

from infra.lab.engines.base import Engine, ServiceStatus, State
from infra.lab.errors import LabError
from infra.lab.faults.client import Faults
from infra.lab.faults.kinds import BOTH
from infra.lab.faults.probes import FaultError, Link, Proof, answer_s, round_trip_s
from infra.lab.faults.questions import Question

DEAD_FOR_S = 3.0
"""Longer than any engine's restart policy takes."""
SILENT_FOR_S = 0.5
CHANGE_TIMEOUT_S = 60.0
POLL_S = 0.05
LATENCY_MS = 200
RATE_KB_S = 50


@dataclass(frozen=True)
class Subject:
    """What the checks are run on.

    Attributes:
        engine: up.
        service: restarted by the engine when it crashes.
        host, port: where this process reaches it, without a proxy.
        upstream: `host:port` where the fault proxy reaches it.
        question: what it answers; enough bytes for `RATE_KB_S`.
        faults: the engine's fault proxy.
        listen: where a link may be opened that this process reaches at the same port of `host`.
    """

    engine: Engine
    service: str
    host: str
    port: int
    upstream: str
    question: Question
    faults: Faults
    listen: str = "127.0.0.1:0"

    @property
    def direct(self) -> Link:
        return Link(self.service, self.host, self.port, self.upstream, self.question)

    @property
    def row(self) -> ServiceStatus:
        return next(row for row in self.engine.status() if row.name == self.service)


class ConformanceError(AssertionError):
    """A verb does not do what its name promises."""


async def kill_stays_dead_until_start(subject: Subject) -> None:
    """The process is gone, connections with it; nothing brings it back but `start`."""
    async with subject.direct.connect() as stream:
        await answer_s(subject.direct, stream)
        await subject.engine.kill(subject.service)
        await _must_end(subject, stream)
    try:
        await _stays_dead(subject)
    finally:
        await subject.engine.start([subject.service])
    await _must_answer(subject)


async def crash_comes_back(subject: Subject) -> None:
    """The process is gone, connections with it; the restart policy brings another."""
    before = subject.row
    async with subject.direct.connect() as stream:
        await answer_s(subject.direct, stream)
        await subject.engine.crash(subject.service)
        await _must_end(subject, stream)
    await _must_answer(subject)
    await _until(lambda: subject.row.state is State.RUNNING, "runs again")
    after = subject.row
    _require(after.restarts == before.restarts + 1, f"{after.restarts} restarts are told")
    _require(before.pid is None or after.pid != before.pid, "it has the same pid as before")


async def pause_keeps_connections(subject: Subject) -> None:
    """Nothing is answered while paused, and everything is after `resume`, on the same one."""
    async with subject.direct.connect() as stream:
        await answer_s(subject.direct, stream)
        await subject.engine.pause(subject.service)
        try:
            await stream.send(subject.question.request(1))
            _require(not await _heard(stream, SILENT_FOR_S), "it answers while paused")
            _require(subject.row.state is State.PAUSED, f"it is called {subject.row.state}")
        finally:
            await subject.engine.resume(subject.service)
        _require(await _heard(stream, CHANGE_TIMEOUT_S), "it does not answer after resume")
    await _until(lambda: subject.row.state is State.RUNNING, "runs again")


async def stop_and_start(subject: Subject) -> None:
    """An orderly end that lasts; afterwards it answers again."""
    await subject.engine.stop([subject.service])
    try:
        _require(subject.row.state is State.STOPPED, f"it is called {subject.row.state}")
        await _stays_dead(subject)
    finally:
        await subject.engine.start([subject.service])
    await _must_answer(subject)
    await _until(lambda: subject.row.state is State.RUNNING, "runs again")


async def an_unknown_service_is_refused(subject: Subject) -> None:
    """One line for the user, and nothing happens."""
    engine = subject.engine
    for verb in (engine.kill, engine.crash, engine.pause, engine.resume):
        try:
            await verb("no-such-service")
        except LabError:
            continue
        raise ConformanceError("it took the name of no service")
    await _must_answer(subject)


async def latency_on_a_link(subject: Subject) -> None:
    """Late over the link, both ways; the same service directly is not."""
    for stream in BOTH:
        late = partial(subject.faults.latency, ms=LATENCY_MS, stream=stream)
        await _link_fault(subject, late)


async def bandwidth_on_a_link(subject: Subject) -> None:
    """Slow over the link; the same service directly is not."""
    await _link_fault(subject, lambda link: subject.faults.bandwidth(link, RATE_KB_S))


async def blackhole_on_a_link(subject: Subject) -> None:
    """Silent over the link; the same service directly is not."""
    await _link_fault(subject, subject.faults.blackhole)


async def reset_on_a_link(subject: Subject) -> None:
    """RST over the link; the same service directly is as ever."""
    await _link_fault(subject, subject.faults.reset)


Check = Callable[[Subject], Awaitable[None]]

CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        kill_stays_dead_until_start,
        crash_comes_back,
        pause_keeps_connections,
        stop_and_start,
        an_unknown_service_is_refused,
        latency_on_a_link,
        bandwidth_on_a_link,
        blackhole_on_a_link,
        reset_on_a_link,
    )
}


async def _link_fault(
    subject: Subject, fault: Callable[[Link], AbstractAsyncContextManager[Proof]]
) -> None:
    """Proven to land and to go by the client itself; here: that it is on the link alone."""
    faults = subject.faults
    link = await faults.add_link(
        "conformance", subject.upstream, subject.question, listen=subject.listen
    )
    link = replace(link, host=subject.host, relayed=not subject.engine.site.shares_processes)
    try:
        async with fault(link) as proof:
            _require(bool(proof.during), "no proof")
            await _must_answer(subject)
        await round_trip_s(link)
    finally:
        await faults.remove_link(link)


async def _must_answer(subject: Subject) -> None:
    """A new connection, without a proxy, gets an answer in time."""
    deadline = time.monotonic() + CHANGE_TIMEOUT_S
    while True:
        try:
            await round_trip_s(subject.direct)
            return
        except FaultError as error:
            if time.monotonic() > deadline:
                raise ConformanceError(f"{subject.service} does not answer: {error}") from error
        await anyio.sleep(POLL_S)


async def _heard(stream: SocketStream, within_s: float) -> bool:
    """Whether a byte comes. Raises ConformanceError when the connection ends instead."""
    try:
        with anyio.move_on_after(within_s):
            return bool(await stream.receive())
    except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
        raise ConformanceError("a connection was lost") from error
    return False


async def _must_end(subject: Subject, stream: SocketStream) -> None:
    with anyio.move_on_after(CHANGE_TIMEOUT_S):
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return
    raise ConformanceError(f"a connection to {subject.service} outlived it")


async def _stays_dead(subject: Subject) -> None:
    deadline = time.monotonic() + DEAD_FOR_S
    while time.monotonic() < deadline:
        try:
            await round_trip_s(subject.direct)
        except FaultError:
            await anyio.sleep(POLL_S)
            continue
        raise ConformanceError(f"{subject.service} answers, and should be dead")
    _require(subject.row.state is State.STOPPED, f"it is called {subject.row.state}")


async def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + CHANGE_TIMEOUT_S
    while not holds():
        _require(time.monotonic() < deadline, f"never so: it {what}")
        await anyio.sleep(POLL_S)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ConformanceError(otherwise)
