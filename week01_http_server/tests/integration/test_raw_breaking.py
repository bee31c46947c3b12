"""The bench's processes and the search for the breaking point, in small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import LabError
from week01_http_server.bench import idle
from week01_http_server.bench.contestants import FLOOR, NGINX, PLAIN, Contestant, Serves, Start
from week01_http_server.bench.processes import running

pytestmark = pytest.mark.integration


def breaking(*words: str) -> str:
    command = [sys.executable, "-m", "week01_http_server.bench.breaking", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_thread_for_each_connection_breaks_where_descriptors_end() -> None:
    told = breaking("raw", "--descriptors", "24", "--most", "30", "--patience", "1.5")
    assert "raw breaks at 2" in told
    assert "descriptors: it had 24 of 24 open" in told


def test_within_its_means_it_bears_all() -> None:
    assert "raw bears 20 connections" in breaking("raw", "--most", "20")


@pytest.mark.parametrize("contestant", [NGINX, PLAIN, FLOOR], ids=lambda one: one.name)
def test_a_contestant_runs_is_measured_and_ends(tmp_path: Path, contestant: Contestant) -> None:
    start = Start(free_ports(1)[0], Serves.HELLO, tmp_path, tmp_path / "run")
    with running(contestant, start) as server:
        server.wait_until_ready("/hello")
        found = idle.measure(server, 200)
        assert found.connections == 200 and found.before_bytes > 0
        assert server.cpu_s() > 0
        tree = server.tree()
    assert not any(one.is_running() for one in tree)


def test_a_contestant_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = Contestant(
        "broken", "", None, NGINX.serves, lambda _: (sys.executable, "-c", "raise OSError(7)")
    )
    start = Start(free_ports(1)[0], Serves.HELLO, tmp_path, tmp_path / "run")
    with running(broken, start) as server, pytest.raises(LabError, match=r"broken has ended.*7"):
        server.wait_until_ready("/")
