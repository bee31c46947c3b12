"""The verbs on a week of local processes."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from supervisor.xmlrpc import Faults

from infra.lab import instance
from infra.lab.engines.base import Event, Report, ServiceStatus, silent
from infra.lab.engines.interrupting import interruptible, uninterrupted
from infra.lab.engines.local import orphans, ports, status
from infra.lab.engines.local.services import Services
from infra.lab.engines.local.supervision import RefusedError, Supervision
from infra.lab.errors import LabError, UsageError
from infra.lab.logs import Tail
from infra.lab.servers.base import Progress, Server
from infra.lab.site import Account, Site
from infra.lab.topology import Topology

DISK_FREE_MIN_BYTES = 500 * 1024 * 1024


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

    name = "local"

    def __init__(self, topology: Topology, settings: LocalSettings) -> None:
        self._topology = topology
        self._settings = settings
        self._asked = topology.ports(settings.environ)
        self._moved = any(
            name.startswith("PORT") and text for name, text in settings.environ.items()
        )
        self._read_instance()
        self._supervision = Supervision(self._site)

    def _read_instance(self) -> None:
        """What is on disk now; another command may have changed it since the last look."""
        kept = instance.load_ports(self._settings.root, self._topology)
        self._recorded = kept is not None
        self._site = self._site_with(kept or self._asked)

    @property
    def site(self) -> Site:
        return self._site

    def log(self, name: str) -> Tail:
        """A reader of the service's log file."""
        return Tail(self._site.log_file(self._topology.server(name).name))

    @property
    def _services(self) -> Services:
        return Services(self._site, self._supervision)

    def is_up(self) -> bool:
        return self._supervision.alive()

    async def up(self, report: Report = silent) -> None:
        """Start what is not running; return once everything answers.

        Whatever goes wrong (or a Ctrl-C), what this call started is stopped again and the data
        stays. Raises LabError.
        """
        await interruptible(lambda: self._up(report))

    async def _up(self, report: Report) -> None:
        async with self._exclusively(report):
            alive = self.is_up()
            if alive:
                self._check_unchanged()
            started: list[Server] = []
            try:
                if not alive:
                    await self._open(report)
                await self._services.start_all(self._topology.servers, report, started)
            except BaseException:
                with uninterrupted():
                    if alive:
                        await self._services.stop_all(started, silent)
                    elif started or self.is_up():
                        report(Event("", "stopping what was started"))
                        await self._close(silent)
                raise

    def _check_unchanged(self) -> None:
        """Raises LabError when what runs is not what this command would run."""
        week = self._topology.week
        if not self._recorded:
            raise LabError(
                f"{week} is up with other services, or {self._settings.root / 'instance.json'} "
                f"is damaged: `make {week} down` first"
            )
        if not self._site.secrets.keys() >= set(self._topology.all_secrets):
            raise LabError(
                f"{week} is up, but {self._settings.root / 'secrets.json'} is damaged: restore it"
            )
        if self._moved and self._asked != self._site.ports:
            raise LabError(f"{week} is up on other ports: `make {week} down` first")
        for server in self._topology.servers:
            given = server.user_settings()
            if not self._supervision.has_settings(server, given):
                raise LabError(
                    f"{week} is up with other settings ({', '.join(given)}): "
                    f"`make {week} down` first"
                )

    async def _open(self, report: Report) -> None:
        """Everything before the first process: parts, leftovers, ports, files, supervisor."""
        self._check_disk()
        clean = f"make {self._topology.week} clean"
        instance.make_secrets(self._settings.root, self._topology.all_secrets, clean)
        self._site = self._site_with(self._asked)
        for server in self._topology.servers:
            await anyio.to_thread.run_sync(server.version, self._site)
        await self._end_orphans(report)
        ports.check_free(self._site.ports, self._topology.week, self._topology.front)
        for server in self._topology.servers:
            progress = _stoppable(server.name, report)
            await anyio.to_thread.run_sync(server.install, self._site, progress)
        instance.save_ports(self._settings.root, self._topology, self._site.ports)
        self._supervision.configure(
            {server: server.launch(self._site) for server in self._topology.servers}
        )
        await anyio.to_thread.run_sync(self._supervision.start_daemon, self._settings.owner)

    async def down(self, report: Report = silent) -> None:
        """Stop everything in reverse order; the data stays. Fine when nothing runs."""
        async with self._exclusively(report):
            with uninterrupted():
                await self._close(report)

    async def _close(self, report: Report) -> None:
        """Everything ends, also when the supervisor is no help."""
        if self.is_up():
            try:
                await self._services.stop_all(self._topology.servers, report)
                await anyio.to_thread.run_sync(self._supervision.shut_down)
            except LabError as error:
                if self.is_up():
                    report(Event("", f"ending the supervisor by force: {error}"))
                await anyio.to_thread.run_sync(self._supervision.end_by_force)
        self._supervision.remove_socket()
        await self._end_orphans(report)

    async def _end_orphans(self, report: Report) -> None:
        servers = self._topology.servers
        left = await anyio.to_thread.run_sync(orphans.find, self._site, servers)
        if not left:
            return
        names = ", ".join(sorted({orphan.service for orphan in left}))
        report(Event("", f"ending what a killed supervisor left behind: {names}"))
        signals = {server.name: server.stop_signal for server in servers}
        signals[orphans.UNNAMED] = signal.SIGKILL
        await anyio.to_thread.run_sync(
            orphans.end, left, lambda name: signals.get(name, signal.SIGTERM)
        )

    def status(self) -> list[ServiceStatus]:
        """One row per service, in the topology's order."""
        infos: dict[str, Any] = {}
        restarts: dict[str, int] = {}
        if self.is_up():
            infos = {info["name"]: info for info in self._ask("supervisor.getAllProcessInfo") or ()}
            restarts = self._ask("lab.restarts") or {}
        return [
            status.of(server, self._site, infos.get(server.name), restarts.get(server.name, 0))
            for server in self._topology.servers
        ]

    def _ask(self, method: str) -> Any:
        """A call to a live supervisor; None when it is about to end, or just did."""
        try:
            return self._supervision.call(method)
        except RefusedError as refused:
            if refused.code != Faults.SHUTDOWN_STATE:
                raise
        except LabError:
            if self.is_up():
                raise
        return None

    def overhead(self) -> list[ServiceStatus]:
        """The supervisor's own row; none while the week is down."""
        pid = self._ask("supervisor.getPID") if self.is_up() else None
        return [] if pid is None else status.of_supervisor(pid)

    def clean(self) -> None:
        """Erase the instance: data, logs, secrets. It must be down."""
        if self.is_up():
            raise LabError(f"{self._topology.week} is up: `make {self._topology.week} down` first")
        instance.erase(self._settings.root)

    async def start(self, names: Sequence[str], report: Report = silent) -> None:
        """Start and wait until each answers; one that does not is stopped again."""
        servers = [self._topology.server(name) for name in names]
        await interruptible(lambda: self._start(servers, report))

    async def _start(self, servers: Sequence[Server], report: Report) -> None:
        async with self._exclusively(report):
            self._require_up()
            started: list[Server] = []
            try:
                await self._services.start_all(servers, report, started)
            except BaseException:
                with uninterrupted():
                    await self._services.stop_all(started, silent)
                raise

    async def stop(self, names: Sequence[str], report: Report = silent) -> None:
        """An orderly stop of each; returns once they have ended."""
        servers = [self._topology.server(name) for name in names]
        async with self._exclusively(report):
            self._require_up()
            with uninterrupted():
                await self._services.stop_all(servers, report)

    async def kill(self, name: str) -> None:
        """SIGKILL; it is dead on return and stays so until `start`."""
        await self._fault("kill", name)
        await self._services.wait_stopped(self._topology.server(name))

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
        except RefusedError as refused:
            if refused.code != Faults.NOT_RUNNING:
                raise
            raise LabError(
                f"{name} is not running: `make {self._topology.week} start SERVICE={name}`"
            ) from refused

    def _require_up(self) -> None:
        if not self.is_up():
            raise LabError(f"{self._topology.week} is not up: `make {self._topology.week} up`")

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

    @contextlib.asynccontextmanager
    async def _exclusively(self, report: Report) -> AsyncIterator[None]:
        def waiting() -> None:
            report(Event("", "another lab command works on this week: waiting for it"))

        async with instance.exclusive(self._settings.root, waiting):
            self._read_instance()
            yield

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self._settings.root).free
        if free < DISK_FREE_MIN_BYTES:
            raise LabError(
                f"only {free // 2**20} MiB are free at {self._settings.root}: "
                f"{self._topology.week} needs {DISK_FREE_MIN_BYTES // 2**20} MiB"
            )


def _stoppable(name: str, report: Report) -> Progress:
    """A progress for work in a thread, which ends the work once the command is interrupted."""

    def progress(text: str) -> None:
        anyio.from_thread.check_cancelled()
        report(Event(name, text))

    return progress
