"""`python -m benchmarks.client`: figures for those who ask right, one line for the others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.client import Result
from benchmarks.tests.misbehaving import refusing_port, serving

COMMAND = [sys.executable, "-m", "benchmarks.client"]
pytestmark = pytest.mark.integration


def called(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60)


def test_a_run_prints_its_figures_and_its_progress_and_writes_everything(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    with serving() as server:
        url = f"http://127.0.0.1:{server.port}/ok"
        done = called(url, "--rate", "50", "--seconds", "2", "--json", str(file))
    assert done.returncode == 0
    assert "requests      100: 100 ok" in done.stdout
    assert "right, 0 failed" in done.stderr, "progress"
    assert Result.from_json(json.loads(file.read_text())).ok == 100


def test_a_run_with_failures_ends_with_a_status_of_its_own() -> None:
    with refusing_port() as port:
        done = called(f"http://127.0.0.1:{port}/", "--rate", "20", "--seconds", "0.5")
    assert done.returncode == 3
    assert "requests      10: 10 refused" in done.stdout
    assert "still failing at the end" in done.stdout


def test_an_interrupted_run_tells_what_it_has() -> None:
    with serving() as server:
        url = f"http://127.0.0.1:{server.port}/ok"
        with subprocess.Popen(
            [*COMMAND, url, "--rate", "50", "--seconds", "60"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            assert "1 s" in process.stderr.readline(), "it is under way"
            interrupted = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=20)
    assert time.monotonic() - interrupted < 10
    assert process.returncode == 0
    assert "50/s intended, " in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["http://192.0.2.1/"], "--allow-host 192.0.2.1"),
        (["http://127.0.0.1:1/", "--rate", "0"], "rate is 0"),
        (["http://127.0.0.1:1/", "--header", "nothing"], "no header"),
        (["http://127.0.0.1:1/", "--method", "G T"], "no method"),
        (["http://127.0.0.1:1/", "--json", "/nonexistent/x"], "no folder /nonexistent"),
        (["http://127.0.0.1:1/", "--bogus"], "--bogus"),
        (["http://127.0.0.1:1/", "--rate", "many"], "--rate"),
        ([], "--help lists all"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words: list[str], says: str) -> None:
    done = called(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
