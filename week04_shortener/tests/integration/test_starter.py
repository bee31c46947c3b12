"""The starter: copied, it serves, and every claim that judges a target is red by its judgement."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infra.bootstrap import clone_root
from infra.lab.engines.local.ports import free_ports, is_free
from infra.lab.starter_verb import copy

pytestmark = pytest.mark.integration

NAMES = ("NGINX", "API1", "API2", "POSTGRES", "VALKEY")
START_S = 90.0
STOP_S = 60.0
CHECK_S = 90.0


@dataclass
class Served:
    """A copy of the starter, and its serve.py, which writes into `said`."""

    folder: Path
    home: Path
    said: Path
    ports: list[int]
    process: subprocess.Popen[bytes]

    def waits_for(self, text: str, times: int = 1) -> str:
        """All that was said, once `text` is in it so often."""
        deadline_s = time.monotonic() + START_S
        while (found := self.said.read_text()).count(text) < times:
            assert self.process.poll() is None, found
            assert time.monotonic() < deadline_s, f"{text!r} is missing in: {found}"
            time.sleep(0.1)
        return found

    def value(self, name: str) -> str:
        lines = self.waits_for("Ctrl-C ends all").splitlines()
        return next(line for line in lines if line.startswith(f"{name}=")).partition("=")[2]


def _serve(folder: Path, home: Path, ports: list[int], *words: str) -> subprocess.Popen[bytes]:
    chosen = {f"PORT_{name}": str(port) for name, port in zip(NAMES, ports, strict=True)}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PORT")}
    with (home / "said").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, str(folder / "serve.py"), *words],
            cwd=folder.parent,
            env={**inherited, **chosen, "LAB_HOME": str(home)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    # Not pytest's own folder: PostgreSQL, under another user when we are root, must enter it.
    root = Path(tempfile.mkdtemp(prefix="lab-week04-starter-"))
    root.chmod(0o755)
    folder, home, ports = root / "my shortener", root / "home", free_ports(len(NAMES))
    home.mkdir()
    copy(clone_root(), "week04", str(folder))
    process = _serve(folder, home, ports)
    try:
        yield Served(folder, home, home / "said", ports, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        finally:
            process.kill()
            shutil.rmtree(root)


def test_every_claim_on_the_untouched_starter_is_red_by_its_own_judgement(served: Served) -> None:
    results = served.home / "results"
    checks = Path("week04_shortener", "checks")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "infra.evidence.plugin", "-q", "-rN"),
            *("-p", "no:cacheprovider", f"--target={served.value('TARGET')}"),
            *(f"--target-dsn={served.value('TARGET_DSN')}", f"--results={results}", str(checks)),
        ],
        cwd=clone_root(),
        capture_output=True,
        text=True,
        timeout=CHECK_S,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    [file] = results.glob("*.json")
    claims = json.loads(file.read_text())["claims"]
    judged = {one["id"]: one for one in claims if one["state"] != "not run"}
    assert len(judged) >= 10
    assert {one["state"] for one in judged.values()} == {"FAILED"}, done.stdout
    for name, one in judged.items():
        # So that a learner knows what comes next.
        assert "expected" in one["reason"] and "501" in one["reason"], (name, one["reason"])


def test_a_mistake_is_told_and_saving_starts_the_replicas_anew(served: Served) -> None:
    service = served.folder / "service.py"
    text = service.read_text()
    served.waits_for("Ctrl-C ends all")
    service.write_text(text + "\ndef broken(:\n")
    assert "SyntaxError" in served.waits_for("Mend it and save")
    service.write_text(text.replace('f"exercise {exercise}"', '"mended"'))
    served.waits_for("both replicas run anew")
    answer = httpx.get(f"{served.value('TARGET')}/abcdefg", trust_env=False)
    assert (answer.status_code, answer.json()["detail"]) == (501, "mended")


def test_one_runs_at_a_time(served: Served) -> None:
    served.waits_for("Ctrl-C ends all")
    second = _serve(served.folder, served.home, served.ports)
    assert second.wait(STOP_S) == 1
    assert "serve.py: it runs already" in served.said.read_text()


def test_ctrl_c_ends_everything_and_the_data_are_erased_when_asked_for(served: Served) -> None:
    served.waits_for("Ctrl-C ends all")
    data = served.home / "week04-starter"
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(STOP_S) == 0
    assert "ended; the data stay" in served.said.read_text()
    assert all(map(is_free, served.ports))
    assert (data / "data" / "postgres" / "PG_VERSION").exists()
    assert _serve(served.folder, served.home, served.ports, "--clean").wait(STOP_S) == 0
    assert not data.exists()
