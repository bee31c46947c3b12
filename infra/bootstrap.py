"""Entry of `./lab`: makes sure the clone's environment is there, then becomes its `lab` command.

Standard library only. This file keeps to the syntax of Python 3.8, so that an old interpreter can
say that it is too old; what builds the environment is imported only when there is something to
build, so that a warm start costs little more than starting Python.

    bootstrap.py ARGS...               becomes `<home>/venv/bin/lab ARGS...`
    bootstrap.py --dev PROGRAM ARGS... becomes `<home>/venv/bin/PROGRAM ARGS...`, for tests and lint

Environment: LAB_HOME (where environment and state live), LAB_USER (whom servers run as when started
by root), LAB_BOOTSTRAP_ONLY=1 (build the environment, then stop).
"""

from __future__ import annotations

import os
import re
import sys

PYTHON_FLOOR = (3, 11)
PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")
# A clone under a directory only root may enter keeps its environment and state here instead.
ROOT_HOMES = "/var/lib/scaling-lab"
# Verbs that need the development lock: pytest and its plugins, and what a week is measured beside.
DEV_VERBS = ("test", "check", "bench")


class BootstrapError(RuntimeError):
    """Something the user can put right; the message is one line that says how."""


TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def clone_root() -> Path:
    """The real path of the clone this file belongs to."""
    from pathlib import Path

    return Path(__file__).resolve().parent.parent


def lab_user() -> str | None:
    """The unprivileged user that servers run as when root starts them, None when not root.

    Raises BootstrapError when LAB_USER names nobody, or root.
    """
    if os.geteuid() != 0:
        return None
    account()
    return os.environ.get("LAB_USER") or "nobody"


def lab_home() -> Path:
    """Where this clone's environment and state live: LAB_HOME, else `.lab` in the clone.

    As root, when the unprivileged user cannot enter the clone (a clone under a home of mode 700),
    it is a directory of its own under /var/lib/scaling-lab. Nothing is created.
    """
    from pathlib import Path

    override = os.environ.get("LAB_HOME")
    if override:
        return Path(override).expanduser().resolve()
    clone = clone_root()
    if os.geteuid() != 0 or can_enter(clone):
        return clone / ".lab"
    import hashlib

    return Path(ROOT_HOMES, hashlib.sha256(os.fsencode(clone)).hexdigest()[:12])


def can_enter(directory: Path) -> bool:
    """Whether the unprivileged user can enter `directory`, found by trying as that user (root)."""
    import subprocess

    # Access rules (modes, ACLs, mount options) are the kernel's: ask it, do not compute them. By
    # a shell, because forking here would not be safe once `lab` runs threads, and because cwd=
    # would be entered before the user changes.
    uid, gid = account()
    command = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)]
    tried = subprocess.run(
        command, cwd="/", user=uid, group=gid, extra_groups=[], capture_output=True, check=False
    )
    return tried.returncode == 0


def account() -> tuple[int, int]:
    """User and group id of the unprivileged user."""
    import pwd

    name = os.environ.get("LAB_USER") or "nobody"
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BootstrapError(f"there is no user {name}: set LAB_USER to an existing one") from None
    if entry.pw_uid == 0:
        raise BootstrapError("LAB_USER must not be root: PostgreSQL refuses to run as root")
    return entry.pw_uid, entry.pw_gid


def lock_for(arguments: list[str], locks: Path) -> str:
    """Name of the lock (without .txt) that `arguments` need, of those in the folder `locks`."""
    if arguments[:1] == ["--dev"]:
        return "dev"
    words = [word for word in arguments if not word.startswith("-")]
    if not words or not re.fullmatch(r"week\d\d", words[0]):
        return "lab"
    if len(words) > 1 and words[1] in DEV_VERBS:
        return "dev"
    return words[0] if (locks / (words[0] + ".txt")).is_file() else "lab"


def covering_locks(lock: str, locks: Path) -> list[str]:
    """The locks whose installation includes that of `lock`, itself first."""
    if lock == "dev":
        return ["dev"]
    if lock != "lab":
        return [lock, "dev"]
    return ["lab", "dev", *sorted(path.stem for path in locks.glob("week[0-9][0-9].txt"))]


def stamp_text(lock: str, clone: Path, venv: Path) -> str:
    """What an installation of `lock` must have been made from to be still good.

    The interpreter is named by its real path: that changes with its minor version, and goes when
    it is removed. The two directories are in it because neither can be moved.
    """
    import hashlib

    digest = hashlib.sha256()
    for path in (clone / "locks" / (lock + ".txt"), clone / "pyproject.toml"):
        digest.update(path.read_bytes() + b"\0")
    python = os.path.realpath(venv / "bin" / "python")
    return "\n".join((digest.hexdigest(), python, str(clone), str(venv), ""))


def stamp_path(lock: str, venv: Path) -> Path:
    """File that holds the stamp of `lock`, written once everything in it is installed."""
    return venv / ("installed-" + lock + ".stamp")


def dirty_path(venv: Path) -> Path:
    """File that exists while an installation runs, and after one that was cut short."""
    return venv / "installing"


def is_ready(lock: str, clone: Path, venv: Path, program: str = "lab") -> bool:
    """Whether all of `lock` stands in `venv`, unbroken, and with it `program` in its bin/."""
    if dirty_path(venv).exists() or not os.access(venv / "bin" / "python", os.X_OK):
        return False
    for name in covering_locks(lock, clone / "locks"):
        try:
            found = stamp_path(name, venv).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        if found == stamp_text(name, clone, venv):
            return os.access(venv / "bin" / program, os.X_OK)
    return False


def _require_python() -> None:
    """Goes on under a newer interpreter when this one is too old; ends in one line without one."""
    if sys.version_info[:2] >= PYTHON_FLOOR:
        return
    import shutil
    import subprocess

    probe = "import sys; sys.exit(sys.version_info[:2] < (%d, %d))" % PYTHON_FLOOR  # noqa: UP031
    for name in PYTHONS:
        path = shutil.which(name)
        # A version manager's shim is on PATH even where the version behind it is not chosen.
        if path and subprocess.run([path, "-c", probe], capture_output=True).returncode == 0:
            script = str(clone_root() / "infra" / "bootstrap.py")
            os.execv(path, [path, "-I", "-S", script, *sys.argv[1:]])
    raise BootstrapError(
        "needs Python >= %d.%d, found %d.%d" % (PYTHON_FLOOR + sys.version_info[:2])  # noqa: UP031
    )


def _run(arguments: list[str]) -> None:
    """Builds what is missing, then becomes the program asked for."""
    _require_python()
    clone, home = clone_root(), lab_home()
    venv = home / "venv"
    lock = lock_for(arguments, clone / "locks")
    if not is_ready(lock, clone, venv):
        from infra import environment

        environment.build(lock, clone, home)
    if os.environ.get("LAB_BOOTSTRAP_ONLY"):
        return
    program, rest = "lab", arguments
    if arguments[:1] == ["--dev"]:
        if len(arguments) < 2:
            raise BootstrapError("--dev needs the program to run, for example: ./lab --dev pytest")
        program, rest = arguments[1], arguments[2:]
    path = str(venv / "bin" / program)
    if not os.access(path, os.X_OK):
        raise BootstrapError(f"no program {program} in {venv / 'bin'}")
    os.execv(path, [path, *rest])


def main() -> int:
    """Entry point; returns the exit status when the program could not be reached."""
    try:
        _run(sys.argv[1:])
    except BootstrapError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the next run repairs what is half done", file=sys.stderr)
        return 130
    except OSError as error:
        what = f"cannot use {error.filename}: " if error.filename else ""
        print(f"lab: {what}{error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Run as the module infra.bootstrap, the one the builder imports: this script would otherwise be
    # a second copy of it, with an error class of its own.
    sys.path.insert(0, str(clone_root()))
    try:
        from infra import bootstrap
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(bootstrap.main())
