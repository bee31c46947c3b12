"""An engine on a small project of its own: a Valkey, and a fault proxy on the way to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from infra.bootstrap import clone_root, lab_home, lab_user
from infra.lab.engines.compose.engine import ComposeEngine
from infra.lab.engines.compose.project import ComposeSettings
from infra.lab.engines.local.ports import free_ports
from infra.lab.faults import questions
from infra.lab.faults.server import ProxiedLink, fault_proxy
from infra.lab.owner import this_process
from infra.lab.pytest_plugin import own_environment
from infra.lab.servers.valkey import Valkey
from infra.lab.site import Account
from infra.lab.topology import Topology

PROJECT = Path(__file__).with_name("project")
PROXY = fault_proxy("faults", 1, (ProxiedLink("cache", 2, questions.valkey()),))
DIRECT = Topology(
    week="week98",
    title="something to break",
    base_port=21100,
    faults=PROXY,
    servers=(Valkey(name="cache", port=0),),
)
THROUGH = DIRECT.with_faults()


def why_not() -> str:
    """Why containers cannot run here; "" where they can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    done = subprocess.run(
        ["docker", "compose", "version"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return "Docker has no Compose plugin"
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else "Docker's daemon does not answer this user"


@pytest.fixture(scope="session")
def docker_here() -> None:
    """Skip, and say why, where there is no Docker to try."""
    if why := why_not():
        pytest.skip(why)


@pytest.fixture
def spare_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port that the project's proxy opens for a link that a test makes."""
    [port] = free_ports(1)
    monkeypatch.setenv("PORT_SPARE", str(port))
    return port


def engine_of(
    topology: Topology, root: Path, folder: Path = PROJECT, **environ: str
) -> ComposeEngine:
    """On free ports; removed with what `root`'s fixture removes."""
    user = lab_user()
    return ComposeEngine(
        topology,
        ComposeSettings(
            clone=clone_root(),
            home=lab_home(),
            root=root,
            folder=folder,
            images_of="week04",
            account=Account.named(user) if user else None,
            environ={**own_environment(topology), "OFFLINE": "1", **environ},
            owner=this_process(),
        ),
    )


@pytest.fixture(scope="session")
def base_folder() -> Iterator[Path]:
    """For instances; open to the lab account, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="lab-compose-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def engine(docker_here: None, base_folder: Path) -> Iterator[ComposeEngine]:
    """Up, with its link led through the proxy."""
    [spare] = free_ports(1)
    os.environ["PORT_SPARE"] = str(spare)
    made = engine_of(THROUGH, base_folder / "through")
    try:
        anyio.run(made.up)
        yield made
    finally:
        del os.environ["PORT_SPARE"]
        anyio.run(made.down)
        made.clean()
