"""`run_checks`, the one function behind `lab weekNN check`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bootstrap import clone_root
from infra.evidence import run
from infra.evidence.run import run_checks, week_of
from infra.evidence.tests.workshop import Workshop
from infra.lab.errors import LabError, UsageError

pytest_plugins = ["pytester"]


@pytest.fixture
def clone(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with this project's settings of pytest and one claim."""
    root = workshop.pytester.path
    (root / "pyproject.toml").write_text((clone_root() / "pyproject.toml").read_text())
    monkeypatch.setattr(run, "clone_root", lambda: root)
    # pytest-timeout has settings in that file, so here the installed plugins are loaded.
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    workshop.claim(declared="rows=[30], seeds=[4, 5], needs={'url'}")
    return root


PROGRAM = """
import sys
from pathlib import Path
from infra.evidence import run
root = Path(sys.argv[1])
run.clone_root = lambda: root
sys.exit(run.run_checks("week04_x", results=root / "results", **eval(sys.argv[2])))
"""


def _in_a_process(root: Path, **words: object) -> subprocess.CompletedProcess[str]:
    """As the command runs it: pytest inside pytest would share the outer one's state."""
    environ = {name: text for name, text in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), repr(words)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_shows_the_table_and_the_time_and_returns_zero(workshop: Workshop, clone: Path) -> None:
    done = _in_a_process(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"claim", "w04.herd"} <= set(lines)
    assert "w04.herd  on (1 of 2, seed 4)  0 s" in done.stdout.splitlines()
    assert "seed 4 (one seed, DEEP=1 runs all); 0 s of at most 180 s" in done.stdout
    assert "arning" not in done.stdout + done.stderr


def test_a_failed_claim_returns_one_without_a_traceback(workshop: Workshop, clone: Path) -> None:
    workshop.claim("return figures(lab, [3])", id="w04.other")
    done = _in_a_process(clone, deep=True)
    assert done.returncode == 1
    assert "w04.other BROKEN CHECK: off (seed 1, repetition 1): " not in done.stdout
    assert "w04.other FAILED: on (seed 1, repetition 1): assert figures.value == 1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "seeds 1, 4, 5 (deep)" in done.stdout


def test_a_seed_and_a_target_are_passed_on(workshop: Workshop, clone: Path) -> None:
    (workshop.checks / "conftest.py").unlink()
    with socket.create_server(("127.0.0.1", 0)) as service:
        target = f"http://127.0.0.1:{service.getsockname()[1]}"
        done = _in_a_process(clone, seed=9, target=target, target_dsn="postgresql://u@h/d")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (workshop.result()["seed"], workshop.result()["target"]) == (9, target)


def test_a_target_that_does_not_answer_is_one_clear_line_before_anything_is_measured() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens
        target = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(LabError, match=f"nothing answers at {target} .*start your service"):
            run_checks("week01_http_server", target=target)


def test_only_the_claims_that_are_named_are_measured(workshop: Workshop, clone: Path) -> None:
    for other in ("w04.herd.alone", "w04.other"):
        workshop.claim(id=other)
    done = _in_a_process(clone, claims=["herd"], deep=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = workshop.result("deep")
    assert {one["id"] for one in result["claims"]} == {"w04.herd", "w04.herd.alone"}
    assert result["complete"] is False, "what is not whole must not be published"

    done = _in_a_process(clone, claims=["w04.other", "herds"])
    assert done.returncode == 2
    assert "there is no claim 'herds': claims are " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_interrupt_returns_130_and_the_run_is_not_complete(
    workshop: Workshop, clone: Path
) -> None:
    workshop.claim("raise KeyboardInterrupt", id="w04.other")
    done = _in_a_process(clone, deep=True)
    assert done.returncode == 130
    assert workshop.result("deep")["complete"] is False
    assert [one["id"] for one in workshop.result("deep")["claims"]] == ["w04.herd"]


def test_what_cannot_be_run_is_one_clear_line(clone: Path) -> None:
    with pytest.raises(LabError, match="week05_y has no claims yet"):
        run_checks("week05_y")
    with pytest.raises(UsageError, match="TARGET_DSN goes with TARGET"):
        run_checks("week04_x", target_dsn="postgresql://u@h/d")
    with pytest.raises(UsageError, match="is no target"):
        run_checks("week04_x", target="h:1")
    with pytest.raises(UsageError, match="is no week's package"):
        week_of("infra")


def test_a_folder_without_claims_is_one_clear_line(workshop: Workshop, clone: Path) -> None:
    (workshop.checks / "herd.py").write_text("")
    done = _in_a_process(clone)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("week04_x/checks has no class under @claim")
