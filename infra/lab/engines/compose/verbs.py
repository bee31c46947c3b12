"""kill, crash, pause and resume of one container."""

from __future__ import annotations

import contextlib
import signal

import anyio
import anyio.to_thread
import psutil

from infra.lab.engines.compose import containers, docker
from infra.lab.engines.compose.containers import Container
from infra.lab.engines.compose.services import Services
from infra.lab.errors import LabError, UsageError
from infra.lab.topology import Topology

DEAD_WITHIN_S = 20.0

_KILL_ALL = ("/bin/sh", "-c", "kill -9 -1")
"""All but the first process, which is Docker's `init` and ends with its child."""


class Verbs:
    """On the services of a project that is up."""

    def __init__(self, topology: Topology, services: Services) -> None:
        self._topology = topology
        self._services = services

    async def kill(self, name: str) -> None:
        """Docker's own: a container killed by it is not restarted by its policy."""
        container = await self._running("kill", name)
        await docker.tell(f"killing {name}", "kill", container.name)
        with anyio.move_on_after(DEAD_WITHIN_S):
            await docker.tell(f"waiting for the end of {name}", "wait", container.name)
            return
        raise LabError(f"{name} does not end, not even by SIGKILL")

    async def crash(self, name: str) -> None:
        """SIGKILL from outside of Docker, which then does what the restart policy says."""
        container = await self._running("crash", name)
        process = containers.process_of(container)
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.send_signal(signal.SIGKILL)
                return
        # On a machine of Docker's own, or as a user who may not: from within.
        await docker.tell(f"crashing {name}", "exec", "--user", "0", container.name, *_KILL_ALL)

    async def pause(self, name: str) -> None:
        container = await self._running("pause", name)
        if container.status != "paused":
            await docker.tell(f"pausing {name}", "pause", container.name)

    async def resume(self, name: str) -> None:
        container = await self._running("resume", name)
        if container.status == "paused":
            await docker.tell(f"resuming {name}", "unpause", container.name)

    async def _running(self, verb: str, name: str) -> Container:
        """The container that the verb is for. Raises LabError where there is nothing to do it to"""
        server = self._topology.server(name)
        if server.one_shot:
            raise UsageError(f"{name} runs once and ends: there is nothing to {verb}")
        week = self._topology.week
        container = await anyio.to_thread.run_sync(self._services.look_at, name)
        if container is None:
            raise LabError(f"{week} is not up: `make {week} up`")
        if not container.lives:
            raise LabError(f"{name} is not running: `make {week} start SERVICE={name}`")
        return container
