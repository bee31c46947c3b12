"""The verb that runs a week's own commands: what it refuses, each in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bootstrap import clone_root
from infra.lab.weeks import packages, topology


def lab(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.lab.cli", *words],
        cwd=clone_root(),
        env={**os.environ, "LAB_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def weeks(with_commands: bool) -> list[str]:
    root = clone_root()
    return [week for week in packages(root) if bool(topology(root, week).command) == with_commands]


def test_a_week_without_commands_says_so(tmp_path: Path) -> None:
    without = weeks(False)
    if not without:
        pytest.skip("every week has commands of its own")
    done = lab(tmp_path, without[0], "run", "anything")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"lab: {without[0]} has no commands of its own\n"


@pytest.mark.parametrize("words", [[], ["no-such-command"], ["one", "--with", "an option"]])
def test_while_the_week_is_down_nothing_is_run(tmp_path: Path, words: list[str]) -> None:
    week = weeks(True)[0]
    done = lab(tmp_path, week, "run", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"lab: {week} is not up: `make {week} up`\n"


def test_help_of_the_verb_is_the_labs(tmp_path: Path) -> None:
    done = lab(tmp_path, weeks(True)[0], "run", "--help")
    assert done.returncode == 0
    assert "One of the week's own commands" in done.stdout
