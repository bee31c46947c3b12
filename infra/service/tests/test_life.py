"""Processes start or say why not, try again in reason, and end in order."""

import asyncio
import contextlib
import os
import signal
import socket
import time

import httpx
import pytest
from prometheus_client import CollectorRegistry

from infra.service import lifecycle
from infra.service.admin import AdminServer
from infra.service.health import Check
from infra.service.lifecycle import CannotStart, Stopped
from infra.service.retry import GaveUp, Pace, keep_trying

FAST = Pace(0.001, 0.01)


class Flaky:
    """Fails a number of times, then answers."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(f"call {self.calls}")
        return "here"


def test_keeps_trying_until_it_works() -> None:
    async def scenario() -> None:
        flaky, failures = Flaky(5), list[Exception]()
        result = await keep_trying(
            "x", flaky, on=(OSError,), stop=asyncio.Event(), pace=FAST, failed=failures.append
        )
        assert result == "here"
        assert flaky.calls == 6
        assert len(failures) == 5

    asyncio.run(scenario())


def test_awaits_what_a_lambda_returns() -> None:
    flaky = Flaky(1)
    attempt = keep_trying("x", lambda: flaky(), on=(OSError,), stop=asyncio.Event(), pace=FAST)
    assert asyncio.run(attempt) == "here"


def test_other_errors_are_not_tried_again() -> None:
    async def attempt() -> None:
        raise ValueError("wrong for good")

    with pytest.raises(ValueError, match="wrong for good"):
        asyncio.run(keep_trying("x", attempt, on=(OSError,), stop=asyncio.Event(), pace=FAST))


def test_gives_up_in_time_and_tells_the_last_error() -> None:
    async def scenario() -> None:
        await keep_trying(
            "reaching it", Flaky(10**6), on=(OSError,), stop=asyncio.Event(), pace=FAST,
            give_up_after_s=0.1,
        )  # fmt: skip

    began = time.monotonic()
    with pytest.raises(GaveUp, match=r"reaching it: no success within 0\.1 s .ConnectionError: "):
        asyncio.run(scenario())
    assert time.monotonic() - began < 2


def test_stop_ends_the_waiting_between_attempts() -> None:
    async def scenario() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stop.set)
        with pytest.raises(Stopped):
            await keep_trying("x", Flaky(10**6), on=(OSError,), stop=stop, pace=Pace(60, 60))

    began = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - began < 5


def test_unless_stopped_cancels_the_work() -> None:
    cancelled = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scenario() -> None:
        stop = asyncio.Event()
        assert await lifecycle.unless_stopped(asyncio.sleep(0, "done"), stop) == "done"
        asyncio.get_running_loop().call_later(0.05, stop.set)
        with pytest.raises(Stopped):
            await lifecycle.unless_stopped(work(), stop)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert cancelled == [True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_the_workers_finish(number: signal.Signals) -> None:
    finished = []

    async def worker(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(0.01)
        finished.append(True)

    async def main(stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), number)
        await lifecycle.work({"a": worker, "b": worker}, stop=stop, drain_s=5)

    assert lifecycle.run(main) == 0
    assert finished == [True, True]


def test_drain_is_bounded() -> None:
    async def deaf(_stop: asyncio.Event) -> None:
        await asyncio.sleep(60)

    async def main(stop: asyncio.Event) -> None:
        stop.set()
        await lifecycle.work({"deaf": deaf}, stop=stop, drain_s=0.05)

    began = time.monotonic()
    assert lifecycle.run(main) == 0
    assert time.monotonic() - began < 5


def test_a_worker_that_dies_takes_the_process_with_it() -> None:
    async def dying(_stop: asyncio.Event) -> None:
        raise ValueError("broken")

    async def patient(stop: asyncio.Event) -> None:
        await stop.wait()

    async def main(stop: asyncio.Event) -> None:
        await lifecycle.work({"dying": dying, "patient": patient}, stop=stop, drain_s=5)

    with pytest.raises(ValueError, match="broken"):
        lifecycle.run(main)


def test_a_worker_that_just_returns_is_no_success() -> None:
    async def brief(_stop: asyncio.Event) -> None:
        return

    async def main(stop: asyncio.Event) -> None:
        await lifecycle.work({"brief": brief}, stop=stop, drain_s=1)

    with pytest.raises(RuntimeError, match="without being told to"):
        lifecycle.run(main)


@pytest.mark.parametrize("error", [CannotStart("no\nbroker"), Stopped()])
def test_what_keeps_it_from_starting_is_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main(_stop: asyncio.Event) -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        lifecycle.run(main)
    assert exit_.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("cannot start: ")
    assert err.count("\n") == 1


def test_admin_server_answers_and_ends() -> None:
    async def fine() -> None:
        return None

    async def scenario() -> None:
        stop = asyncio.Event()
        checks = [Check("disk", fine)]
        admin = AdminServer("127.0.0.1", 0, checks=checks, registry=CollectorRegistry())
        serving = asyncio.create_task(admin.run(stop))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin.port}") as http:
            for path in ("/health/live", "/health/ready", "/metrics"):
                assert (await http.get(path)).status_code == 200
            assert (await http.get("/else")).headers["content-type"] == "application/problem+json"
        stop.set()
        async with asyncio.timeout(5):
            await serving
        with contextlib.closing(socket.socket()) as probe:
            assert probe.connect_ex(("127.0.0.1", admin.port)) != 0

    asyncio.run(scenario())


def test_admin_port_that_is_taken_is_told_at_once() -> None:
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotStart, match=f"cannot listen on 127.0.0.1:{port}"):
            AdminServer("127.0.0.1", port, checks=[], registry=CollectorRegistry())
