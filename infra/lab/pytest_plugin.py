"""The `running_lab` fixture: a week's own topology on free ports in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import anyio
import pytest

from infra.lab import wiring
from infra.lab.engines.base import Engine, silent
from infra.lab.engines.local.ports import free_ports
from infra.lab.errors import UsageError
from infra.lab.owner import this_process
from infra.lab.topology import Topology, port_variable

LabFactory = Callable[[Topology], Engine]

PASSED_ON = ("OFFLINE", "SUBNET")
"""Of the user's variables those that an instance on ports of its own heeds too."""


def isolated(topology: Topology, root: Path, engine: str | None = None) -> Engine:
    """An engine of its own: free ports, state in `root`, ended with this process.

    Args:
        engine: its name; None for the one that the user's variables name.
    """
    name = engine or wiring.chosen(os.environ)
    if name in wiring.REMOTE:
        raise UsageError(f"instances of one's own run on other engines than {name}: ENGINE=local")
    return wiring.maker(name)(topology, root, own_environment(topology), this_process())


def own_environment(topology: Topology) -> Mapping[str, str]:
    """Free ports for each service, and those of the user's variables that go with any ports."""
    names = topology.ports({})
    free = zip(names, free_ports(len(names)), strict=True)
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed, **{port_variable(name): str(port) for name, port in free}}


@contextlib.contextmanager
def running(topology: Topology, engine: str | None = None) -> Iterator[Engine]:
    """An instance of its own, up; afterwards everything of it is gone, whatever happened."""
    with contextlib.ExitStack() as ends:
        yield _start(topology, ends, engine)


@pytest.fixture(scope="session")
def running_lab() -> Iterator[LabFactory]:
    """Call it with a topology: the engine of a running instance, shared by the whole session.

    Everything is stopped and its folder removed at the end, also when tests failed. A test that
    kills services must leave them running again.
    """
    engines: list[tuple[Topology, Engine]] = []

    def start(topology: Topology) -> Engine:
        for found, engine in engines:
            if found is topology:  # two topologies may name the same week
                return engine
        engine = _start(topology, ends)
        engines.append((topology, engine))  # one that failed is tried again, not handed out
        return engine

    with contextlib.ExitStack() as ends:  # one that does not stop keeps no other from it
        yield start


def _start(topology: Topology, ends: contextlib.ExitStack, name: str | None = None) -> Engine:
    # Not pytest's own temporary directory: PostgreSQL, under another user when we are root,
    # must be able to enter it.
    root = Path(tempfile.mkdtemp(prefix=f"lab-{topology.week}-"))
    ends.callback(shutil.rmtree, root, ignore_errors=True)
    root.chmod(0o755)
    engine = isolated(topology, root, name)
    ends.callback(engine.clean)  # what an engine keeps elsewhere, too
    ends.callback(anyio.run, engine.down, silent)
    anyio.run(engine.up, silent)
    return engine
