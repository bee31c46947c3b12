"""Where and of what something was measured: the machine's facts and the clone's commit."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

GIT_TIMEOUT_S = 30
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Source:
    """The state of the clone.

    Attributes:
        commit: full name of HEAD; "unknown" outside of a git clone.
        dirty: whether anything differs from it, new files included; true when nobody can tell.
    """

    commit: str
    dirty: bool


def facts() -> dict[str, Any]:
    """This machine in the words that a reader compares measurements by."""
    return {
        "system": _os_name(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }


def source(clone: Path) -> Source:
    """The commit that `clone` is at, and whether that is all there is."""
    try:
        commit = git(clone, "rev-parse", "HEAD")
        return Source(commit, bool(git(clone, "status", "--porcelain", "--untracked-files=all")))
    except (OSError, subprocess.SubprocessError):
        return Source(UNKNOWN, True)


def git(clone: Path, *words: str) -> str:
    """What `git WORDS` says in `clone`. Raises CalledProcessError, and OSError without git."""
    return subprocess.run(
        ["git", *words],
        cwd=clone,
        check=True,
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_S,
    ).stdout.strip()


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{platform.system()} {platform.release()}"


def _processor() -> str:
    """The model as Linux names it; elsewhere what Python knows, which may be little."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or UNKNOWN
