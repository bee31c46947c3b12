"""The verb that copies a week's starter: what it refuses, each in one line, and what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bootstrap import clone_root
from infra.lab.errors import LabError, UsageError
from infra.lab.starter_verb import copy, next_commands
from infra.lab.weeks import packages


def lab(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.lab.cli", *words],
        cwd=cwd,
        env={**os.environ, "LAB_HOME": str(cwd / "home")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Two weeks, one of them with a starter."""
    for week in ("week03_replication", "week04_shortener"):
        (tmp_path / week).mkdir()
        (tmp_path / week / "lab.py").touch()
    starter = tmp_path / "week04_shortener" / "starter"
    (starter / "__pycache__").mkdir(parents=True)
    (starter / "__pycache__" / "service.pyc").touch()
    (starter / "more").mkdir()
    (starter / "more" / "front.conf").write_text("front")
    (starter / "service.py").write_text("service")
    return tmp_path


def test_the_whole_starter_is_copied_and_nothing_that_python_left(clone: Path) -> None:
    target = clone / "some where" / "mine"
    copy(clone, "week04", str(target))
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {"service.py", "more/front.conf"}
    assert (target / "service.py").read_text() == "service"


def test_an_empty_folder_will_do(clone: Path) -> None:
    (clone / "mine").mkdir()
    copy(clone, "week04", str(clone / "mine"))
    assert (clone / "mine" / "service.py").exists()


def test_what_lies_in_a_folder_is_never_touched(clone: Path) -> None:
    (clone / "mine").mkdir()
    (clone / "mine" / "service.py").write_text("my own")
    with pytest.raises(LabError, match="mine is not empty"):
        copy(clone, "week04", str(clone / "mine"))
    assert (clone / "mine" / "service.py").read_text() == "my own"
    with pytest.raises(LabError, match=r"service\.py is no folder"):
        copy(clone, "week04", str(clone / "mine" / "service.py"))


def test_a_week_without_a_starter_says_so(clone: Path) -> None:
    with pytest.raises(UsageError, match="week03 has no starter"):
        copy(clone, "week03", str(clone / "mine"))
    assert not (clone / "mine").exists()


@pytest.mark.parametrize("inside", ["", "mine"])
def test_a_starter_is_not_copied_into_itself(clone: Path, inside: str) -> None:
    with pytest.raises(UsageError, match="lies in the starter itself"):
        copy(clone, "week04", str(clone / "week04_shortener" / "starter" / inside))


@pytest.mark.parametrize("was_there", [False, True])
def test_a_copy_that_fails_leaves_nothing(clone: Path, was_there: bool) -> None:
    target = clone / "mine"
    if was_there:
        target.mkdir()
    # Found by copytree as a folder of the source that leads nowhere.
    (clone / "week04_shortener" / "starter" / "lost").symlink_to(clone / "nowhere")
    with pytest.raises(OSError, match="lost"):
        copy(clone, "week04", str(target))
    assert target.exists() == was_there
    assert not was_there or not any(target.iterdir())


def test_the_folder_is_one_word_in_the_next_commands() -> None:
    assert next_commands("week04", "my folder")[1].startswith(
        "./lab --dev python 'my folder/serve.py'"
    )


def test_the_command_copies_relative_to_where_it_is_called(tmp_path: Path) -> None:
    done = lab(tmp_path, "week04", "starter", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    made = {path.name for path in (tmp_path / "mine").iterdir()}
    assert {"README.md", "service.py", "serve.py"} <= made
    lines = done.stdout.splitlines()
    assert lines[0] == "the starter of week04 is in mine"
    assert [line.strip() for line in lines[-3:]] == next_commands("week04", "mine")
    again = lab(tmp_path, "week04", "starter", "mine")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "lab: mine is not empty: choose a folder that is new or empty\n"


def test_the_command_asks_for_a_folder_in_one_line(tmp_path: Path) -> None:
    done = lab(tmp_path, "week04", "starter")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "lab: into which folder? `make week04 starter ARGS=../my-week04`\n"
    without = [
        week
        for week, package in packages(clone_root()).items()
        if not (clone_root() / package / "starter").is_dir()
    ]
    if without:
        done = lab(tmp_path, without[0], "starter", "mine")
        assert (done.returncode, done.stderr) == (2, f"lab: {without[0]} has no starter\n")
