"""Services started and stopped in the order of their needs, and each until it is so."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults

from infra.lab.engines.base import Event, Report
from infra.lab.engines.local import status
from infra.lab.engines.local.plugin import ALIVE
from infra.lab.engines.local.supervision import RefusedError, Supervision
from infra.lab.engines.together import together
from infra.lab.errors import LabError, NotReadyError
from infra.lab.servers.base import Server
from infra.lab.site import Site

POLL_S = 0.1
STOP_MARGIN_S = 10.0
# From these no start that was just made gets anywhere (STOPPED: somebody killed it meanwhile).
FAILED_STATES = (
    ProcessStates.BACKOFF,
    ProcessStates.FATAL,
    ProcessStates.EXITED,
    ProcessStates.STOPPED,
    ProcessStates.UNKNOWN,
)
# From these no restart policy leads back either.
LOST_STATES = (ProcessStates.FATAL, ProcessStates.STOPPED, ProcessStates.UNKNOWN)
# What the process's state tells better than the supervisor's refusal.
JUDGED_LATER = (
    Faults.ALREADY_STARTED,
    Faults.NOT_RUNNING,
    Faults.SPAWN_ERROR,
    Faults.BAD_NAME,
)


class Services:
    """The services of a running supervisor."""

    def __init__(self, site: Site, supervision: Supervision) -> None:
        self._site = site
        self._supervision = supervision

    async def start_all(
        self, servers: Sequence[Server], report: Report, started: list[Server]
    ) -> None:
        """Start in parallel what may start; each waits only for what it needs.

        `started` gets the services that did not run before.
        """
        ready = {server.name: anyio.Event() for server in servers}

        async def start(server: Server) -> None:
            for needed in server.needs:
                if needed in ready:
                    await ready[needed].wait()
            await self._start_one(server, report, started)
            ready[server.name].set()

        await together(start, servers)

    async def _start_one(self, server: Server, report: Report, started: list[Server]) -> None:
        began = time.monotonic()
        info = await self._info(server.name)
        if info["state"] == ProcessStates.STOPPING:
            await self.wait_stopped(server)
        fresh = info["state"] not in (ProcessStates.RUNNING, ProcessStates.STARTING)
        written = 0
        if fresh:
            # It may be between two attempts of the restart policy, or the next one may just have
            # begun: no second one beside ours.
            await self._call("lab.stop", server.name)
            await self.wait_stopped(server)
            report(Event(server.name, "preparing"))
            await anyio.to_thread.run_sync(server.prepare, self._site)
            written = _size(self._site.log_file(server.name))
            started.append(server)
            await self._call("supervisor.startProcess", server.name, False)
        report(Event(server.name, "starting"))
        await self._wait_ready(server, report, fresh, written)
        took_s = time.monotonic() - began
        word = "done" if server.one_shot else "ready"
        report(Event(server.name, f"{word} after {took_s:.1f} s", done=True))

    async def _wait_ready(self, server: Server, report: Report, fresh: bool, written: int) -> None:
        """Until it answers and is settled.

        Args:
            fresh: we started it, so it must not end; else a restart policy may be at work.
            written: bytes that its log had before.
        """
        deadline = time.monotonic() + server.ready_timeout_s
        while True:
            info = await self._info(server.name)
            if server.one_shot and info["state"] == ProcessStates.EXITED and not info["exitstatus"]:
                return
            if info["state"] in (FAILED_STATES if fresh else LOST_STATES):
                raise LabError(self._died(server.name, info, written))
            reason = "still at work" if server.one_shot else await self._unready(server)
            if not reason:
                return
            if time.monotonic() > deadline:
                raise LabError(
                    f"{server.name} is not ready after {server.ready_timeout_s:g} s ({reason}): "
                    f"see {self._site.log_file(server.name)}"
                )
            report(Event(server.name, f"starting: {reason}"))
            await anyio.sleep(POLL_S)

    async def _unready(self, server: Server) -> str:
        """Why it is not ready yet; "" when it is."""
        try:
            await server.probe(self._site)
            await server.settle(self._site)
        except NotReadyError as why:
            return str(why) or "no answer yet"
        except OSError as why:
            return os.strerror(why.errno) if why.errno else str(why) or "no answer yet"
        return ""

    def _died(self, name: str, info: Mapping[str, Any], written: int) -> str:
        log = self._site.log_file(name)
        last = status.last_line(log, written)
        why = f": {last}" if last else f" ({info['spawnerr'] or info['description']})"
        return f"{name} ended while starting{why} [whole log: {log}]"

    async def stop_all(self, servers: Sequence[Server], report: Report) -> None:
        """The reverse of starting: a service stops once all that need it have stopped."""
        stopped = {server.name: anyio.Event() for server in servers}

        async def stop(server: Server) -> None:
            for other in servers:
                if server.name in other.needs:
                    await stopped[other.name].wait()
            await self._call("lab.stop", server.name)
            await self.wait_stopped(server)
            if not server.one_shot:
                report(Event(server.name, "stopped", done=True))
            stopped[server.name].set()

        await together(stop, servers)

    async def wait_stopped(self, server: Server) -> None:
        """Raises LabError when even supervisord's SIGKILL did not end it in time."""
        deadline = time.monotonic() + server.stop_timeout_s + STOP_MARGIN_S
        while (await self._info(server.name))["state"] in ALIVE:
            if time.monotonic() > deadline:
                raise LabError(f"{server.name} does not end, not even by SIGKILL")
            await anyio.sleep(POLL_S)

    async def _info(self, name: str) -> dict[str, Any]:
        info: dict[str, Any] | None = await self._call("supervisor.getProcessInfo", name)
        # A service that the topology got since the supervisor was started.
        return info or {"state": ProcessStates.STOPPED, "spawnerr": "", "description": "unknown"}

    async def _call(self, method: str, *arguments: Any) -> Any:
        """An XML-RPC call; None where the supervisor refuses what `_wait_ready` judges better."""
        try:
            return await anyio.to_thread.run_sync(self._supervision.call, method, *arguments)
        except RefusedError as refused:
            if refused.code in JUDGED_LATER:
                return None
            raise


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0
