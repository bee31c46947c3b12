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
from infra.lab.faults.clock import Reader, http_date, skew
from infra.lab.faults.probes import FaultError
from infra.lab.faults.tests import peers
from infra.lab.pytest_plugin import LabFactory
from infra.lab.servers.python import PythonProcess
from infra.lab.site import HOST
from infra.lab.tests.sample import week
from infra.service.clock import VARIABLE, OffsetClock

CLOCK_SERVICE = ("-m", "infra.lab.faults.tests.clock_service")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A clock file without skew."""
    clock.make_file(tmp_path / "clock")
    return tmp_path / "clock"


@pytest.fixture
def service(file: Path) -> Iterator[Reader]:
    """A service that dates its answers by the clock of `file`."""
    [port] = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, *CLOCK_SERVICE, str(port)],
        env=os.environ | {VARIABLE: str(file)},
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
def test_a_topology_declares_what_can_be_skewed(running_lab: LabFactory) -> None:
    dated = PythonProcess(
        name="dated",
        port=0,
        arguments=lambda site: (*CLOCK_SERVICE, str(site.ports["dated"])),
        environment=lambda site: {},
        ready_path="/",
        skewable=True,
    )
    site = running_lab(week(dated)).site

    async def run() -> None:
        reader = http_date(HOST, site.ports["dated"], "/")
        async with skew(dated.clock_file(site), 3600.0, reader):
            assert abs(await reader.read() - time.time() - 3600) < 20

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
    clock.make_file(tmp_path / "another")

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
