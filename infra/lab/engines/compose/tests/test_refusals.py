"""What cannot be done is one line, and nothing of it stays; leftovers and addresses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from infra.lab.engines.compose import leftovers, messages, networks
from infra.lab.engines.compose.engine import ComposeEngine
from infra.lab.engines.compose.project import FILE
from infra.lab.engines.compose.tests.conftest import DIRECT, engine_of
from infra.lab.errors import LabError, MissingServerError, UsageError
from infra.lab.owner import this_process

VERBS: tuple[Callable[[ComposeEngine], object], ...] = (
    lambda engine: anyio.run(engine.up),
    lambda engine: engine.status(),
)


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that is alone on PATH; a test writes what it does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder / "docker"


def says(docker: Path, text: str, status: int = 1) -> None:
    docker.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit {status}\n")
    docker.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", messages.NO_DAEMON),
        ("permission denied while trying to connect to the Docker daemon", messages.NOT_ALLOWED),
        ("docker: unknown command: docker compose", messages.NO_PLUGIN),
    ],
)
def test_a_docker_that_does_not_serve_is_one_line(
    fake_docker: Path, tmp_path: Path, text: str, told: str
) -> None:
    says(fake_docker, text)
    for verb in VERBS:
        with pytest.raises(LabError) as error:
            verb(engine_of(DIRECT, tmp_path / "root"))
        assert str(error.value) == told


def test_no_docker_at_all_is_one_line(fake_docker: Path, tmp_path: Path) -> None:
    for verb in VERBS:
        with pytest.raises(MissingServerError) as error:
            verb(engine_of(DIRECT, tmp_path / "root"))
        assert str(error.value) == messages.NO_DOCKER


def test_a_subnet_is_three_numbers_of_a_private_network() -> None:
    assert networks.parse("172.31.84") == "172.31.84"
    for wrong in ("", "172.31", "172.31.84.0", "172.31.300", "8.8.8", "a.b.c", "172.31.84.0/24"):
        with pytest.raises(UsageError, match="give the first three numbers"):
            networks.parse(wrong)


def test_an_instance_gets_addresses_that_nobody_has() -> None:
    taken = [f"172.31.{number}.0/24" for number in networks.TRIED if number != 133]
    assert networks.choose([*taken, "fd00::/64", "10.0.0.0/8"]) == "172.31.133"
    with pytest.raises(LabError, match="no addresses are free"):
        networks.choose(["172.31.0.0/16"])
    assert len({networks.choose([], seed) for seed in range(20)}) > 5  # two at once seldom meet


def test_only_what_dead_owners_left_is_a_leftover() -> None:
    alive, dead = this_process(), "1:1.00"
    lines = [f"{alive} ours", f"{dead} theirs", f"{dead} theirs", "nonsense other", "", " "]
    assert leftovers.dead_projects(lines) == ["theirs"]


def test_a_week_without_a_compose_file_says_where_it_runs(
    fake_docker: Path, tmp_path: Path
) -> None:
    says(fake_docker, "", status=0)
    engine = engine_of(DIRECT, tmp_path / "root", tmp_path)
    with pytest.raises(LabError, match=f"week98 has no {FILE}: it runs on ENGINE=local"):
        anyio.run(engine.up)


def test_a_user_with_a_wrong_subnet_is_told_before_anything_is_made(
    fake_docker: Path, tmp_path: Path
) -> None:
    says(fake_docker, "", status=0)
    with pytest.raises(UsageError, match=r"SUBNET=1\.2 is no subnet"):
        anyio.run(engine_of(DIRECT, tmp_path / "root", SUBNET="1.2").up)
