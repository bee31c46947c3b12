"""Faults prove themselves, notice when they are not there, and always go: on both proxies."""

from __future__ import annotations

import signal
import socketserver
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import anyio
import pytest

from infra.lab.errors import UsageError
from infra.lab.faults import questions
from infra.lab.faults.client import Faults
from infra.lab.faults.probes import FaultError, Link, round_trip_s
from infra.lab.faults.tests import peers
from infra.lab.faults.tests.peers import HOST, Api

pytestmark = pytest.mark.integration

Body = Callable[[Faults, Link], Awaitable[None]]


def with_link(api: Api, upstream: int, name: str, body: Body, ttl_s: float | None = None) -> None:
    """Run `body` with a fresh link to an echo server."""

    async def run() -> None:
        faults = Faults(HOST, api.port, ttl_s)
        link = await faults.add_link(name, f"{HOST}:{upstream}", questions.echo())
        try:
            await body(faults, link)
        finally:
            await faults.remove_link(link)

    anyio.run(run)


def toxics(api: Api, name: str) -> object:
    return api("GET", f"/proxies/{name}")[1]["toxics"]


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_latency_is_proven_and_goes(api: Api, echo: int, name: str, stream: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        async with faults.latency(link, 200, 20, stream) as proof:  # type: ignore[arg-type]
            assert "200 ms latency" in str(proof)
            assert await round_trip_s(link) >= 0.18
        assert toxics(api, link.name) == []

    with_link(api, echo, name, body)


def test_bandwidth_is_proven_and_goes(api: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        async with faults.bandwidth(link, 100) as proof:
            assert "KB/s" in proof.during
        assert toxics(api, link.name) == []

    with_link(api, echo, name, body)


def test_blackhole_is_proven_and_goes(api: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        async with faults.blackhole(link) as proof, link.connect() as stream:
            assert "no byte" in proof.during
            await stream.send(b"anybody?")
            with anyio.move_on_after(0.3) as waited:
                await stream.receive()
            assert waited.cancelled_caught
        assert await round_trip_s(link) < 10

    with_link(api, echo, name, body)


def test_reset_is_proven_and_goes(api: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        async with faults.reset(link) as proof:
            assert "RST on a new connection" in proof.during
        assert await round_trip_s(link) < 10

    with_link(api, echo, name, body)


def test_a_fault_goes_when_the_test_under_it_fails(ours: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        with pytest.raises(ZeroDivisionError):
            async with faults.latency(link, 100):
                raise ZeroDivisionError
        assert toxics(ours, link.name) == []

    with_link(ours, echo, name, body)


def test_a_fault_goes_when_the_test_under_it_is_cancelled(ours: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        with anyio.move_on_after(1):
            async with faults.latency(link, 100):
                await anyio.sleep_forever()
        assert toxics(ours, link.name) == []

    with_link(ours, echo, name, body)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_fault_goes_when_its_test_is_killed(
    ours: Api, echo: int, name: str, number: signal.Signals
) -> None:
    path, port = ours.link(name, echo)
    holder = subprocess.Popen(
        [sys.executable, "-m", "infra.lab.faults.tests.holder", str(ours.port), name, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert "latency" in holder.stdout.readline()
        assert len(ours("GET", f"{path}/toxics")[1]) == 1
        holder.send_signal(number)
        deadline = time.monotonic() + 10
        while ours("GET", f"{path}/toxics")[1]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        holder.kill()
        holder.communicate()


def test_a_heartbeat_keeps_a_fault_beyond_its_ttl(ours: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        async with faults.latency(link, 100):
            time.sleep(2.5)  # noqa: ASYNC251  (a busy loop must not lose its faults)
            assert await round_trip_s(link) >= 0.1

    with_link(ours, echo, name, body, ttl_s=1.0)


def test_a_fault_that_was_gone_early_is_told(ours: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        with pytest.raises(FaultError, match="gone before its end"):
            async with faults.latency(link, 100):
                await faults.clear()

    with_link(ours, echo, name, body)


def test_a_fault_that_does_not_land_is_told(ours: Api, echo: int, name: str) -> None:
    """The API says yes, but chance passes all connections by: only the probe can tell."""

    class Unlucky(Faults):
        async def _apply(self, link: Link, toxic: dict[str, object]) -> str:
            return await super()._apply(link, {**toxic, "toxicity": 0.0})

    async def body(_faults: Faults, link: Link) -> None:
        faults = Unlucky(HOST, ours.port)
        for fault in (
            faults.latency(link, 200),
            faults.bandwidth(link, 10),
            faults.blackhole(link),
            faults.reset(link),
        ):
            with pytest.raises(FaultError, match="did not land"):
                async with fault:
                    pytest.fail("it did not land")
            assert toxics(ours, link.name) == []

    with_link(ours, echo, name, body)


class _Slow(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Answer after 0.3 s."""
        while data := self.request.recv(65536):
            time.sleep(0.3)
            self.request.sendall(data)


def test_a_link_that_is_slow_by_itself_proves_nothing(ours: Api, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        with pytest.raises(FaultError, match="without"):
            async with faults.latency(link, 200):
                pytest.fail("it cannot be proven")

    with peers.server(_Slow) as upstream:
        with_link(ours, upstream, name, body)


def test_a_dead_link_is_told(ours: Api, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        with pytest.raises(FaultError, match=r"hung up|no connection"):
            async with faults.blackhole(link):
                pytest.fail("a dead server is silent as well")

    with peers.server() as upstream:
        pass
    with_link(ours, upstream, name, body)


def test_a_missing_proxy_is_told() -> None:
    async def run() -> None:
        await Faults(HOST, 1).clear()

    with pytest.raises(FaultError, match=r"127\.0\.0\.1:1 does not answer .*: start it"):
        anyio.run(run)


def test_what_cannot_be_proven_is_refused(ours: Api, echo: int, name: str) -> None:
    async def body(faults: Faults, link: Link) -> None:
        with pytest.raises(UsageError):
            faults.latency(link, 0)
        with pytest.raises(UsageError):
            faults.latency(link, 10, 10)
        with pytest.raises(UsageError):
            faults.bandwidth(link, 0)
        with pytest.raises(FaultError, match="lower rate"):
            async with faults.bandwidth(link, 1_000_000):
                pytest.fail("too much to ask for")

    with_link(ours, echo, name, body)
