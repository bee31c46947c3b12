"""How a real server's program is found, and what is said when it is not or does not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.lab.errors import MissingServerError
from infra.lab.servers.find import executable, package_dir, version_of

NOWHERE = ("no_such_package", "bin/*")


def program(folder: Path, body: str, name: str = "server") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_program_that_is_nowhere_is_one_line_with_the_package(empty_path: Path) -> None:
    with pytest.raises(MissingServerError) as caught:
        executable("Valkey", "valkey-server", wheel=NOWHERE, apt="valkey-server")
    text = str(caught.value)
    assert "Valkey (valkey-server)" in text
    assert "sudo apt-get install valkey-server" in text
    assert "\n" not in text


def test_path_is_searched_after_the_environment(empty_path: Path) -> None:
    found = program(empty_path, "echo 1.2")
    assert executable("Server", "server", wheel=NOWHERE, apt="x") == found
    in_wheel = executable("Server", "server", wheel=("pytest", "__init__.py"), apt="x")
    assert in_wheel.parent == package_dir("pytest")


def test_places_off_path_are_searched_last_newest_first(empty_path: Path, tmp_path: Path) -> None:
    for version in ("16", "17"):
        (tmp_path / version).mkdir()
        program(tmp_path / version, "echo")
    found = executable("S", "server", wheel=NOWHERE, apt="x", also=(f"{tmp_path}/1*/server",))
    assert found == tmp_path / "17" / "server"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("postgres (PostgreSQL) 18.6", "18.6"),
        ("nginx version: nginx/1.31.3", "1.31.3"),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", "9.1.2"),
        ('openjdk version "21" 2023-09-19', "21"),
        ('openjdk version "21.0.4" 2024-07-16', "21.0.4"),
    ],
)
def test_the_version_is_the_first_number(tmp_path: Path, said: str, version: str) -> None:
    assert version_of(program(tmp_path, f"echo '{said}' >&2")) == version


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'cannot open libz.so.1.2: no such file' >&2; exit 127", "libz.so.1.2"),
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "exit status -9"),
        ("echo no number", "no number"),
    ],
)
def test_a_program_that_does_not_run_says_why(tmp_path: Path, body: str, reason: str) -> None:
    path = program(tmp_path, body)
    with pytest.raises(MissingServerError) as caught:
        version_of(path)
    text = str(caught.value)
    assert text.startswith(f"{path} does not run on this machine: ")
    assert reason in text
    assert "\n" not in text


def test_a_file_of_another_architecture_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "server"
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    path.chmod(0o755)
    with pytest.raises(MissingServerError, match="does not run on this machine"):
        version_of(path)
