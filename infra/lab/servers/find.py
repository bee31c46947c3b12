"""Find a real server: in the environment's wheels, else on the system's PATH."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from infra.lab.errors import MissingServerError

VERSION_TIMEOUT_S = 10


def package_dir(package: str) -> Path | None:
    """Folder of an installed Python package, without importing it; None where absent."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def executable(
    kind: str, program: str, *, wheel: tuple[str, str], apt: str, also: tuple[str, ...] = ()
) -> Path:
    """Path of `program`.

    Args:
        kind: name for people, for the message.
        program: file name looked up on PATH.
        wheel: package and glob inside it, tried first.
        apt: Debian package that brings it.
        also: globs of places that are usually not on PATH, tried last.

    Raises:
        MissingServerError: it is nowhere; says what to install.
    """
    package, pattern = wheel
    folder = package_dir(package)
    if folder is not None:
        for candidate in sorted(folder.glob(pattern)):
            return _with_execute_bit(candidate)
    on_path = shutil.which(program)
    if on_path:
        return Path(on_path)
    for place in also:
        for candidate in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            return candidate
    raise MissingServerError(
        f"{kind} ({program}) is neither in the environment nor on PATH: "
        f"run `./lab doctor`, or install it with `sudo apt-get install {apt}`"
    )


def _with_execute_bit(path: Path) -> Path:
    """Wheels unpacked without permissions (some mirrors repack them) lose the execute bit."""
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)
    return path


@functools.cache
def version_of(program: Path, *arguments: str) -> str:
    """First dotted number that `program arguments` prints, such as `18.6`.

    Raises MissingServerError when the file does not run on this machine (wrong architecture,
    missing library), with the reason it gave.
    """
    try:
        answer = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingServerError(f"{program} does not run on this machine: {error}") from error
    said = (answer.stdout + answer.stderr).strip()
    # A first release may be a plain number (`openjdk version "21"`).
    found = re.search(r"\d+(\.\d+)+", said) or re.search(r"\d+", said)
    if found is None or answer.returncode != 0:
        reason = said.splitlines()[-1] if said else f"exit status {answer.returncode}"
        raise MissingServerError(f"{program} does not run on this machine: {reason}")
    return found.group()
