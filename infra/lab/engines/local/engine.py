"""The verbs on a week of local processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

import anyio
import anyio.to_thread
from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults

from infra.lab import instance
from infra.lab.engines.base import Event, Report, ServiceStatus, silent
from infra.lab.engines.local import orphans, ports, status
from infra.lab.engines.local.plugin import ALIVE
from infra.lab.engines.local.supervision import Supervision
from infra.lab.errors import LabError, NotReadyError, UsageError
from infra.lab.servers.base import Server
from infra.lab.site import Account, Site
from infra.lab.topology import Topology

POLL_S = 0.1
DISK_FREE_MIN_BYTES = 500 * 1024 * 1024
FAILED_STATES = (ProcessStates.BACKOFF, ProcessStates.FATAL, ProcessStates.EXITED)


@dataclass(frozen=True)
class LocalSettings:
    """Where and as whom an instance runs; made by entry points only.

    Attributes:
        clone: root of the repository.
        home: the lab home.
        root: this instance's folder.
        account: for servers that refuse root; None for an ordinary user.
        environ: the user's variables (`PORT`, `PORT_*`).
        owner: process whose end ends the instance (tests); None for a person's.
    """

    clone: Path
    home: Path
    root: Path
    account: Account | None
    environ: Mapping[str, str]
    owner: str | None = None


class LocalEngine:
    """One week of real servers as child processes of its supervisor."""

    def __init__(self, topology: Topology, settings: LocalSettings) -> None:
        self._topology = topology
        self._settings = settings
        wanted = topology.ports(settings.environ)
        kept = instance.load_ports(settings.root, topology)
        moved = any(name.startswith("PORT") and text for name, text in settings.environ.items())
        self._wanted = wanted if moved or kept is None else kept
        self._site = self._site_with(kept or wanted)
        self._supervision = Supervision(self._site)

    @property
    def site(self) -> Site:
        return self._site

    def is_up(self) -> bool:
        return self._supervision.alive()

    async def up(self, report: Report = silent) -> None:
        """Start what is not running; return once everything answers.

        Whatever goes wrong (or a Ctrl-C), what this call started is stopped again and the data
        stays. Raises LabError.
        """
        async with self._exclusively(report):
            alive = self.is_up()
            if alive and self._wanted != self._site.ports:
                raise LabError(
                    f"{self._topology.week} is up on other ports: "
                    f"`make {self._topology.week} down` first"
                )
            if not alive:
                await self._open(report)
            try:
                await self._start_all(self._topology.servers, report)
            except BaseException:
                if not alive:
                    with _uninterrupted():
                        report(Event("", "stopping what was started"))
                        await self._close(silent)
                raise

    async def _open(self, report: Report) -> None:
        """Everything before the first process: parts, leftovers, ports, files, supervisor."""
        self._check_disk()
        clean = f"make {self._topology.week} clean"
        instance.make_secrets(self._settings.root, self._topology.all_secrets, clean)
        self._site = self._site_with(self._wanted)
        self._supervision = Supervision(self._site)
        for server in self._topology.servers:
            await anyio.to_thread.run_sync(server.version, self._site)
        await self._end_orphans(report)
        ports.check_free(self._site.ports, self._topology.week, self._topology.front)
        for server in self._topology.servers:
            await anyio.to_thread.run_sync(
                server.install,
                self._site,
                lambda text, name=server.name: report(Event(name, text)),
            )
        instance.save_ports(self._settings.root, self._topology, self._site.ports)
        self._supervision.configure(
            {server: server.launch(self._site) for server in self._topology.servers}
        )
        await anyio.to_thread.run_sync(self._supervision.start_daemon, self._settings.owner)

    async def down(self, report: Report = silent) -> None:
        """Stop everything in reverse order; the data stays. Fine when nothing runs."""
        async with self._exclusively(report):
            with _uninterrupted():
                await self._close(report)

    async def _close(self, report: Report) -> None:
        if self.is_up():
            await self._stop_all(self._topology.servers, report)
            await anyio.to_thread.run_sync(self._supervision.shut_down)
        self._supervision.remove_socket()
        await self._end_orphans(report)

    async def _end_orphans(self, report: Report) -> None:
        left = await anyio.to_thread.run_sync(orphans.find, self._site)
        if not left:
            return
        names = ", ".join(sorted({orphan.service for orphan in left}))
        report(Event("", f"ending what a killed supervisor left behind: {names}"))
        await anyio.to_thread.run_sync(orphans.end, left, self._stop_signal)

    def _stop_signal(self, name: str) -> signal.Signals:
        if name not in self._topology.names:
            return signal.SIGTERM  # of an older topology
        return self._topology.server(name).launch(self._site).stop_signal

    def status(self) -> list[ServiceStatus]:
        """One row per service, in the topology's order."""
        alive = self.is_up()
        infos = self._supervision.infos() if alive else {}
        restarts = self._supervision.call("lab.restarts") if alive else {}
        return [
            status.of(server, self._site, infos.get(server.name), restarts.get(server.name, 0))
            for server in self._topology.servers
        ]

    def overhead(self) -> list[ServiceStatus]:
        """The supervisor's own row; none while the week is down."""
        if not self.is_up():
            return []
        return [status.of_supervisor(self._supervision.call("supervisor.getPID"))]

    def clean(self) -> None:
        """Erase the instance: data, logs, secrets. It must be down."""
        if self.is_up():
            raise LabError(f"{self._topology.week} is up: `make {self._topology.week} down` first")
        shutil.rmtree(self._settings.root)

    async def start(self, names: Sequence[str], report: Report = silent) -> None:
        async with self._exclusively(report):
            self._require_up()
            await self._start_all([self._topology.server(name) for name in names], report)

    async def stop(self, names: Sequence[str], report: Report = silent) -> None:
        async with self._exclusively(report):
            self._require_up()
            await self._stop_all([self._topology.server(name) for name in names], report)

    async def kill(self, name: str) -> None:
        """SIGKILL; it stays dead until `start`."""
        await self._fault("kill", name)

    async def crash(self, name: str) -> None:
        """SIGKILL; the restart policy brings it back."""
        await self._fault("crash", name)

    async def pause(self, name: str) -> None:
        await self._fault("pause", name)

    async def resume(self, name: str) -> None:
        await self._fault("resume", name)

    async def _fault(self, verb: str, name: str) -> None:
        server = self._topology.server(name)
        if server.one_shot:
            raise UsageError(f"{name} runs once and ends: there is nothing to {verb}")
        self._require_up()
        try:
            await anyio.to_thread.run_sync(self._supervision.call, f"lab.{verb}", name)
        except Fault as fault:
            raise LabError(
                f"{name} is not running: `make {self._topology.week} start SERVICE={name}`"
            ) from fault

    def _require_up(self) -> None:
        if not self.is_up():
            raise LabError(f"{self._topology.week} is not up: `make {self._topology.week} up`")

    # Starting and stopping in order

    async def _start_all(self, servers: Sequence[Server], report: Report) -> None:
        """Start in parallel what may start; each waits only for what it needs."""
        ready = {server.name: anyio.Event() for server in servers}

        async def start(server: Server) -> None:
            for needed in server.needs:
                if needed in ready:
                    await ready[needed].wait()
            await self._start_one(server, report)
            ready[server.name].set()

        try:
            async with anyio.create_task_group() as group:
                for server in servers:
                    group.start_soon(start, server)
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    async def _start_one(self, server: Server, report: Report) -> None:
        began = time.monotonic()
        info = await self._info(server.name)
        if info["state"] == ProcessStates.STOPPING:
            await self._wait_stopped(server.name)
            info = await self._info(server.name)
        if info["state"] not in (ProcessStates.RUNNING, ProcessStates.STARTING):
            if info["state"] == ProcessStates.BACKOFF:
                await self._call("supervisor.stopProcess", server.name, True)
            report(Event(server.name, "preparing"))
            await anyio.to_thread.run_sync(server.prepare, self._site)
            await self._call("supervisor.startProcess", server.name, False)
        report(Event(server.name, "starting"))
        await self._wait_ready(server, report)
        await server.settle(self._site)
        took_s = time.monotonic() - began
        word = "done" if server.one_shot else "ready"
        report(Event(server.name, f"{word} after {took_s:.1f} s", done=True))

    async def _wait_ready(self, server: Server, report: Report) -> None:
        deadline = time.monotonic() + server.ready_timeout_s
        reason = "no answer yet"
        while True:
            info = await self._info(server.name)
            if server.one_shot and info["state"] == ProcessStates.EXITED and not info["exitstatus"]:
                return
            if info["state"] in FAILED_STATES:
                raise LabError(self._died(server.name, info))
            if not server.one_shot:
                try:
                    await server.probe(self._site)
                    return
                except NotReadyError as why:
                    reason = str(why)
                except OSError as why:
                    reason = os.strerror(why.errno) if why.errno else str(why)
            if time.monotonic() > deadline:
                raise LabError(
                    f"{server.name} is not ready after {server.ready_timeout_s:.0f} s ({reason}): "
                    f"see {self._site.log_file(server.name)}"
                )
            report(Event(server.name, f"starting: {reason}"))
            await anyio.sleep(POLL_S)

    def _died(self, name: str, info: Mapping[str, Any]) -> str:
        log = self._site.log_file(name)
        last = status.last_line(log)
        why = f": {last}" if last else f" ({info['spawnerr'] or info['description']})"
        return f"{name} ended while starting{why} [whole log: {log}]"

    async def _stop_all(self, servers: Sequence[Server], report: Report) -> None:
        """The reverse of starting: a service stops once all that need it have stopped."""
        stopped = {server.name: anyio.Event() for server in servers}

        async def stop(server: Server) -> None:
            for other in servers:
                if server.name in other.needs:
                    await stopped[other.name].wait()
            await self._stop_one(server.name)
            report(Event(server.name, "stopped", done=True))
            stopped[server.name].set()

        async with anyio.create_task_group() as group:
            for server in servers:
                group.start_soon(stop, server)

    async def _stop_one(self, name: str) -> None:
        info = await self._info(name)
        if info["state"] in (ProcessStates.RUNNING, ProcessStates.STARTING):
            # A paused process would not hear the request to stop.
            await self._call("lab.resume", name)
        await self._call("supervisor.stopProcess", name, False)
        await self._wait_stopped(name)

    async def _wait_stopped(self, name: str) -> None:
        # Another process's state: there is no event of ours to wait for.
        while (await self._info(name))["state"] in ALIVE:  # noqa: ASYNC110
            await anyio.sleep(POLL_S)

    async def _info(self, name: str) -> dict[str, Any]:
        info: dict[str, Any] = await self._call("supervisor.getProcessInfo", name)
        return info

    async def _call(self, method: str, *arguments: Any) -> Any:
        """An XML-RPC call whose "already so" answers are fine."""
        try:
            return await anyio.to_thread.run_sync(self._supervision.call, method, *arguments)
        except Fault as fault:
            if fault.faultCode in (Faults.NOT_RUNNING, Faults.ALREADY_STARTED):
                return None
            raise LabError(
                f"the supervisor refused {method}{arguments}: {fault.faultString}"
            ) from fault

    # The instance on disk

    def _site_with(self, chosen: Mapping[str, int]) -> Site:
        return Site(
            week=self._topology.week,
            clone=self._settings.clone,
            home=self._settings.home,
            root=self._settings.root,
            ports=chosen,
            secrets=instance.kept_secrets(self._settings.root),
            account=self._settings.account,
        )

    def _exclusively(self, report: Report) -> Any:
        return instance.exclusive(
            self._settings.root,
            lambda: report(Event("", "another lab command works on this week: waiting for it")),
        )

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self._settings.root).free
        if free < DISK_FREE_MIN_BYTES:
            raise LabError(
                f"only {free // 2**20} MiB are free at {self._settings.root}: "
                f"{self._topology.week} needs {DISK_FREE_MIN_BYTES // 2**20} MiB"
            )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Finish what runs inside, whatever is pressed: half a stop would leave processes behind."""
    with anyio.CancelScope(shield=True):
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to tell of: one for the user before any other, the first of several."""
    told, rest = failures.split(LabError)
    failure: BaseException = told or rest or failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
