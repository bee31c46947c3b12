"""`docker inspect` in rows of `status`."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.lab.engines.base import State
from infra.lab.engines.compose import containers
from infra.lab.engines.compose.containers import parse, process_of, row, state_of
from infra.lab.engines.compose.inside import ComposeSite
from infra.lab.errors import LabError
from infra.lab.servers.python import PythonProcess
from infra.lab.servers.valkey import Valkey

CACHE = Valkey(name="cache", port=0)


def inspected(status: str = "running", exit_code: int = 0, **changed: Any) -> dict[str, Any]:
    """As Docker 20.10 tells of a container, of which most is left out."""
    state = {"Status": status, "ExitCode": exit_code, "Error": "", "Pid": 0}
    return {
        "Id": "e80b2c86681f",
        "Name": "/week98-abc-cache-1",
        "RestartCount": 2,
        "State": {**state, "StartedAt": "2026-11-21T23:52:45.470174838Z"},
        "HostConfig": {"Init": True},
        "Config": {
            "Image": "valkey/valkey:9.1.2",
            "Env": ["PATH=/bin", "EMPTY="],
            "Labels": {"com.docker.compose.service": "cache"},
        },
        **changed,
    }


def site(tmp_path: Path) -> ComposeSite:
    return ComposeSite(
        week="week98",
        clone=tmp_path,
        home=tmp_path,
        root=tmp_path,
        ports={"cache": 21100},
        secrets={},
        account=None,
    )


def test_what_is_read_of_a_container() -> None:
    found = parse(inspected())
    assert (found.name, found.service, found.restarts) == ("week98-abc-cache-1", "cache", 2)
    assert found.started_at == datetime(2026, 11, 21, 23, 52, 45, 470174, tzinfo=UTC)
    assert found.environment == {"PATH": "/bin", "EMPTY": ""}
    assert found.first_is_init and found.lives


def test_what_is_no_container_is_refused_in_one_line() -> None:
    with pytest.raises(LabError, match="without its 'Config': update Docker"):
        parse({"State": {}})


@pytest.mark.parametrize(
    ("status", "exit_code", "one_shot", "state"),
    [
        ("running", 0, False, State.RUNNING),
        ("paused", 0, False, State.PAUSED),
        ("restarting", 137, False, State.RESTARTING),
        ("exited", 137, False, State.STOPPED),
        ("exited", 0, True, State.DONE),
        ("exited", 1, True, State.FAILED),
        ("created", 0, True, State.STOPPED),
        ("dead", 0, False, State.FAILED),
        ("something new", 0, False, State.FAILED),
    ],
)
def test_states(status: str, exit_code: int, one_shot: bool, state: State) -> None:
    assert state_of(parse(inspected(status, exit_code)), one_shot) is state
    assert state_of(None, one_shot) is State.STOPPED


def test_a_row_without_a_container_or_without_a_process(tmp_path: Path) -> None:
    here = site(tmp_path)
    assert row(CACHE, here, None).state is State.STOPPED
    dead = row(CACHE, here, parse(inspected("exited", 137)))
    assert (dead.state, dead.pid, dead.uptime_s) == (State.STOPPED, None, None)
    alive = row(CACHE, here, parse(inspected()))
    assert (alive.version, alive.address, alive.restarts) == ("9.1.2", "127.0.0.1:21100", 2)
    assert alive.pid is None and alive.uptime_s is not None


def test_pythons_version_is_its_own_and_not_the_images_tag() -> None:
    ours = PythonProcess(name="api", port=0, arguments=lambda _: (), environment=lambda _: {})
    config = {"Image": "scaling-lab/week04:local", "Env": ["PYTHON_VERSION=3.13.5"], "Labels": {}}
    assert containers.version_of(ours, parse(inspected(Config=config))) == "3.13.5"
    assert containers.version_of(ours, parse(inspected(Config={**config, "Env": []}))) == ""


@pytest.mark.parametrize(
    ("line", "folder", "used", "droppable"),
    [
        ("4:memory:/docker/e80", "memory/docker/e80", "memory.usage_in_bytes", "total_inactive_"),
        ("0::/system.slice/e80", "system.slice/e80", "memory.current", "inactive_"),
    ],
)
def test_memory_by_the_control_group(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    folder: str,
    used: str,
    droppable: str,
) -> None:
    monkeypatch.setattr(containers, "NAMESPACE_DIR", tmp_path)
    monkeypatch.setattr(containers, "GROUPS_DIR", tmp_path / "groups")
    container = parse(inspected(State={**inspected()["State"], "Pid": 77}))
    assert containers.charged_bytes(container) is None
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cgroup").write_text(f"3:cpu:/docker/e80\n{line}\n")
    group = tmp_path / "groups" / folder
    group.mkdir(parents=True)
    (group / used).write_text("5000\n")
    (group / "memory.stat").write_text(f"cache 9\n{droppable}file 2000\n")
    assert containers.charged_bytes(container) == 3000


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_number_that_docker_tells_is_believed_of_its_own_container_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Docker Desktop the number is of another machine, and here anybody's: never to be killed"""
    state = {**inspected()["State"], "Pid": os.getpid()}
    container = parse(inspected(State=state, HostConfig={"Init": False}))
    assert process_of(container) is None
    groups = tmp_path / str(os.getpid()) / "cgroup"
    groups.parent.mkdir()
    groups.write_text(f"0::/system.slice/docker-{container.id}.scope\n")
    monkeypatch.setattr(containers, "NAMESPACE_DIR", tmp_path)
    found = process_of(container)
    assert found is not None and found.pid == os.getpid()
