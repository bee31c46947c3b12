"""One instance on disk: its ports, its secrets, and the lock of whoever works on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio

from infra.lab.errors import LabError
from infra.lab.site import make_dir
from infra.lab.topology import Topology, is_port

SECRET_BYTES = 24
LOCK_POLL_S = 0.1
PRIVATE = 0o600


def load_ports(root: Path, topology: Topology) -> dict[str, int] | None:
    """Ports of the last `up`; None when there was none or its record cannot be understood.

    The record can be made again from the topology, so a damaged one is no reason to stop.
    """
    try:
        record = json.loads((root / "instance.json").read_text())
        ports = {str(name): int(port) for name, port in record["ports"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    sound = len(set(ports.values())) == len(ports) and all(map(is_port, ports.values()))
    return ports if sound and ports.keys() == topology.ports({}).keys() else None


def save_ports(root: Path, topology: Topology, ports: Mapping[str, int]) -> None:
    record = {"week": topology.week, "ports": dict(ports)}
    _write(root / "instance.json", json.dumps(record, indent=2) + "\n", 0o644)


def kept_secrets(root: Path) -> dict[str, str]:
    """The instance's random strings as far as they can be read; creates nothing."""
    try:
        return _read_secrets(root / "secrets.json")
    except (OSError, ValueError):
        return {}


def make_secrets(root: Path, names: tuple[str, ...], clean: str) -> None:
    """Make the random strings that the instance lacks.

    Raises LabError when the file is damaged: what was made with it (passwords in a data
    directory) cannot be made again, so only its owner may decide.
    """
    path = root / "secrets.json"
    kept: dict[str, str] = {}
    if path.exists():
        try:
            kept = _read_secrets(path)
        except ValueError as error:
            raise LabError(
                f"{path} is damaged: restore it, or erase the week's data with `{clean}`"
            ) from error
    missing = [name for name in names if name not in kept]
    if missing:
        kept |= {name: secrets.token_urlsafe(SECRET_BYTES) for name in missing}
        _write(path, json.dumps(kept, indent=2) + "\n", PRIVATE)


def _read_secrets(path: Path) -> dict[str, str]:
    """Raises ValueError for what is no object of strings, each saying something."""
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise ValueError("no object")
    if not all(isinstance(value, str) and value for value in found.values()):
        raise ValueError("a value is no string, or empty")
    return found


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all: the old file stays until the new one is complete."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


@contextlib.asynccontextmanager
async def exclusive(root: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the instance against other `lab` commands; `on_wait` is told once if one is at work."""
    make_dir(root)
    told = False
    while (lock := _try_lock(root)) is None:
        if not told:
            on_wait()
            told = True
        await anyio.sleep(LOCK_POLL_S)
        make_dir(root)
    try:
        yield
    finally:
        os.close(lock)


def erase(root: Path) -> None:
    """Remove the instance's folder. Raises LabError while another command works on it."""
    lock = _try_lock(root)
    if lock is None:
        raise LabError(f"another lab command works in {root}: wait until it is done")
    try:
        shutil.rmtree(root)
    finally:
        os.close(lock)


def _try_lock(root: Path) -> int | None:
    """The descriptor that holds the lock, None while somebody else does."""
    path = root / "lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Erased while we waited: whoever comes next would lock another file of that name.
        if os.path.samestat(os.fstat(lock), path.stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None
