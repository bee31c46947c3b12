"""Instances on free ports in folders of their own, and the proof that nothing of them stays."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import asyncpg
import psutil
import pytest

from infra.lab.engines.base import ServiceStatus
from infra.lab.engines.local.engine import LocalEngine
from infra.lab.engines.local.supervision import Supervision
from infra.lab.owner import this_process
from infra.lab.pytest_plugin import own_environment
from infra.lab.site import Site
from infra.lab.tests.sample import WEEKS
from infra.lab.topology import Topology, port_variable
from infra.lab.wiring import local_engine

DEADLINE_S = 60.0
POLL_S = 0.05

Make = Callable[..., LocalEngine]


def eventually(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until `condition()` is true; fail naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(POLL_S)


def up(engine: LocalEngine) -> None:
    anyio.run(engine.up)


def down(engine: LocalEngine) -> None:
    anyio.run(engine.down)


def row(engine: LocalEngine, name: str) -> ServiceStatus:
    """The service's line of `status`."""
    return next(row for row in engine.status() if row.name == name)


def pid_of(engine: LocalEngine, name: str) -> int:
    """The pid of a service that runs."""
    pid = row(engine, name).pid
    assert pid is not None, f"{name} does not run"
    return pid


def answers(site: Site, name: str, path: str = "/health/ready") -> int | None:
    """HTTP status of a GET, None when nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", site.ports[name], timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def query(site: Site, statement: str) -> object:
    """The first value that PostgreSQL answers."""

    async def main() -> object:
        connection = await asyncpg.connect(
            f"postgresql://sample:{site.secrets['sample_password']}@{site.address('db')}/sample",
            ssl=False,
        )
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return anyio.run(main)


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; who must collect it may take his time."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def works_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return Path(process.cwd()).is_relative_to(folder.resolve())
    return False


def processes_in(folder: Path) -> list[psutil.Process]:
    """What works inside `folder` now: services, their supervisor, leftovers."""
    return [process for process in psutil.process_iter() if works_in(process, folder)]


def supervisor_of(engine: LocalEngine) -> psutil.Process:
    """The instance's supervisord."""
    found = [
        process
        for process in processes_in(engine.site.root / "supervisor")
        if "supervisor.supervisord" in process.cmdline()
    ]
    # A child that supervisord has just forked looks like it until it becomes its service.
    first = [process for process in found if process.ppid() not in {other.pid for other in found}]
    assert len(first) == 1, found
    return first[0]


def socket_dir(engine: LocalEngine) -> Path:
    return Supervision(engine.site)._socket().parent


class Client:
    """A `lab` command in a process of its own, to be interrupted or killed."""

    def __init__(self, engine: LocalEngine, week: str, verb: str) -> None:
        ports = {port_variable(name): str(port) for name, port in engine.site.ports.items()}
        module = "infra.lab.tests.client"
        words = (week, verb, str(engine.site.root), this_process(), json.dumps(ports))
        assert WEEKS[week]().names == tuple(status.name for status in engine.status())
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def wait_for(self, text: str) -> None:
        """Read until a line contains `text`; fail when the client ends before that."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} never came: {self.lines}")

    def finish(self, timeout_s: float = DEADLINE_S) -> int:
        """Its exit status; the rest of what it says goes to `lines`."""
        said, _ = self.process.communicate(timeout=timeout_s)
        self.lines += said.splitlines(keepends=True)
        assert "Traceback" not in "".join(self.lines), "".join(self.lines)
        return self.process.returncode


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers' user can enter; afterwards nothing may work in it."""
    path = Path(tempfile.mkdtemp(prefix="lab-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        left = processes_in(path)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=DEADLINE_S)
        shutil.rmtree(path)
    assert left == [], "left behind"


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Call it with a topology (and a name for its root): an engine that nobody has started."""
    engines: list[LocalEngine] = []

    def engine(topology: Topology, name: str = "root") -> LocalEngine:
        environment = own_environment(topology)
        engines.append(local_engine(topology, folder / name, environment, this_process()))
        return engines[-1]

    yield engine
    for made in engines:
        if made.site.root.exists():
            down(made)
        assert not socket_dir(made).exists()


@pytest.fixture
def client() -> Iterator[Callable[[LocalEngine, str, str], Client]]:
    """Call it with an engine, the name of its week and a verb: a Client that runs it."""
    clients: list[Client] = []

    def start(engine: LocalEngine, week: str, verb: str) -> Client:
        clients.append(Client(engine, week, verb))
        return clients[-1]

    yield start
    for made in clients:
        made.process.kill()
        made.process.communicate()
