"""Disk full: a small file system that is really full (root), or a quota of a process's own.

As root, `small_disk` mounts a tmpfs where a service keeps its files and `full` fills it: writes
fail with ENOSPC, for every process, until room is made. Without root, `quota` sets a running
process's RLIMIT_FSIZE (getrlimit(2)). That is an honest equivalent, not the same: the error is
EFBIG instead of ENOSPC, it concerns this one process, and only bytes beyond the limit of a file,
so what is there can still be overwritten, and fsync still works.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from infra.lab.errors import LabError, MissingServerError
from infra.lab.faults.guard import guarded
from infra.lab.faults.probes import FaultError
from infra.lab.owner import Owner
from infra.lab.site import Account

SOURCE = "scaling-lab-disk"
"""Stands in the mount table, so that a leftover is known as ours."""
BALLAST = ".lab-ballast"
PROBE = ".lab-probe"
PIECES_BYTES = (1024 * 1024, 64 * 1024, 4096)
TOOL_TIMEOUT_S = 15.0


# ---- As root: a file system of its own


def can_mount() -> bool:
    """Whether `small_disk` works here."""
    return sys.platform == "linux" and os.geteuid() == 0


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int, account: Account | None = None) -> Iterator[Path]:
    """A tmpfs of `size_bytes` at `folder`, gone at the end with all that is in it.

    Args:
        folder: empty; made if absent. A leftover of a killed test is removed first.
        account: owns it, where a service runs as that user.

    Raises LabError for a folder with files, and where this user may not mount.
    """
    if not can_mount():
        raise LabError("a small disk needs Linux and root: use a quota, or run as root")
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    unmount(str(folder))
    if any(folder.iterdir()):
        raise LabError(f"{folder} has files, which a mount would hide: take an empty folder")
    owner = f",uid={account.uid},gid={account.gid}" if account else ""
    options = f"size={size_bytes},mode=755{owner}"
    with guarded("unmount", str(folder)):
        try:
            _tool("mount", "-t", "tmpfs", "-o", options, SOURCE, str(folder))
            yield folder
        finally:
            unmount(str(folder))


@contextlib.contextmanager
def full(folder: Path) -> Iterator[str]:
    """Fill the file system of `folder`; yields the proof, makes room again in any case.

    Bytes that a file has left in its last page can still be written (up to 4095 in a tmpfs).
    Only for a `small_disk`: raises LabError for any other, and FaultError if a write still
    works, or does not work again.
    """
    folder = folder.resolve()
    if _mounted(folder) != SOURCE:
        raise LabError(f"{folder} is no small disk: nobody fills a real one")
    remove_ballast(str(folder))
    _expect(folder, 0, "is full before it was filled")
    with guarded("remove-ballast", str(folder)):
        try:
            size_bytes = _fill(folder / BALLAST)
            _expect(folder, errno.ENOSPC, "did not fill up")
            yield f"{size_bytes} bytes of ballast; the next write: {os.strerror(errno.ENOSPC)}"
        finally:
            remove_ballast(str(folder))
            _expect(folder, 0, "is still full")


def unmount(folder: str) -> None:
    """Take away our mount (and one below it); leaves every other alone."""
    while _mounted(Path(folder)) == SOURCE:
        try:
            _tool("umount", folder)
        except LabError:  # somebody still works in it: gone from the tree now, freed when they end
            _tool("umount", "--lazy", folder)


def remove_ballast(folder: str) -> None:
    (Path(folder) / BALLAST).unlink(missing_ok=True)
    (Path(folder) / PROBE).unlink(missing_ok=True)


def _fill(ballast: Path) -> int:
    written = 0
    with ballast.open("wb", buffering=0) as file:
        for piece in PIECES_BYTES:
            with contextlib.suppress(OSError):
                while True:
                    written += file.write(bytes(piece))
    return written


def _expect(folder: Path, code: int, otherwise: str) -> None:
    """Raises FaultError unless writing a page to a new file ends with `code` (0: works)."""
    probe = folder / PROBE
    found = 0
    try:
        with probe.open("wb", buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        found = error.errno or -1
    finally:
        probe.unlink(missing_ok=True)
    if found != code:
        raise FaultError(f"{folder} {otherwise}: a write gives {_words(found)}")


def _mounted(folder: Path) -> str:
    """Source of what is mounted at `folder`, "" for nothing (proc(5), mountinfo)."""
    if not Path("/proc/self/mountinfo").exists():
        return ""
    found = ""
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape").encode("latin-1").decode()
        if point == str(folder):
            found = right.split()[1]  # the last one covers those before
    return found


def _tool(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise MissingServerError(
            f"{command[0]} is not installed: install the package mount"
        ) from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


# ---- Without root: a quota of the process's own


@contextlib.contextmanager
def quota(pid: int, file_bytes: int) -> Iterator[str]:
    """No file grows beyond `file_bytes` by the hand of process `pid`; yields the proof.

    Args:
        pid: of this user, running; a process it starts later inherits the limit.
        file_bytes: 0 for not one byte more to any file.

    Raises:
        LabError: no such process, not this user's, or a system without prlimit(2).
        FaultError: the process would be killed by SIGXFSZ instead of being told.
    """
    if sys.platform != "linux":
        raise LabError("a quota of a running process needs Linux")
    process = _process(pid)
    if not _survives_xfsz(pid):
        raise FaultError(f"process {pid} would be killed by SIGXFSZ: it does not ignore it")
    owner = f"{pid}:{process.create_time():.2f}"
    before, hard = process.rlimit(psutil.RLIMIT_FSIZE)
    with guarded("lift-quota", owner, str(before)):
        try:
            process.rlimit(psutil.RLIMIT_FSIZE, (file_bytes, hard))
            _expect_limit(process, file_bytes, "was not taken")
            yield f"process {pid} writes no file beyond {file_bytes} bytes: {_twin(file_bytes)}"
        finally:
            lift_quota(owner, str(before))
            _expect_limit(process, before, "was not lifted")


def lift_quota(owner: str, before: str) -> None:
    """The limit as it was; fine when the process is gone, or its number is another's now."""
    if Owner(owner).lives():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(owner.partition(":")[0]))
            _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (int(before), hard))


def _process(pid: int) -> psutil.Process:
    try:
        process = psutil.Process(pid)
        process.rlimit(psutil.RLIMIT_FSIZE)
    except psutil.NoSuchProcess as error:
        raise LabError(f"there is no process {pid}: start the service first") from error
    except psutil.AccessDenied as error:
        raise LabError(f"process {pid} is another user's: run as that user, or as root") from error
    return process


def _survives_xfsz(pid: int) -> bool:
    """Whether it ignores or handles the signal (proc(5), SigIgn and SigCgt)."""
    bit = 1 << (signal.SIGXFSZ - 1)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [line.split()[1] for line in lines if line.startswith(("SigIgn:", "SigCgt:"))]
    return any(int(mask, 16) & bit for mask in masks)


def _expect_limit(process: psutil.Process, wanted: int, otherwise: str) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # with it the limit is gone
        found, _ = process.rlimit(psutil.RLIMIT_FSIZE)
        if found != wanted:
            raise FaultError(f"the quota of process {process.pid} {otherwise}: it is {found}")


_TWIN = """
import resource, sys, tempfile
limit = int(sys.argv[1])
with tempfile.TemporaryFile(buffering=0) as file:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    file.seek(limit)
    try:
        file.write(b"x")
    except OSError as error:
        print(error.strerror)
"""


def _twin(file_bytes: int) -> str:
    """What a process of ours with the same limit is told. Raises FaultError if it may write."""
    done = subprocess.run(
        [sys.executable, "-c", _TWIN, str(file_bytes)],
        capture_output=True,
        text=True,
        timeout=TOOL_TIMEOUT_S,
        check=False,
    )
    if done.stdout.strip() != os.strerror(errno.EFBIG):
        raise FaultError(f"a quota does nothing here: {done.stdout.strip() or done.stderr[-200:]}")
    return done.stdout.strip()


def _words(code: int) -> str:
    return os.strerror(code) if code else "no error"
