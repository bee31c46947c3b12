"""Building the environment: what is left when it is stopped, and what the user is told."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import bootstrap, environment
from infra.bootstrap import BootstrapError
from infra.installer import Installer, Workshop, child, explain

# What pip 23.0 printed when these things were done to it.
PIP_SAID = {
    "No space left on device": (
        "Installing collected packages: x\n"
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    ),
    "not the one the lock names": (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have"
    ),
    "cannot be reached": (
        "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by"
        " 'NewConnectionError('<Connection object>: Failed to establish a new connection:"
        " [Errno 111] Connection refused')': /simple/anyio/\n"
        "ERROR: No matching distribution found for anyio==4.16.0"
    ),
    "proxy": (
        "WARNING: Retrying after connection broken by 'ProxyError('Cannot connect to proxy.',"
        " NewConnectionError('[Errno 111] Connection refused'))': /simple/anyio/"
    ),
    "certificate": (
        "Could not fetch URL: There was a problem confirming the ssl certificate: (Caused by"
        " SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self-signed')))"
    ),
    "no wheel of psutil==0.1.1": (
        "ERROR: Could not find a version that satisfies the requirement psutil==0.1.1\n"
        "ERROR: No matching distribution found for psutil==0.1.1"
    ),
    "no permission to write /srv/x": (
        "ERROR: Could not install packages due to an OSError:"
        " [Errno 13] Permission denied: '/srv/x'"
    ),
    "Could not find a suitable TLS CA": (
        "ERROR: Could not install packages due to an OSError: Could not find a suitable TLS CA"
        " certificate bundle, invalid path: /nonexistent"
    ),
}


@pytest.mark.parametrize("expected", PIP_SAID)
def test_a_failure_of_pip_is_explained_in_one_line(expected: str) -> None:
    line = explain(PIP_SAID[expected])
    told = "the disk is full" if expected.startswith("No space") else expected
    assert told in line and "\n" not in line


def test_unknown_failures_show_the_last_thing_pip_said() -> None:
    assert explain("Usage: pip\nno such option: --frobnicate") == "no such option: --frobnicate"
    assert explain("") == "pip failed"


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    with (tmp_path / "log").open("wb") as log, (tmp_path / "lock").open("wb") as lock:
        yield Workshop(log, lock.fileno(), {"PATH": os.environ["PATH"]})


def _fake_python(tmp_path: Path, script: str) -> Path:
    """A program that plays `python -m pip install ...`."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_packages_are_counted_without_those_for_other_platforms(
    tmp_path: Path, workshop: Workshop
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1 \\\n    --hash=sha256:0\nb==1 ; sys_platform == 'win32'\nc==1\n")
    said = "Ignoring b: markers\nCollecting a==1\nRequirement already satisfied: c==1"
    installer = Installer(_fake_python(tmp_path, f"echo '{said}'"), workshop)
    assert installer.install_lock(lock) == 2
    assert not installer.has_touched_packages
    assert (tmp_path / "log").read_text() == said + "\n"


def test_pip_is_told_to_check_every_hash_and_build_nothing(
    tmp_path: Path, workshop: Workshop
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1\n")
    Installer(_fake_python(tmp_path, 'echo "$@"'), workshop).install_lock(lock)
    said = (tmp_path / "log").read_text()
    assert f"--require-hashes --only-binary :all: -r {lock}" in said


def test_it_knows_when_stopping_leaves_something_half_done(
    tmp_path: Path, workshop: Workshop
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1\n")
    script = "echo 'Installing collected packages: a'; echo 'ERROR: went wrong'; exit 1"
    installer = Installer(_fake_python(tmp_path, script), workshop)
    with pytest.raises(BootstrapError, match=r"^went wrong \(pip's output: .*log\)$"):
        installer.install_lock(lock)
    assert installer.has_touched_packages


def test_leaving_a_child_ends_all_it_started(workshop: Workshop) -> None:
    # The grandchild has the pipe too: it reads empty once nobody is left to write.
    script = "sleep 60 & echo started; wait"
    with pytest.raises(KeyboardInterrupt), child(["sh", "-c", script], workshop) as process:
        output = process.stdout
        assert output is not None
        assert output.readline() == b"started\n"
        raise KeyboardInterrupt
    assert output is not None
    assert output.read() == b""
    assert process.returncode is not None


class Stage:
    """A home in which nothing real is installed; `fail` makes the installation stop."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clone, self.home = root / "clone", root / "home"
        self.venv = self.home / "venv"
        self.made = 0
        self.fail: BaseException | None = None
        self.touched = False
        (self.clone / "locks").mkdir(parents=True)
        (self.clone / "pyproject.toml").touch()
        for name in ("lab", "week04"):
            (self.clone / "locks" / f"{name}.txt").write_text(name)
        stage = self

        class FakeInstaller(Installer):
            def install_lock(self, lock: Path) -> int:
                self.has_touched_packages = stage.touched
                if stage.fail is not None:
                    raise stage.fail
                return 1

            def install_project(self, clone: Path) -> None:
                (stage.venv / "bin" / "lab").touch(mode=0o755)

        monkeypatch.setattr(environment, "Installer", FakeInstaller)
        monkeypatch.setattr(environment, "_create_venv", self._create_venv)
        monkeypatch.setattr(bootstrap, "can_enter", lambda directory: True)

    def _create_venv(self, venv: Path, clone: Path, workshop: Workshop) -> None:
        self.made += 1
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin" / "python").unlink(missing_ok=True)
        (venv / "bin" / "python").symlink_to(sys.executable)
        (venv / "origin").write_text(environment._origin(venv, clone))
        bootstrap.dirty_path(venv).unlink(missing_ok=True)

    def build(self, lock: str = "week04") -> None:
        environment.build(lock, self.clone, self.home)

    def is_ready(self, lock: str = "week04") -> bool:
        return bootstrap.is_ready(lock, self.clone, self.venv)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def test_a_built_environment_is_ready_and_readable_whatever_the_umask(stage: Stage) -> None:
    umask = os.umask(0o077)
    try:
        stage.build()
        assert os.umask(0o077) == 0o077  # the caller's own is back
    finally:
        os.umask(umask)
    assert stage.is_ready()
    assert stage.home.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in stage.home.iterdir()) == [
        *("bootstrap.lock", "bootstrap.log", "venv")
    ]


def test_a_tool_that_comes_with_its_lock_is_not_joined_by_the_project(stage: Stage) -> None:
    (stage.clone / "locks" / "ansible.txt").write_text("ansible")
    environment.build("ansible", stage.clone, stage.home, "ansible-playbook")
    assert not (stage.venv / "bin" / "lab").exists()
    assert not bootstrap.is_ready("ansible", stage.clone, stage.venv, "ansible-playbook")
    (stage.venv / "bin" / "ansible-playbook").touch(mode=0o755)
    assert bootstrap.is_ready("ansible", stage.clone, stage.venv, "ansible-playbook")


@pytest.mark.parametrize("error", [BootstrapError("no network"), KeyboardInterrupt()])
def test_failing_to_download_does_not_cost_the_environment(
    stage: Stage, error: BaseException
) -> None:
    stage.build("lab")
    stage.fail = error
    with pytest.raises(type(error)):
        stage.build("week04")
    assert stage.is_ready("lab") and not stage.is_ready("week04")
    stage.fail = None
    stage.build("week04")
    assert stage.is_ready("week04") and stage.made == 1


def test_an_installation_cut_short_is_begun_again(stage: Stage) -> None:
    stage.build("lab")
    stage.fail, stage.touched = KeyboardInterrupt(), True
    with pytest.raises(KeyboardInterrupt):
        stage.build("week04")
    assert not stage.is_ready("lab")
    stage.fail = None
    stage.build("lab")
    assert stage.is_ready("lab") and stage.made == 2


def test_going_back_to_an_older_lock_installs_it_again(stage: Stage) -> None:
    lock = stage.clone / "locks" / "week04.txt"
    stage.build("week04")
    lock.write_text("newer")
    (stage.clone / "locks" / "lab.txt").write_text("newer too")
    stage.build("lab")
    lock.write_text("week04")
    assert not stage.is_ready("week04")


def test_termination_is_an_interruption(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr(environment, "_build_locked", terminated)
    with pytest.raises(KeyboardInterrupt):
        stage.build()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_second_run_waits_for_the_first(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.home.mkdir()
    with (stage.home / "bootstrap.lock").open("wb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        waits = threading.Event()

        def release() -> None:
            waits.wait(0.3)
            assert not stage.made
            fcntl.flock(first, fcntl.LOCK_UN)

        thread = threading.Thread(target=release)
        thread.start()
        stage.build()
        thread.join()
    assert stage.is_ready()
    assert "another run is building the environment" in capsys.readouterr().err


def test_a_place_the_server_user_cannot_enter_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bootstrap, "can_enter", lambda directory: False)
    with pytest.raises(BootstrapError, match="cannot enter"):
        stage.build()
    assert not stage.home.exists()


def test_a_missing_venv_module_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(environment, "VENV_PROBE", "import no_such_module_as_ensurepip")
    with pytest.raises(BootstrapError) as caught:
        environment._builder()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"python3-venv, or python{version}-venv" in str(caught.value)


def test_this_interpreter_can_build() -> None:
    probe = subprocess.run([sys.executable, "-c", environment.VENV_PROBE], check=False)
    assert environment._can_build(sys.executable) == (probe.returncode == 0)
    assert not environment._can_build("/nonexistent/python3")
