"""A disk that is really full (root), a quota (anybody); proofs; the way back in any case."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.lab.errors import LabError
from infra.lab.faults import disk
from infra.lab.faults.probes import FaultError
from infra.lab.faults.tests import peers

pytestmark = pytest.mark.integration
SIZE_BYTES = 256 * 1024

root_only = pytest.mark.skipif(not disk.can_mount(), reason="mounting needs Linux and root")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) is Linux's")


def is_mounted(folder: Path) -> bool:
    return folder.is_mount()


def can_write(folder: Path) -> bool:
    try:
        (folder / "data").write_bytes(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return False
    finally:
        (folder / "data").unlink(missing_ok=True)
    return True


@root_only
def test_a_full_disk_is_proven_and_gets_room_again(tmp_path: Path) -> None:
    with disk.small_disk(tmp_path / "a disk", SIZE_BYTES) as folder:
        assert can_write(folder)
        with disk.full(folder) as proof:
            assert "No space left on device" in proof
            assert not can_write(folder)
        assert can_write(folder)
        assert list(folder.iterdir()) == []
    assert not is_mounted(tmp_path / "a disk")


@root_only
def test_a_disk_goes_although_somebody_works_in_it(tmp_path: Path) -> None:
    with disk.small_disk(tmp_path / "disk", SIZE_BYTES) as folder:
        opened = (folder / "data").open("wb")
    assert not is_mounted(tmp_path / "disk")
    opened.close()


@root_only
def test_a_disk_goes_when_its_test_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with peers.killed_holder("disk", str(folder)):
        assert not can_write(folder)
    peers.wait_until(lambda: not is_mounted(folder))


@root_only
def test_a_leftover_is_removed_by_the_next_use(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", disk.SOURCE, str(folder)]
    for _ in range(2):
        subprocess.run(mount, check=True)
    (folder / disk.BALLAST).write_bytes(bytes(1000))
    with disk.small_disk(folder, SIZE_BYTES):
        assert can_write(folder)
    assert not is_mounted(folder)


@root_only
def test_files_are_not_hidden_and_other_mounts_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(LabError, match="has files"), disk.small_disk(tmp_path, SIZE_BYTES):
        pytest.fail("it would have hidden them")
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "another", other], check=True)
    try:
        disk.unmount(str(other))
        assert is_mounted(other)
    finally:
        subprocess.run(["umount", other], check=True)


def test_a_real_disk_is_never_filled(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no small disk"), disk.full(tmp_path):
        pytest.fail("it was filled")
    assert list(tmp_path.iterdir()) == []


_WRITER = """
import sys
with open(sys.argv[1], "ab", buffering=0) as file:
    print("ready", flush=True)
    for _ in sys.stdin:
        try:
            file.write(b"x" * 100)
            print("wrote", flush=True)
        except OSError as error:
            print(error.strerror, flush=True)
"""


class Writer:
    """Another process that appends to a file when told to."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def write(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """It ends with the test."""
    running = Writer(tmp_path / "log")
    yield running
    running.process.kill()
    running.process.communicate()


@linux_only
def test_a_quota_is_proven_lands_in_the_process_and_goes(writer: Writer) -> None:
    assert writer.write() == "wrote"
    with disk.quota(writer.process.pid, 100) as proof:
        assert "File too large" in proof
        assert writer.write() == "File too large"
    assert writer.write() == "wrote"


@linux_only
def test_a_quota_goes_when_its_test_is_killed(writer: Writer) -> None:
    with peers.killed_holder("quota", str(writer.process.pid)):
        assert writer.write() == "File too large"
    peers.wait_until(lambda: writer.write() == "wrote")


@linux_only
def test_a_process_that_the_signal_would_kill_gets_no_quota() -> None:
    with subprocess.Popen(["sleep", "60"], restore_signals=True) as process:
        try:
            with pytest.raises(FaultError, match="SIGXFSZ"), disk.quota(process.pid, 0):
                pytest.fail("it would have died")
        finally:
            process.kill()


@linux_only
def test_a_dead_process_is_told() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert not psutil.pid_exists(process.pid)
    with pytest.raises(LabError, match="no process"), disk.quota(process.pid, 0):
        pytest.fail("there is nobody")
