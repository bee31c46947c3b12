"""The import rules hold, cover every package, and each of them can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from infra.bootstrap import clone_root

CLONE = clone_root()
CONFIG = tomllib.loads((CLONE / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in CONFIG["contracts"]}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"],
        cwd=folder,
        # Wide, so that no line is wrapped; the planted packages hide the installed ones.
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """The rules over empty packages, with a second week beside week04."""
    shutil.copy(CLONE / "pyproject.toml", tmp_path)
    text = (tmp_path / "pyproject.toml").read_text()
    line = '"week01_http_server",  # one line per week\n'
    assert text.count(line) == 3
    (tmp_path / "pyproject.toml").write_text(text.replace(line, f'{line}    "week05_counter",\n'))
    for module in CONTRACTS["service-plumbing-is-a-leaf"]["forbidden_modules"]:
        _write(tmp_path / module.replace(".", "/") / "__init__.py")
    for package in ("infra/service", "benchmarks", "week04_shortener/checks"):
        _write(tmp_path / package / "__init__.py")
    _write(tmp_path / "week04_shortener" / "lab.py", "import infra.lab, benchmarks")
    _write(tmp_path / "week04_shortener" / "checks" / "herd.py", "import infra.lab")
    _write(tmp_path / "week04_shortener" / "app.py", "import infra.service")
    for week in ("week01_http_server", "week05_counter"):
        _write(tmp_path / week / "__init__.py")
    return tmp_path


def _write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for parent in path.parents:
        if (parent / "pyproject.toml").exists():
            return
        (parent / "__init__.py").touch()


def test_what_is_allowed_is_allowed(planted: Path) -> None:
    done = _lint(planted)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "imports", "contract"),
    [
        ("week05_counter/app.py", "week04_shortener.app", "weeks-stand-alone"),
        ("week04_shortener/app.py", "week05_counter", "weeks-stand-alone"),
        ("infra/lab/cli.py", "week04_shortener.lab", "infra-knows-no-week"),
        ("infra/service/app.py", "week05_counter", "infra-knows-no-week"),
        ("benchmarks/load.py", "week04_shortener.codes", "infra-knows-no-week"),
        ("week04_shortener/app.py", "infra.lab", "services-stay-services"),
        ("week04_shortener/app.py", "infra.bootstrap", "services-stay-services"),
        ("week04_shortener/codes.py", "week04_shortener.lab", "services-stay-services"),
        ("week04_shortener/codes.py", "week04_shortener.checks", "services-stay-services"),
        ("week04_shortener/codes.py", "week04_shortener.starter", "services-stay-services"),
        ("week04_shortener/__main__.py", "infra.environment", "services-stay-services"),
        ("infra/service/http.py", "infra.lab", "service-plumbing-is-a-leaf"),
        ("week04_shortener/app.py", "infra.evidence", "services-stay-services"),
        ("infra/service/http.py", "infra.bootstrap", "service-plumbing-is-a-leaf"),
    ],
)
def test_each_rule_can_fail(planted: Path, module: str, imports: str, contract: str) -> None:
    target = planted / (imports.replace(".", "/") + ".py")
    if not target.exists() and not target.with_suffix("").is_dir():
        _write(target)
    _write(planted / module, f"def late() -> None:\n    import {imports}\n")
    done = _lint(planted)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{CONTRACTS[contract]['name']} BROKEN" in done.stdout


def test_every_package_is_under_the_rules() -> None:
    packages = {
        path.parent.name
        for path in CLONE.glob("*/__init__.py")
        if path.parent.name in ("infra", "benchmarks") or path.parent.name.startswith("week")
    }
    assert packages == set(CONFIG["root_packages"])
    weeks = {name for name in packages if name.startswith("week")}
    alone = {name for name in weeks if name < "week07"}
    assert alone == set(CONTRACTS["weeks-stand-alone"]["modules"])
    assert weeks == set(CONTRACTS["infra-knows-no-week"]["forbidden_modules"])


def test_every_part_of_infra_but_the_plumbing_is_closed_to_services() -> None:
    parts = {path.stem for path in (CLONE / "infra").glob("*.py")}
    parts |= {path.parent.name for path in (CLONE / "infra").glob("*/__init__.py")}
    parts -= {"__init__", "service", "tests"}
    closed = set(CONTRACTS["services-stay-services"]["protected_modules"])
    assert {f"infra.{part}" for part in parts - {"lab"}} | {"*.lab"} <= closed
    leaf = set(CONTRACTS["service-plumbing-is-a-leaf"]["forbidden_modules"])
    assert {f"infra.{part}" for part in parts} <= leaf
