"""What asks for hosts, and what removes old releases: without docker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.ansible.testing.docker import HostsError
from infra.ansible.testing.hosts import main, parse

PRUNE = Path(__file__).parent.parent / "roles" / "python_service" / "files" / "prune.py"


def test_words_become_hosts_in_their_groups() -> None:
    assert parse(["app=2", "db+cache=1"]) == [
        ("app1", ("app",)),
        ("app2", ("app",)),
        ("db1", ("db", "cache")),
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["app"], "'app' is not GROUP=COUNT"),
        (["app=0"], "'app=0' is not GROUP=COUNT"),
        (["App=1"], "is not GROUP=COUNT"),
        (["app=1", "app+db=1"], "the same name"),
        (["app=13"], "13 hosts"),
        ([], "0 hosts"),
    ],
)
def test_other_words_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(HostsError, match=told):
        parse(words)


def test_without_docker_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["up", "app=1"]) == 1
    assert capsys.readouterr().err == "hosts: there is no docker here: apt install docker.io\n"


def release(root: Path, name: str, venv: str, age_s: int) -> Path:
    folder = root / "releases" / name
    folder.mkdir(parents=True)
    (root / "venvs" / venv).mkdir(parents=True, exist_ok=True)
    (folder / "venv").symlink_to(Path("../../venvs") / venv)
    os.utime(folder, (10_000 - age_s, 10_000 - age_s))
    return folder


def test_the_oldest_releases_go_and_those_in_use_stay(tmp_path: Path) -> None:
    for name, venv, age_s in (("a", "1", 50), ("b", "2", 40), ("c", "3", 30), ("d", "3", 20)):
        release(tmp_path, name, venv, age_s)
    (tmp_path / "current").symlink_to("releases/a")
    (tmp_path / "previous").symlink_to("releases/d")

    done = subprocess.run(
        [sys.executable, PRUNE, tmp_path, "1"], capture_output=True, text=True, check=True
    )

    assert sorted(path.name for path in (tmp_path / "releases").iterdir()) == ["a", "d"]
    assert sorted(path.name for path in (tmp_path / "venvs").iterdir()) == ["1", "3"]
    gone = {tmp_path / "releases" / "b", tmp_path / "releases" / "c", tmp_path / "venvs" / "2"}
    assert set(map(Path, done.stdout.splitlines())) == gone
