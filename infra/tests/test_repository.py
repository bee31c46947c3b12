"""What must never stand in a tracked file: places of one machine, registries, secrets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from infra.bootstrap import clone_root

CLONE = clone_root()
# Written so that this file does not contain what it looks for.
NEVER = {
    "address of a package registry": re.compile(
        r"pypi[.]org|pythonhosted[.]org|repo1?[.]maven[.]apache[.]org|registry[.]npmjs[.]org"
        r"|proxy[.]golang[.]org|static[.]crates[.]io|--(?:extra-)?index-url[ =]\S|--find-links[ =]",
    ),
    "path of one machine": re.compile(
        r"(?<![\w.$}])/(?:work/(?:main|shared)|tmp/scratch|home/\w+|root/\w+)|[.]pyenv\b"
    ),
    "image that is not pinned": re.compile(r"\bimage:\s*\S+[:]latest\b|^FROM \S+[:]latest", re.M),
    "private key or token": re.compile(r"-{5}BEGIN [A-Z ]*PRIVATE KEY|\bgh[ps]_\w{30,}|AKIA\w{16}"),
    "conflict marker": re.compile(r"^(?:<{7}|>{7}) ", re.M),
}


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CLONE, capture_output=True, check=True)
    paths = (CLONE / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("what", NEVER)
def test_no_tracked_file_holds(what: str) -> None:
    found = [
        f"{path.relative_to(CLONE)}: {match[0]}"
        for path in _tracked()
        if path.suffix not in (".png", ".jar")
        for match in NEVER[what].finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("address of a package registry", "--index" + "-url https://example.org/simple"),
        ("address of a package registry", "https://" + "pypi" + ".org/simple"),
        ("path of one machine", 'open("' + "/home" + '/somebody/x")'),
        ("image that is not pinned", "    image: nginx" + ":" + "latest"),
        ("private key or token", "-" * 5 + "BEGIN RSA PRIVATE " + "KEY-----"),
        ("conflict marker", "<" * 7 + " HEAD"),
    ],
)
def test_the_search_finds_what_it_is_for(what: str, text: str) -> None:
    assert NEVER[what].search(text)


def test_what_the_lab_makes_is_ignored_by_git() -> None:
    made = (".lab/venv/bin/lab", "scaling_lab.egg-info/PKG-INFO", "infra/__pycache__/x.pyc")
    for path in made:
        done = subprocess.run(["git", "check-ignore", "-q", path], cwd=CLONE, check=False)
        assert done.returncode == 0, path


def test_programs_are_executable() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-s", "lab", ".ci/run"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=True,
    )
    modes = {line.split("\t")[1]: line.split()[0] for line in listed.stdout.splitlines()}
    assert modes == {"lab": "100755", ".ci/run": "100755"}
