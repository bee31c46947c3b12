"""The client's small parts around its core: timer, descriptors, errors, bookkeeping."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import resource
import statistics
import time

import pytest

from benchmarks.client import Answer, Ended, Outcome, Request, alarm, process
from benchmarks.client.bookkeeping import recorded, state_of
from benchmarks.client.connection import Connection
from benchmarks.client.outcomes import of_close, of_error
from benchmarks.ledger import Ledger, State
from infra.lab.errors import UsageError


def lateness_s(times: int) -> list[float]:
    """How late an alarm in half milliseconds rings, each time."""
    late: list[float] = []

    async def measure() -> None:
        loop = asyncio.get_running_loop()
        rang = asyncio.Event()
        clock = alarm.Alarm(loop, rang.set)
        for _ in range(times):
            due_s = time.monotonic() + 0.0025
            clock.set(due_s)
            await rang.wait()
            rang.clear()
            late.append(time.monotonic() - due_s)
        clock.close()

    process.run_in_loop(measure)
    return late


def test_an_alarm_rings_at_its_time_and_not_before() -> None:
    late = lateness_s(50)
    assert min(late) >= 0
    assert statistics.median(late) < 0.005


def test_without_a_timerfd_the_loops_timer_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm, "_timerfd", lambda: (ctypes.CDLL(None), None))
    late = lateness_s(20)
    # libuv's clock counts milliseconds: its timer may ring one early, and the schedule waits on.
    assert min(late) > -0.002
    assert statistics.median(late) < 0.02


def test_an_alarm_set_anew_or_closed_does_not_ring_at_its_old_time() -> None:
    rings: list[float] = []

    async def measure() -> None:
        loop = asyncio.get_running_loop()
        clock = alarm.Alarm(loop, lambda: rings.append(time.monotonic()))
        began_s = time.monotonic()
        clock.set(began_s + 0.01)
        clock.set(began_s + 0.05)
        await asyncio.sleep(0.1)
        assert len(rings) == 1
        assert rings[0] >= began_s + 0.05
        clock.set(time.monotonic() + 0.01)
        clock.close()
        await asyncio.sleep(0.05)
        assert len(rings) == 1

    process.run_in_loop(measure)


def test_more_connections_than_the_system_allows_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 500))
    monkeypatch.setattr(resource, "setrlimit", lambda *words: asked.append(words))
    process.allow_descriptors(100)
    assert asked == []
    process.allow_descriptors(400)
    assert asked == [(resource.RLIMIT_NOFILE, (400, 500))]
    with pytest.raises(UsageError, match="may open 500 files, and 501 are needed"):
        process.allow_descriptors(501)


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.ECONNREFUSED, Outcome.REFUSED),
        (errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        (errno.ECONNRESET, Outcome.RESET),
        (errno.ETIMEDOUT, Outcome.TIMEOUT),
        (errno.EMFILE, Outcome.CLIENT_LIMIT),
        (errno.EADDRNOTAVAIL, Outcome.CLIENT_LIMIT),
        (errno.EISDIR, None),
    ],
)
def test_errors_of_the_system_are_outcomes(number: int, outcome: Outcome | None) -> None:
    assert of_error(OSError(number, "x")) is outcome


def test_how_a_connection_ends_in_mid_answer_is_told_apart() -> None:
    assert of_close(None, got_bytes=True) is Outcome.SHORT_BODY
    assert of_close(None, got_bytes=False) is Outcome.RESET
    assert of_close(ConnectionResetError(errno.ECONNRESET, "x"), got_bytes=True) is Outcome.RESET
    assert of_close(TimeoutError(errno.ETIMEDOUT, "x"), got_bytes=True) is Outcome.TIMEOUT


class Told:
    """An owner that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def answered(self, connection: Connection, answer: Answer) -> None:
        self.events.append(f"answered {answer.status}")

    def failed(self, connection: Connection, outcome: Outcome) -> None:
        self.events.append(f"failed {outcome}")

    def dropped(self, connection: Connection, stray: bool) -> None:
        self.events.append("stray" if stray else "dropped")


class NoTransport(asyncio.Transport):
    """Sends nothing, and is never closed by itself."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def connection(told: Told) -> Connection:
    made = Connection(told, body_max_bytes=1000)
    made.connection_made(NoTransport())
    return made


def test_a_connection_closed_while_idle_is_dropped_at_once(
    connection: Connection, told: Told
) -> None:
    """Not when the transport is gone: a request sent in between would be lost."""
    assert connection.is_open
    connection.eof_received()
    assert not connection.is_open
    connection.connection_lost(None)
    assert told.events == ["dropped"]


def test_one_end_is_reported_once_whatever_follows(connection: Connection, told: Told) -> None:
    connection.send(b"", keep=True, head_only=False, keep_body=False)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.data_received(b"more")
    connection.eof_received()
    connection.connection_lost(None)
    assert told.events == ["answered 200"]


def test_a_request_given_up_is_reported_to_nobody(connection: Connection, told: Told) -> None:
    connection.send(b"", keep=True, head_only=False, keep_body=False)
    connection.abort()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    connection.connection_lost(ConnectionResetError(errno.ECONNRESET, "x"))
    assert told.events == []


def ended(
    outcome: Outcome, sent: bool = True, status: int | None = None, attempts: int = 1
) -> Ended:
    answer = None if status is None else Answer(status, (), b"", 0)
    return Ended(0, Request(key="k"), outcome, sent, answer, attempts, 0.0, 1.0)


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (ended(Outcome.OK, status=200), State.ACKNOWLEDGED),
        (ended(Outcome.REFUSED, sent=False), State.REFUSED),
        (ended(Outcome.TIMEOUT, sent=False), State.REFUSED),
        (ended(Outcome.TIMEOUT), State.INDETERMINATE),
        (ended(Outcome.RESET), State.INDETERMINATE),
        (ended(Outcome.REFUSED, sent=True, attempts=2), State.INDETERMINATE),
        (ended(Outcome.WRONG_STATUS, status=500), State.INDETERMINATE),
        (ended(Outcome.WRONG_STATUS, status=422), State.REFUSED),
        (ended(Outcome.WRONG_STATUS, status=422, attempts=2), State.INDETERMINATE),
        (ended(Outcome.WRONG_BODY, status=200), State.INDETERMINATE),
    ],
)
def test_what_a_request_came_to_says_what_is_known_of_its_operation(
    what: Ended, state: State
) -> None:
    assert state_of(what, refused_status={422}) is state


def test_a_request_without_a_key_cannot_be_booked() -> None:
    begin, _ = recorded(Ledger(), lambda number: Request())
    with pytest.raises(ValueError, match="no key"):
        begin(0)
