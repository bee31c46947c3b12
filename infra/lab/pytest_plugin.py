"""The `running_lab` fixture: a week's own topology on free ports in a temporary directory."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from infra.lab.engines.base import Event
from infra.lab.engines.local.engine import LocalEngine
from infra.lab.engines.local.ports import free_ports
from infra.lab.owner import this_process
from infra.lab.topology import Topology, port_variable
from infra.lab.wiring import local_engine

LabFactory = Callable[[Topology], LocalEngine]


def isolated(topology: Topology, root: Path) -> LocalEngine:
    """An engine of its own: free ports, state in `root`, ended with this process."""
    names = topology.ports({})
    chosen = zip(names, free_ports(len(names)), strict=True)
    environ = {port_variable(name): str(port) for name, port in chosen}
    return local_engine(topology, root, environ, owner=this_process())


@pytest.fixture(scope="session")
def running_lab() -> Iterator[LabFactory]:
    """Call it with a topology: the engine of a running instance, shared by the whole session.

    Everything is stopped and its folder removed at the end, also when tests failed. A test that
    kills services must leave them running again.
    """
    engines: list[tuple[Topology, LocalEngine]] = []

    def start(topology: Topology) -> LocalEngine:
        for running, engine in engines:
            if running is topology:  # two topologies may name the same week
                return engine
        # Not pytest's own temporary directory: PostgreSQL, under another user when we are root,
        # must be able to enter it.
        root = Path(tempfile.mkdtemp(prefix=f"lab-{topology.week}-"))
        ends.callback(shutil.rmtree, root)
        root.chmod(0o755)
        engine = isolated(topology, root)
        ends.callback(anyio.run, engine.down, _ignore)
        anyio.run(engine.up, _ignore)
        engines.append((topology, engine))  # one that failed is tried again, not handed out
        return engine

    with contextlib.ExitStack() as ends:  # one that does not stop keeps no other from it
        yield start


def _ignore(event: Event) -> None:
    """Progress is for people."""
