"""How `./lab` chooses a home and a lock, and when it trusts the environment it finds."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra import bootstrap

CLONE = bootstrap.clone_root()


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    folder = tmp_path / "clone" / "locks"
    folder.mkdir(parents=True)
    for name in ("lab", "week04", "week05", "dev"):
        (folder / f"{name}.txt").write_text(f"{name}==1\n")
    (folder.parent / "pyproject.toml").write_text("[project]\n")
    return folder


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder with what a finished environment has, the interpreter being this one."""
    folder = tmp_path / "home" / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "bin" / "lab").write_text("#!/bin/sh\n")
    (folder / "bin" / "lab").chmod(0o755)
    return folder


def _stamp(lock: str, locks: Path, venv: Path) -> None:
    text = bootstrap.stamp_text(lock, locks.parent, venv)
    bootstrap.stamp_path(lock, venv).write_text(text)


@pytest.mark.parametrize(
    ("arguments", "lock"),
    [
        ([], "lab"),
        (["doctor"], "lab"),
        (["--help"], "lab"),
        (["week04"], "week04"),
        (["week04", "up", "--engine", "local"], "week04"),
        (["--no-color", "week04", "up"], "week04"),
        (["week04", "test"], "dev"),
        (["week04", "bench", "--quick"], "dev"),
        (["week99", "up"], "lab"),  # refused by the lab command, which needs no more than this
        (["week4", "up"], "lab"),
        (["doctor", "week04"], "lab"),
        (["--dev", "pytest", "week04"], "dev"),
    ],
)
def test_the_arguments_choose_the_lock(arguments: list[str], lock: str, locks: Path) -> None:
    assert bootstrap.lock_for(arguments, locks) == lock


@pytest.mark.parametrize(
    ("installed", "wanted", "is_ready"),
    [
        ("week04", "week04", True),
        ("week04", "lab", True),  # a week's lock holds the lab's
        ("dev", "lab", True),
        ("dev", "week05", True),
        ("lab", "week04", False),
        ("week04", "week05", False),
        ("week04", "dev", False),
    ],
)
def test_an_installed_lock_serves_those_within_it(
    installed: str, wanted: str, is_ready: bool, locks: Path, venv: Path
) -> None:
    _stamp(installed, locks, venv)
    assert bootstrap.is_ready(wanted, locks.parent, venv) is is_ready


def test_an_environment_without_a_stamp_is_not_trusted(locks: Path, venv: Path) -> None:
    assert not bootstrap.is_ready("lab", locks.parent, venv)


@pytest.mark.parametrize("changed", ["locks/week04.txt", "pyproject.toml"])
def test_a_changed_lock_or_project_is_installed_again(
    changed: str, locks: Path, venv: Path
) -> None:
    _stamp("week04", locks, venv)
    with (locks.parent / changed).open("a") as file:
        file.write("# changed\n")
    assert not bootstrap.is_ready("week04", locks.parent, venv)


def test_a_moved_clone_is_built_again(locks: Path, venv: Path) -> None:
    _stamp("week04", locks, venv)
    moved = locks.parent.rename(locks.parent.with_name("elsewhere"))
    assert not bootstrap.is_ready("week04", moved, venv)


def test_a_moved_environment_is_built_again(locks: Path, venv: Path) -> None:
    _stamp("week04", locks, venv)
    assert not bootstrap.is_ready("week04", locks.parent, venv.rename(venv.with_name("moved")))


def test_an_unfinished_installation_is_built_again(locks: Path, venv: Path) -> None:
    _stamp("week04", locks, venv)
    bootstrap.dirty_path(venv).touch()
    assert not bootstrap.is_ready("week04", locks.parent, venv)


def test_a_vanished_interpreter_is_noticed(locks: Path, venv: Path) -> None:
    _stamp("week04", locks, venv)
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nonexistent/python3.11")
    assert not bootstrap.is_ready("week04", locks.parent, venv)


def test_an_interpreter_of_another_version_is_noticed(
    locks: Path, venv: Path, tmp_path: Path
) -> None:
    _stamp("week04", locks, venv)
    other = tmp_path / "python3.99"
    shutil.copy(sys.executable, other)
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(other)
    assert not bootstrap.is_ready("week04", locks.parent, venv)


def test_the_home_is_in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert bootstrap.lab_home() == CLONE / ".lab"
    assert bootstrap.lab_user() is None


def test_lab_home_overrides_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "a b"))
    assert bootstrap.lab_home() == tmp_path / "a b"


def test_a_clone_only_root_may_enter_has_its_home_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LAB_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bootstrap, "can_enter", lambda directory: False)
    home = bootstrap.lab_home()
    assert home.parent == Path("/var/lib/scaling-lab")
    assert len(home.name) == 12 and home == bootstrap.lab_home()
    monkeypatch.setattr(bootstrap, "can_enter", lambda directory: True)
    assert bootstrap.lab_home() == CLONE / ".lab"


@pytest.mark.parametrize(
    ("name", "complaint"), [("no-such-user", "no user no-such-user"), ("root", "not be root")]
)
def test_an_unusable_server_user_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, complaint: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("LAB_USER", name)
    with pytest.raises(bootstrap.BootstrapError, match=complaint):
        bootstrap.lab_user()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
def test_whether_the_server_user_can_enter_is_tried(tmp_path: Path) -> None:
    tried = tmp_path / "mode"
    tried.mkdir()
    for parent in tmp_path.parents[:2]:  # pytest makes its folders for its own user alone
        parent.chmod(0o755)
    tmp_path.chmod(0o755)
    tried.chmod(0o711)
    assert bootstrap.can_enter(tried)
    tried.chmod(0o700)
    assert not bootstrap.can_enter(tried)
    assert os.geteuid() == 0


def test_an_old_python_can_read_the_file_and_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ast.parse((CLONE / "infra" / "bootstrap.py").read_text(), feature_version=(3, 8))
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "doctor"])
    monkeypatch.setenv("PATH", "/nonexistent")
    assert bootstrap.main() == 1
    assert capsys.readouterr().err == "lab: needs Python >= 3.11, found 3.9\n"


def _clone_with(tmp_path: Path, python: str) -> tuple[Path, Path]:
    """A clone with only `lab`, and a folder for PATH with only the given python3."""
    clone, tools = tmp_path / "a clone", tmp_path / "bin"
    (clone / "infra").mkdir(parents=True)
    tools.mkdir()
    shutil.copy(CLONE / "lab", clone / "lab")
    for tool in ("sh", "readlink"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    if python:
        (tools / "python3").write_text(python)
        (tools / "python3").chmod(0o755)
    return clone, tools


def _run(command: list[str | Path], tools: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={"PATH": str(tools)}, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_lab_finds_its_clone_from_anywhere(tmp_path: Path) -> None:
    clone, tools = _clone_with(tmp_path, '#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "one").symlink_to("../a clone/lab")
    (tmp_path / "two").symlink_to(tmp_path / "elsewhere" / "one")
    for called in ("./a clone/lab", "elsewhere/one", "./two", str(clone / "lab")):
        done = _run(["sh", called, "week04", "a b"], tools, cwd=tmp_path)
        *_, script, week, last = done.stdout.splitlines()
        assert (tmp_path / script).resolve() == clone / "infra" / "bootstrap.py", called
        assert (week, last) == ("week04", "a b")


def test_lab_without_python_says_so_in_one_line(tmp_path: Path) -> None:
    clone, tools = _clone_with(tmp_path, python="")
    done = _run([clone / "lab", "doctor"], tools, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("lab: python3 is missing") and done.stderr.count("\n") == 1
