"""Instances of real containers: what is up, what is read, what stays, and what does not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import psutil
import pytest

from infra.lab.engines.base import State
from infra.lab.engines.compose import docker, leftovers
from infra.lab.engines.compose.containers import PROJECT_LABEL
from infra.lab.engines.compose.engine import ComposeEngine
from infra.lab.engines.compose.parts import LABEL_OWNER
from infra.lab.engines.compose.tests.conftest import DIRECT, PROJECT, THROUGH, engine_of
from infra.lab.errors import LabError

pytestmark = [pytest.mark.compose, pytest.mark.usefixtures("docker_here")]

DEADLINE_S = 60.0
POLL_S = 0.2

Make = Callable[..., ComposeEngine]


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(POLL_S)


def left(engine: ComposeEngine) -> list[str]:
    """Containers, networks and volumes of an instance."""
    label = f"label={PROJECT_LABEL}={engine.project}"
    kinds = (("container", "ls", "--all"), ("network", "ls"), ("volume", "ls"))
    return [
        line
        for kind in kinds
        for line in docker.ask("looking", *kind, "--quiet", "--filter", label).split()
    ]


@pytest.fixture
def make(base_folder: Path, tmp_path: Path) -> Iterator[Make]:
    """Call it for engines that nobody has started; nothing of them stays, which is asserted."""
    made: list[ComposeEngine] = []

    def engine(folder: Path = PROJECT, **environ: str) -> ComposeEngine:
        root = base_folder / f"{tmp_path.name}-{len(made)}"
        made.append(engine_of(DIRECT, root, folder, **environ))
        return made[-1]

    yield engine
    for one in made:
        anyio.run(one.down)
        one.clean()
        assert left(one) == []
        assert not one.site.root.exists()


def test_a_log_is_read_from_its_beginning_and_goes_on(engine: ComposeEngine) -> None:
    whole, later = engine.log("cache"), engine.log("cache")
    try:
        assert whole.exists()
        assert any("Ready to accept connections" in line for line in whole.new_lines())
        later.skip()
        lines: list[str] = []
        anyio.run(engine.crash, "cache")

        def has_come() -> bool:
            lines.extend(later.new_lines())
            return any("Ready to accept connections" in line for line in lines)

        eventually(has_come, "the second start is in the log, and read by who was there before")
        anyio.run(engine.start, ["cache"])
    finally:
        whole.close()
        later.close()


def test_what_is_read_was_not_read_before(engine: ComposeEngine) -> None:
    log = engine.log("cache")
    try:
        first = list(log.new_lines())
        assert first
        time.sleep(2)
        assert list(log.new_lines()) == []
    finally:
        log.close()


def test_the_process_that_is_told_is_the_servers_own(engine: ComposeEngine) -> None:
    [row] = [row for row in engine.status() if row.name == "cache"]
    if row.pid is None:
        pytest.skip("Docker runs on a machine of its own")
    assert "valkey-server" in psutil.Process(row.pid).cmdline()[0]
    assert row.memory_bytes is None or row.memory_bytes > 0
    assert (row.kind, row.version) == ("Valkey", "9.1.2")


def test_up_starts_what_was_stopped_and_leaves_alone_what_runs(engine: ComposeEngine) -> None:
    before = {row.name: row.pid for row in engine.status()}
    anyio.run(engine.stop, ["cache"])
    anyio.run(engine.up)
    after = {row.name: row.pid for row in engine.status()}
    assert after["faults"] == before["faults"]
    assert after["cache"] != before["cache"] or after["cache"] is None


def test_down_removes_containers_and_network_and_up_makes_them_again(make: Make) -> None:
    engine = make()
    for _ in range(2):
        anyio.run(engine.up)
        assert engine.is_up() and [row.state for row in engine.status()] == [State.RUNNING]
        anyio.run(engine.down)
        assert not engine.is_up() and left(engine) == []


def test_what_runs_is_not_quietly_changed(make: Make) -> None:
    engine = make()
    anyio.run(engine.up)
    other = engine_of(DIRECT, engine.site.root, SUBNET="172.31.95")
    moved = "week98 is up on other ports: `make week98 down` first"
    with pytest.raises(LabError, match=moved):  # its environment names ports of its own
        anyio.run(other.up)
    ports = {f"PORT_{name.upper()}": str(port) for name, port in engine.site.ports.items()}
    same_ports = engine_of(DIRECT, engine.site.root, PROJECT, **ports, SUBNET="172.31.95")
    with pytest.raises(LabError, match="week98 is up with other settings"):
        anyio.run(same_ports.up)
    assert [row.state for row in engine.status()] == [State.RUNNING]


def test_a_port_that_is_taken_is_named_and_nothing_stays(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        engine = make(PORT_CACHE=str(port))
        with pytest.raises(LabError, match=rf"port {port} \(cache\) is taken by"):
            anyio.run(engine.up)
    assert left(engine) == []


def test_a_server_that_ends_while_starting_tells_why(make: Make, tmp_path: Path) -> None:
    broken = tmp_path / "project"
    broken.mkdir()
    (broken / "compose.yaml").write_text(
        "services:\n"
        "  cache:\n"
        '    image: "scaling-lab/standin-valkey:9.1.2"\n'
        "    init: true\n"
        "    command: [valkey-server, --no-such-setting, x]\n"
        '    ports: ["127.0.0.1:${PORT_CACHE}:6379"]\n'
    )
    (broken / "compose.offline.yaml").write_text("services: {}\n")
    engine = make(folder=broken)
    with pytest.raises(LabError, match=r"cache ended while starting: .*whole log: docker logs"):
        anyio.run(engine.up)
    assert left(engine) == []


def test_what_a_killed_owner_leaves_is_removed_by_the_next(base_folder: Path) -> None:
    program = (
        "import anyio, sys, time\n"
        "from pathlib import Path\n"
        "from infra.lab.engines.compose.tests.conftest import DIRECT, engine_of\n"
        "engine = engine_of(DIRECT, Path(sys.argv[1]))\n"
        "anyio.run(engine.up)\n"
        "print(engine.project, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = base_folder / "killed"
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        project = owner.stdout.readline().strip()
        assert project.startswith("week98-")
        assert project not in leftovers.remove()  # it lives
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    assert project in leftovers.remove()
    engine = engine_of(DIRECT, root)
    assert left(engine) == [] and not engine.is_up()
    engine.clean()


def test_all_that_a_test_starts_bears_its_owner(engine: ComposeEngine) -> None:
    labels = {one.labels.get(LABEL_OWNER, "") for one in engine.containers().values()}
    assert len(labels) == 1 and labels.pop().startswith(f"{os.getpid()}:")
    assert set(engine.containers()) == set(THROUGH.names)
