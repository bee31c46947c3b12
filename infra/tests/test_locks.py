"""The locks: pinned by hash, free of addresses, in agreement, and made from this pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from infra import locks
from infra.bootstrap import clone_root

CLONE = clone_root()
PYPROJECT: dict[str, Any] = tomllib.loads((CLONE / "pyproject.toml").read_text())
TOGETHER = sorted(locks.lock_extras(PYPROJECT))
IMAGES = sorted(locks.image_requirements(PYPROJECT))
NAMES = [*TOGETHER, *IMAGES, *locks.APART]
# name==version, perhaps a marker, then its hashes and nothing else.
REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[A-Za-z0-9.+!]+)(?P<marker> ; [^\\]+)?"
    r"(?P<hashes>( \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
)


def _text(name: str) -> str:
    return (CLONE / "locks" / f"{name}.txt").read_text()


def _versions(name: str) -> dict[str, str]:
    return {found["name"]: found["version"] for found in REQUIREMENT.finditer(_text(name))}


def test_there_is_a_lock_for_each_week_the_lab_and_development() -> None:
    assert {path.stem for path in (CLONE / "locks").glob("*.txt")} >= set(NAMES)
    assert {"dev", "lab", "week04"} <= set(NAMES)
    for lab_file in CLONE.glob("week[0-9][0-9]_*/lab.py"):
        week = lab_file.parent.name.split("_")[0]
        assert week in TOGETHER and f"image-{week}" in IMAGES


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_has_a_version_and_a_hash_and_nothing_else(name: str) -> None:
    header, body = _text(name).split("\n", 1)
    assert header.startswith(locks.HEADER)
    assert len(_versions(name)) > 10
    assert REQUIREMENT.sub("", body) == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_is_made_from_what_pyproject_asks_for_now(name: str) -> None:
    recorded = _text(name).split("\n", 1)[0].removeprefix(locks.HEADER)
    assert recorded == locks.inputs_digest(PYPROJECT), "pyproject.toml has changed: run `make lock`"


def test_the_digest_follows_the_requirements_and_nothing_else() -> None:
    digest = locks.inputs_digest(PYPROJECT)
    project = PYPROJECT["project"]
    assert (
        locks.inputs_digest(PYPROJECT | {"project": project | {"description": "other"}}) == digest
    )
    more = project | {"dependencies": [*project["dependencies"], "attrs"]}
    assert locks.inputs_digest(PYPROJECT | {"project": more}) != digest
    groups = PYPROJECT["dependency-groups"]
    one_more = groups | {"ansible": [*groups["ansible"], "attrs"]}
    assert locks.inputs_digest(PYPROJECT | {"dependency-groups": one_more}) != digest


@pytest.mark.parametrize("name", [*TOGETHER, *IMAGES])
def test_locks_agree_with_the_development_lock(name: str) -> None:
    assert _versions(name).items() <= _versions("dev").items()


@pytest.mark.parametrize("week", [name for name in TOGETHER if name.startswith("week")])
def test_a_week_holds_the_lab_itself(week: str) -> None:
    assert _versions("lab").items() <= _versions(week).items()


def _required(requirements: list[str]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9._-]+", text) for text in requirements)
    return {re.sub(r"[._-]+", "-", found[0]).lower() for found in names if found}


@pytest.mark.parametrize(("name", "extras"), locks.lock_extras(PYPROJECT).items())
def test_a_lock_holds_all_that_its_extras_name(name: str, extras: list[str]) -> None:
    optional = PYPROJECT["project"]["optional-dependencies"]
    wanted = _required(PYPROJECT["project"]["dependencies"])
    for extra in extras:
        wanted |= _required(optional[extra])
    assert wanted <= _versions(name).keys()


@pytest.mark.parametrize(("name", "requirements"), locks.image_requirements(PYPROJECT).items())
def test_an_image_holds_its_week_and_neither_servers_nor_the_lab(
    name: str, requirements: list[str]
) -> None:
    held = _versions(name).keys()
    assert _required(requirements) <= held
    optional = PYPROJECT["project"]["optional-dependencies"]
    week = name.removeprefix("image-")
    assert _required(optional[week]) | {"psutil"} <= held
    assert held.isdisjoint({*_required(optional["servers"]), "supervisor", "typer", "pytest"})


def test_the_ansible_lock_holds_what_its_group_names() -> None:
    assert _required(PYPROJECT["dependency-groups"]["ansible"]) <= _versions("ansible").keys()


def test_the_locked_versions_are_those_running() -> None:
    """A test run in an environment of other versions would prove little."""
    from importlib.metadata import version

    pinned = _versions("dev")
    for name in ("anyio", "pytest", "supervisor", "fastapi", "uvicorn"):
        assert version(name) == pinned[name]


def test_making_locks_resolves_development_first_and_names_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "pyproject.toml").write_text((CLONE / "pyproject.toml").read_text())
    calls: list[list[str]] = []

    given: list[str] = []

    def resolve(command: list[str], *, cwd: Path, check: bool, text: bool, input: str) -> None:
        calls.append(command)
        if "-" in command:
            given.append(input)
        output = cwd / command[command.index("-o") + 1]
        output.write_text("# comment\nanyio==1 \\\n    --hash=sha256:0\n")

    monkeypatch.setattr("subprocess.run", resolve)
    locks.make(tmp_path, upgrade=True)
    first, *others = calls
    assert first[first.index("-o") + 1] == "locks/dev.txt" and "--upgrade" in first
    *held, apart = others
    assert held
    for call in held:
        assert call[call.index("-c") + 1] == "locks/dev.txt"
    assert apart[-1] == "locks/ansible.txt" and "-c" not in apart and "--upgrade" in apart
    assert given == [
        "".join(f"{line}\n" for line in requirements)
        for requirements in (
            *locks.image_requirements(PYPROJECT).values(),
            PYPROJECT["dependency-groups"]["ansible"],
        )
    ]
    lock = (tmp_path / "locks" / "lab.txt").read_text()
    assert lock == (
        f"{locks.HEADER}{locks.inputs_digest(PYPROJECT)}\nanyio==1 \\\n    --hash=sha256:0\n"
    )
