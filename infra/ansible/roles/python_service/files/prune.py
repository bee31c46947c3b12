"""Removes old releases: prune.py ROOT KEEP. Prints what it removed.

The current release and the one before stay, and the newest KEEP; then the environments that no
release is linked to go.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def main(root: Path, keep: int) -> None:
    """Remove and print what is not needed any more."""
    releases = [path for path in (root / "releases").iterdir() if path.is_dir()]
    newest = sorted(releases, key=lambda path: path.stat().st_mtime, reverse=True)[:keep]
    used = {(root / name).resolve() for name in ("current", "previous") if (root / name).exists()}
    for path in releases:
        if path not in newest and path.resolve() not in used:
            _remove(path)
    linked = {(path / "venv").resolve() for path in (root / "releases").iterdir()}
    for path in (root / "venvs").iterdir():
        if path.resolve() not in linked:
            _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
