"""Containers started and stopped in the order of their services' needs, and each until it is so."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

import anyio
import anyio.to_thread

from infra.lab.engines.base import Event, Report, State
from infra.lab.engines.compose import containers, docker
from infra.lab.engines.compose.containers import Container
from infra.lab.engines.last_words import last_said
from infra.lab.engines.together import together
from infra.lab.errors import LabError, NotReadyError
from infra.lab.servers.base import Server
from infra.lab.site import Site

POLL_S = 0.1
LOOK_S = 0.5
"""Between two questions to Docker about all containers at once."""
LAST_LINES = "50"
STARTS_AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
"""A container costs its machine more than a process: forty at once would each take a minute."""

READY_FACTOR = 2
"""A container starts later than a process, and gets no more processor than its limit."""

LOST = (State.STOPPED, State.FAILED)


class Services:
    """The containers of one project.

    Args:
        project: the compose project's name.
    """

    def __init__(self, site: Site, project: str, servers: Sequence[Server]) -> None:
        self._site = site
        self._project = project
        self._servers = servers
        self._seen: dict[str, Container] = {}
        self._seen_at = 0.0
        self._asking = anyio.Lock()

    def container_name(self, service: str) -> str:
        """As Compose names the only container of a service."""
        return f"{self._project}-{service}-1"

    def look(self) -> dict[str, Container]:
        """The containers by service, as they are now."""
        names = [self.container_name(server.name) for server in self._servers]
        asked = time.monotonic()
        found = [containers.parse(one) for one in docker.inspect(names)]
        self._seen = {one.service: one for one in found}
        self._seen_at = asked
        return self._seen

    def look_at(self, service: str) -> Container | None:
        """The container of one service, as it is now: quicker than `look`."""
        found = docker.inspect([self.container_name(service)])
        return containers.parse(found[0]) if found else None

    async def _recent(self, after: float) -> dict[str, Container]:
        """The same, from later than `after` and not long ago: many wait, and Docker is asked once
        for all."""
        async with self._asking:
            if self._seen_at <= after or time.monotonic() - self._seen_at > LOOK_S:
                await anyio.to_thread.run_sync(self.look)
        return self._seen

    async def start_all(
        self, servers: Sequence[Server], report: Report, started: list[Server]
    ) -> None:
        """Start in parallel what may start; each waits only for what it needs.

        `started` gets the services that did not run before.
        """
        ready = {server.name: anyio.Event() for server in servers}
        limit = anyio.CapacityLimiter(STARTS_AT_ONCE)
        running = {name for name, one in self.look().items() if one.lives}

        async def start(server: Server) -> None:
            for needed in server.needs:
                if needed in ready:
                    await ready[needed].wait()
            async with limit:
                await self._start_one(server, report, started, fresh=server.name not in running)
            ready[server.name].set()

        await together(start, servers)

    async def _start_one(
        self, server: Server, report: Report, started: list[Server], *, fresh: bool
    ) -> None:
        began = time.monotonic()
        report(Event(server.name, "starting"))
        if fresh:
            started.append(server)
            await docker.tell(f"starting {server.name}", "start", self.container_name(server.name))
        await self._wait_ready(server, report, fresh)
        word = "done" if server.one_shot else "ready"
        took_s = time.monotonic() - began
        report(Event(server.name, f"{word} after {took_s:.1f} s", done=True))

    async def _wait_ready(self, server: Server, report: Report, fresh: bool) -> None:
        """Until it answers.

        Args:
            fresh: we started it, so it must not end; else a restart policy may be at work.
        """
        began = time.monotonic()
        timeout_s = READY_FACTOR * server.ready_timeout_s
        deadline = began + timeout_s
        while True:
            reason = "still at work" if server.one_shot else await self._unready(server)
            if not reason:
                return
            container = (await self._recent(began)).get(server.name)
            state = containers.state_of(container, server.one_shot)
            if state is State.DONE:
                return
            restarted = container is not None and container.restarts > 0
            if state in LOST or (fresh and (restarted or state is State.RESTARTING)):
                raise LabError(await self._died(server.name, container))
            if state is State.PAUSED:
                raise LabError(
                    f"{server.name} is paused: `make {self._site.week} resume "
                    f"SERVICE={server.name}`"
                )
            if time.monotonic() > deadline:
                raise LabError(
                    f"{server.name} is not ready after {timeout_s:g} s ({reason}): "
                    f"{self._log_command(server.name)} tells more"
                )
            report(Event(server.name, f"starting: {reason}"))
            await anyio.sleep(POLL_S)

    async def _unready(self, server: Server) -> str:
        """Why it is not ready yet; "" when it is."""
        try:
            await server.probe(self._site)
        except NotReadyError as why:
            return str(why) or "no answer yet"
        except OSError as why:
            return os.strerror(why.errno) if why.errno else str(why) or "no answer yet"
        return ""

    async def _died(self, name: str, container: Container | None) -> str:
        if container is None:
            return f"{name} has no container: `make {self._site.week} down`, then `up`"
        text = await anyio.to_thread.run_sync(
            docker.logs, self.container_name(name), "--tail", LAST_LINES
        )
        last = last_said(line.partition(" ")[2] for line in text.splitlines())
        why = last or container.error or f"exit status {container.exit_code}"
        return f"{name} ended while starting: {why} [whole log: {self._log_command(name)}]"

    def _log_command(self, name: str) -> str:
        return f"docker logs {self.container_name(name)}"

    async def stop_all(self, servers: Sequence[Server], report: Report) -> None:
        """The reverse of starting: a service stops once all that need it have stopped."""
        there = await anyio.to_thread.run_sync(self.look)
        named = {server.name: server for server in servers}
        for group in reversed(_groups(servers)):
            names = [name for name in group if name in there]
            await self._stop_group([named[name] for name in names], there)
            for name in names:
                if not named[name].one_shot:
                    report(Event(name, "stopped", done=True))

    async def _stop_group(self, servers: Sequence[Server], there: Mapping[str, Container]) -> None:
        """Each has the time that it may take; then Docker's own SIGKILL follows."""
        paused = [one.name for one in servers if there[one.name].status == "paused"]
        if paused:
            await docker.tell("resuming", "unpause", *map(self.container_name, paused))
        running = [one.name for one in servers if there[one.name].status != "exited"]
        if running:
            await docker.tell("stopping", "stop", *map(self.container_name, running))


def _groups(servers: Sequence[Server]) -> list[list[str]]:
    """Groups in the order of their needs among each other."""
    names = {server.name for server in servers}
    waiting = {server.name: set(server.needs) & names for server in servers}
    order: list[list[str]] = []
    while waiting:
        free = [name for name, needs in waiting.items() if not needs]
        order.append(free)
        waiting = {
            name: needs.difference(free) for name, needs in waiting.items() if name not in free
        }
    return order
