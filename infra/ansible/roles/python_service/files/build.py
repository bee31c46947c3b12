"""Finishes a release on the host: build.py ROOT RELEASE LOCK.

ROOT/releases/RELEASE holds the code. The environment belongs to the lock, not to the release: a
release with the same lock as one before is ready at once. It is found by the release's link `venv`;
the file `complete` comes last.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
HELD = ("--require-hashes", "--only-binary", ":all:", "--no-deps")
DIGEST_LETTERS = 16


def environment(root: Path, lock: Path) -> Path:
    """The environment of a lock, built where it is missing or was left unfinished."""
    # Packages that are built for one minor version of Python are of no use to the next.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:DIGEST_LETTERS]
    venv = root / "venvs" / f"{digest}-{version}"
    if not (venv / "complete").exists():
        shutil.rmtree(venv, ignore_errors=True)
        _run(sys.executable, "-I", "-m", "venv", str(venv))
        _run(str(venv / "bin" / "python"), "-I", *PIP, *HELD, "-r", str(lock))
        (venv / "complete").touch()
    return venv


def main(root: Path, release: str, lock: str) -> None:
    """Build and link the environment, compile the code, say that the release is complete."""
    folder = root / "releases" / release
    venv = environment(root, folder / lock)
    link = folder / "venv"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("../../venvs") / venv.name)
    # The units may not write beside the code, and would compile it at every start. Some files are
    # templates of code (Alembic's): what is none stays as it is.
    subprocess.run([venv / "bin" / "python", "-I", "-m", "compileall", "-qq", folder], check=False)
    (folder / "complete").touch()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        sys.exit(lines[-1] if lines else f"{' '.join(command[:4])}: {done.stderr.strip()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
