"""The verb that hands over to a week's own bench."""

from __future__ import annotations

import subprocess
import sys

import pytest

from infra.bootstrap import clone_root
from infra.lab.weeks import packages


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.lab.cli", *words]
    return subprocess.run(command, cwd=clone_root(), capture_output=True, text=True, check=False)


def test_a_week_without_a_bench_says_so_in_one_line() -> None:
    root = clone_root()
    without = [
        week for week, name in packages(root).items() if not (root / name / "bench").is_dir()
    ]
    if not without:
        pytest.skip("every week has a bench")
    week = without[0]
    done = lab(week, "bench", "--quick")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"lab: {week} has no bench: `./lab {week} check` measures its claims\n"


@pytest.mark.parametrize("words", [["--no-such-option"], ["--quick", "--publish", "surplus"]])
def test_further_words_go_to_the_bench_itself_and_so_does_its_exit_status(words: list[str]) -> None:
    done = lab("week01", "bench", *words)
    assert done.returncode == 2
    assert "bench: error: unrecognized arguments" in done.stderr
