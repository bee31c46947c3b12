"""Makes the locks: `python -m infra.locks [--upgrade]` pins what pyproject.toml asks for.

One lock per week's closure, one for the `lab` command alone and one for development. They are
universal (Linux and macOS, Python 3.11 and newer), carry hashes and no address, and agree on every
version: the development lock is resolved first and the others are held to it.

Two kinds beside them: what a week's service needs in an image (`image-weekNN`, held to the
development lock, too), and what a dependency group names for an environment of its own (`ansible`,
held to nothing: it is never installed together with the others).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra.bootstrap import clone_root

HEADER = "# Made by `make lock` from pyproject.toml; inputs sha256:"
RESOLVE = [
    *("pip", "compile", "--quiet"),
    *("--universal", "--python-version=3.11", "--generate-hashes"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
]
IMAGE = "image"
"""The dependency group that every image holds, and how the locks of images begin."""
APART = ("ansible",)
"""Dependency groups that have a lock, and an environment, of their own."""


def inputs_digest(pyproject: dict[str, Any]) -> str:
    """Digest of the parts of pyproject.toml that locks are made from (hexadecimal sha256)."""
    project = pyproject["project"]
    inputs = {
        "python": project["requires-python"],
        "base": sorted(project["dependencies"]),
        "extras": {
            name: sorted(requirements)
            for name, requirements in project["optional-dependencies"].items()
        },
        "groups": {
            name: sorted(requirements)
            for name, requirements in pyproject["dependency-groups"].items()
        },
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def lock_extras(pyproject: dict[str, Any]) -> dict[str, list[str]]:
    """The extras in each lock, development first: {lock name: extras}."""
    extras = sorted(pyproject["project"]["optional-dependencies"])
    weeks = [name for name in extras if name.startswith("week")]
    return {"dev": extras, "lab": []} | {week: [week, "servers"] for week in weeks}


def image_requirements(pyproject: dict[str, Any]) -> dict[str, list[str]]:
    """What the images hold, without the `lab` command's own: {lock name: requirements}."""
    of_all = pyproject["dependency-groups"][IMAGE]
    extras = sorted(pyproject["project"]["optional-dependencies"].items())
    return {
        f"{IMAGE}-{name}": [*wanted, *of_all] for name, wanted in extras if name.startswith("week")
    }


def make(clone: Path, *, upgrade: bool) -> None:
    """Resolves and writes every lock of `clone`; without `upgrade`, pins that still fit stay.

    Raises CalledProcessError when uv finds no solution; uv has then said why.
    """
    pyproject = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))
    header = HEADER + inputs_digest(pyproject)
    anew = ["--upgrade"] if upgrade else []
    held = ["-c", "locks/dev.txt"]
    for lock, extras in lock_extras(pyproject).items():
        named = [f"--extra={extra}" for extra in extras]
        options = anew if lock == "dev" else held
        _resolve(clone, lock, header, ["pyproject.toml", *named, *options])
    for lock, requirements in image_requirements(pyproject).items():
        _resolve(clone, lock, header, ["-", *held], requirements)
    for lock in APART:
        _resolve(clone, lock, header, ["-", *anew], pyproject["dependency-groups"][lock])


def _resolve(
    clone: Path, lock: str, header: str, words: list[str], requirements: Iterable[str] = ()
) -> None:
    """Writes one lock; `requirements` stand for the input `-`."""
    uv = str(Path(sys.executable).with_name("uv"))
    name = f"locks/{lock}.txt"
    subprocess.run(
        [uv, *RESOLVE, *words, "-o", name],
        cwd=clone,
        check=True,
        text=True,
        input="".join(f"{line}\n" for line in requirements),
    )
    path = clone / name
    lines = path.read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if not line.startswith("#")]
    path.write_text("\n".join([header, *body, ""]), encoding="utf-8")


def main() -> int:
    """Entry point."""
    try:
        make(clone_root(), upgrade="--upgrade" in sys.argv[1:])
    except subprocess.CalledProcessError as error:
        print(f"locks: {error.cmd[0]} failed with status {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
