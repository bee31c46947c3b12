"""A service's wall clock follows the file, live; its proof; the way back in any case."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import LabError, UsageError
from infra.lab.faults import clock
from infra.lab.faults.clock import OffsetClock, Reader, http_date, set_offset, skew
from infra.lab.faults.probes import FaultError
from infra.lab.faults.tests import peers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A clock file without skew."""
    clock.environment(tmp_path / "clock")
    return tmp_path / "clock"


@pytest.fixture
def service(file: Path) -> Iterator[Reader]:
    """A service that dates its answers by the clock of `file`."""
    [port] = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.lab.faults.tests.clock_service", str(port)],
        env=os.environ | clock.environment(file),
    )
    try:
        peers.wait_until(lambda: _answers(port))
        yield http_date(peers.HOST, port, "/")
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        peers.connect(port).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_clock_follows_its_file_at_once(file: Path) -> None:
    moved = OffsetClock(file)
    for seconds in (0.0, 86_400.5, -3.25, 0.0):
        set_offset(file, seconds)
        before = time.time()
        read = moved.time()
        assert before + seconds - 0.001 <= read <= time.time() + seconds + 0.001


def test_without_a_file_it_is_the_machines_clock() -> None:
    before = time.time_ns()
    assert before <= OffsetClock.of({}).time_ns() <= time.time_ns()


def test_the_monotonic_clock_is_not_moved(file: Path) -> None:
    before = time.monotonic()
    set_offset(file, 1e6)
    assert time.monotonic() - before < 1e5


def test_a_file_that_is_no_clock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError):
        OffsetClock(tmp_path / "empty")


@pytest.mark.integration
@pytest.mark.parametrize("seconds", [3600.0, -30.0])
def test_a_skew_is_proven_and_goes(file: Path, service: Reader, seconds: float) -> None:
    async def run() -> None:
        async with skew(file, seconds, service) as proof:
            assert "off" in proof
            assert abs(await service.read() - time.time() - seconds) < 20
        assert abs(await service.read() - time.time()) < 20

    anyio.run(run)


@pytest.mark.integration
def test_a_skew_goes_when_its_test_is_killed(file: Path) -> None:
    moved = OffsetClock(file)
    with peers.killed_holder("clock", str(file)):
        assert moved.time() - time.time() > 3000
    peers.wait_until(lambda: abs(moved.time() - time.time()) < 1000)


@pytest.mark.integration
def test_a_service_that_does_not_follow_is_told(
    file: Path, service: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "RESTORE_TIMEOUT_S", 0.2)
    clock.environment(tmp_path / "another")

    async def run() -> None:
        async with skew(tmp_path / "another", 60, service):
            pytest.fail("it did not land")

    with pytest.raises(FaultError, match="did not follow"):
        anyio.run(run)


@pytest.mark.integration
def test_a_dead_service_and_a_tiny_skew_are_told(file: Path) -> None:
    async def run(seconds: float) -> None:
        async with skew(file, seconds, http_date(peers.HOST, 1, "/")):
            pytest.fail("nobody told the time")

    with pytest.raises(LabError, match="does not tell its time"):
        anyio.run(run, 60.0)
    with pytest.raises(UsageError):
        anyio.run(run, 1.0)
