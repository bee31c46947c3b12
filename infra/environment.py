"""Builds a clone's environment: `<home>/venv` with the hash-pinned packages of one lock.

Standard library only, imported by infra.bootstrap when a stamp is missing or out of date. Whatever
stops a build (Ctrl-C, a full disk, no network) leaves either a sound environment without the stamp
or the mark of an unfinished installation, and the next run does the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGHUP, SIGTERM
from types import FrameType

from infra import bootstrap
from infra.bootstrap import BootstrapError
from infra.installer import Installer, Workshop, child

# pip's own options would otherwise be changed by the caller's settings for other projects.
# Addresses, certificates, proxies and caches are the user's affair and stay as they are.
FORCED_ENV = {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
DROPPED_ENV = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN")
# Less than this is left when writing the next of an environment's files has just failed.
FULL_DISK_BYTES = 4 * 1024 * 1024
# ensurepip.version() also looks whether the wheel of pip is there.
VENV_PROBE = """
import ensurepip, sys, venv
ensurepip.version()
print("%d.%d" % sys.version_info[:2])
"""


PROJECT_PROGRAM = "lab"


def build(lock: str, clone: Path, home: Path, program: str = PROJECT_PROGRAM) -> None:
    """Installs `locks/<lock>.txt` into `<home>/venv`, and the project itself for its `lab`.

    One run at a time; a second one waits, then finds the work done. Raises BootstrapError with one
    line for the user. Files are made readable for the unprivileged user whatever the umask.

    Args:
        program: what stands in the environment's bin/ once it is whole. Any other than `lab` is a
            tool that only comes with the lock: the project is not installed beside it.
    """
    umask = os.umask(0o022)
    handlers = {number: signal.signal(number, _ended) for number in (SIGTERM, SIGHUP)}
    try:
        _make_home(home)
        with _exclusive(home) as lock_fd:
            venv = home / "venv"
            if not bootstrap.is_ready(lock, clone, venv, program):
                _build_locked(lock, clone, home, lock_fd, program == PROJECT_PROGRAM)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.umask(umask)


def _ended(_signal: int, _frame: FrameType | None) -> None:
    # As an exception, so that pip is ended too.
    raise KeyboardInterrupt


def _make_home(home: Path) -> None:
    """Creates the home; as root it must be a place the unprivileged user can enter."""
    home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        owner = home.owner()
        raise BootstrapError(
            f"{home} belongs to {owner}: run as {owner}, remove it, or set LAB_HOME to another"
        )
    if os.geteuid() == 0 and not bootstrap.can_enter(home):
        with contextlib.suppress(OSError):
            home.rmdir()  # goes only when it is empty, so when it was made just now
        raise BootstrapError(
            f"the user {bootstrap.lab_user()} that servers run as cannot enter {home}:"
            " change its mode, or set LAB_HOME to another directory"
        )


@contextlib.contextmanager
def _exclusive(home: Path) -> Iterator[int]:
    """Holds the home's build lock; yields its descriptor."""
    with (home / "bootstrap.lock").open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("lab: another run is building the environment, waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _build_locked(lock: str, clone: Path, home: Path, lock_fd: int, with_project: bool) -> None:
    venv, dirty = home / "venv", bootstrap.dirty_path(home / "venv")
    started_s = time.monotonic()
    with _workshop(home, lock_fd) as workshop:
        if not _is_sound(venv, clone):
            _create_venv(venv, clone, workshop)
        _drop_stale_stamps(venv, clone)
        dirty.touch()
        installer = Installer(venv / "bin" / "python", workshop)
        try:
            count = installer.install_lock(clone / "locks" / f"{lock}.txt")
            if with_project:
                installer.install_project(clone)
        except BaseException:
            # Until pip starts to install it has only looked and downloaded: nothing is half done,
            # and a working environment must not be lost because the network is down.
            if not installer.has_touched_packages:
                dirty.unlink()
            raise
        stamp = bootstrap.stamp_path(lock, venv)
        stamp.write_text(bootstrap.stamp_text(lock, clone, venv), encoding="utf-8")
        dirty.unlink()
    elapsed_s = time.monotonic() - started_s
    what = f"{count} packages of locks/{lock}.txt in {venv}"
    print(f"lab: environment ready: {what}, {elapsed_s:.0f} s", file=sys.stderr)


@contextlib.contextmanager
def _workshop(home: Path, lock_fd: int) -> Iterator[Workshop]:
    """What the children work with; their temporary files go away whatever happens to them."""
    temporary = home / "bootstrap.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in DROPPED_ENV}
    environment |= FORCED_ENV | {"TMPDIR": str(temporary)}
    try:
        with (home / "bootstrap.log").open("wb") as log:
            yield Workshop(log, lock_fd, environment)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_sound(venv: Path, clone: Path) -> bool:
    """Whether `venv` can be installed into: complete, not moved, its interpreter still there."""
    python = venv / "bin" / "python"
    if bootstrap.dirty_path(venv).exists() or not (venv / "origin").is_file():
        return False
    if (venv / "origin").read_text(encoding="utf-8") != _origin(venv, clone):
        return False
    probe = subprocess.run([python, "-I", "-c", "import pip"], capture_output=True, check=False)
    return probe.returncode == 0


def _origin(venv: Path, clone: Path) -> str:
    return f"{clone}\n{venv}\n{os.path.realpath(venv / 'bin' / 'python')}\n"


def _drop_stale_stamps(venv: Path, clone: Path) -> None:
    """Removes the stamps that no longer hold, before packages change under them.

    Otherwise going back to an older commit would find its old stamp, over newer packages.
    """
    for stamp in venv.glob("installed-*.stamp"):
        lock = stamp.stem.removeprefix("installed-")
        try:
            current = bootstrap.stamp_text(lock, clone, venv)
        except FileNotFoundError:
            current = ""
        if stamp.read_text(encoding="utf-8") != current:
            stamp.unlink()


def _create_venv(venv: Path, clone: Path, workshop: Workshop) -> None:
    """Replaces `venv` by an empty environment with pip."""
    python = _builder()
    if venv.exists():
        print(f"lab: rebuilding the environment in {venv}", file=sys.stderr)
        shutil.rmtree(venv)
    else:
        print(f"lab: building the environment in {venv}", file=sys.stderr)
    venv.mkdir(parents=True)
    dirty = bootstrap.dirty_path(venv)
    dirty.touch()
    with child([python, "-I", "-m", "venv", str(venv)], workshop) as process:
        output = process.communicate()[0]
    if process.returncode != 0:
        # venv does not pass on what the pip inside it said.
        if shutil.disk_usage(venv).free < FULL_DISK_BYTES:
            raise BootstrapError(f"the disk is full: {venv} cannot be made")
        workshop.log.write(output)
        raise BootstrapError(f"{python} -m venv failed (its output: {workshop.log.name})")
    (venv / "origin").write_text(_origin(venv, clone), encoding="utf-8")
    dirty.unlink()


def _builder() -> str:
    """The interpreter to build with; one that can make environments, else BootstrapError.

    As root it should be one that the unprivileged user can run too: a version manager under root's
    home is not. Without such a one the running interpreter has to do.
    """
    if os.geteuid() == 0:
        uid, gid = bootstrap.account()
        for python in _candidates():
            if _can_build(python, user=uid, group=gid, extra_groups=[], cwd="/"):
                return python
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if _can_build(sys.executable):
        return sys.executable
    raise BootstrapError(
        f"{sys.executable} cannot make environments: install the venv module"
        f" (Debian, Ubuntu: apt install python3-venv, or python{version}-venv)"
    )


def _candidates() -> Iterator[str]:
    """This interpreter, then the others on PATH and in the system's directories."""
    yield sys.executable
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/bin", "/usr/bin"))
    for directory in path.split(os.pathsep):
        for name in ("python3", *bootstrap.PYTHONS):
            found = shutil.which(name, path=directory)
            if found:
                yield found


def _can_build(python: str, **as_whom: object) -> bool:
    """Whether `python`, run with the given Popen arguments, is new enough and has venv and pip."""
    try:
        probe = subprocess.run(
            [python, "-I", "-c", VENV_PROBE],
            capture_output=True,
            text=True,
            check=False,
            **as_whom,  # type: ignore[call-overload]
        )
    except OSError:
        return False
    if probe.returncode != 0:
        return False
    found = tuple(int(part) for part in probe.stdout.split("."))
    return found >= bootstrap.PYTHON_FLOOR
