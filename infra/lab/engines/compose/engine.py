"""The verbs on a week of containers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import anyio.to_thread

from infra.lab import instance
from infra.lab.engines.base import Event, Report, ServiceStatus, silent
from infra.lab.engines.compose import containers, leftovers, model
from infra.lab.engines.compose.containers import Container
from infra.lab.engines.compose.inside import ComposeSite
from infra.lab.engines.compose.project import ComposeSettings, Project
from infra.lab.engines.compose.reading import ContainerLog
from infra.lab.engines.compose.services import Services
from infra.lab.engines.compose.verbs import Verbs
from infra.lab.engines.interrupting import interruptible, uninterrupted
from infra.lab.engines.local import ports
from infra.lab.errors import LabError
from infra.lab.servers.base import Server
from infra.lab.site import Site, make_dir
from infra.lab.topology import Topology


class ComposeEngine:
    """One week as the containers of one compose project."""

    name = "compose"

    def __init__(self, topology: Topology, settings: ComposeSettings) -> None:
        self._topology = topology
        self._settings = settings
        self._asked = topology.ports(settings.environ)
        self._moved = any(
            name.startswith("PORT") and text for name, text in settings.environ.items()
        )
        self._read_instance()

    def _read_instance(self) -> None:
        """What is on disk now; another command may have changed it since the last look."""
        kept = instance.load_ports(self._settings.root, self._topology)
        self._site = self._site_with(kept or self._asked)
        self._project = Project(self._topology, self._settings, self._site)
        self._services = Services(self._site, self._project.name, self._topology.servers)

    @property
    def site(self) -> Site:
        return self._site

    def log(self, name: str) -> ContainerLog:
        """A reader of the container's log."""
        return ContainerLog(self._services.container_name(self._topology.server(name).name))

    def is_up(self) -> bool:
        """Whether the project has containers: what `down` removes."""
        return bool(self._project.container_ids())

    async def up(self, report: Report = silent) -> None:
        """Start what is not running; return once everything answers.

        Whatever goes wrong (or a Ctrl-C), what this call started is stopped again and the data
        stays. Raises LabError.
        """
        await interruptible(lambda: self._up(report))

    async def _up(self, report: Report) -> None:
        async with self._exclusively(report):
            was_up = self.is_up()
            if was_up:
                self._check_unchanged()
            started: list[Server] = []
            try:
                if not was_up:
                    await self._open(report)
                await self._services.start_all(self._topology.servers, report, started)
            except BaseException:
                with uninterrupted():
                    if was_up:
                        await self._services.stop_all(started, silent)
                    elif self._project.is_there():
                        report(Event("", "stopping what was started"))
                        await self._close(silent)
                raise

    def _check_unchanged(self) -> None:
        """Raises LabError when what runs is not what this command would run."""
        week = self._topology.week
        there = self._services.look()
        lacking = [name for name in self._topology.names if name not in there]
        if lacking:
            raise LabError(
                f"{week} is up with other services (without {', '.join(lacking)}): "
                f"`make {week} down` first"
            )
        if self._moved and self._asked != self._site.ports:
            raise LabError(f"{week} is up on other ports: `make {week} down` first")
        digest = self._project.digest()
        if any(one.labels.get(model.LABEL_HASH) != digest for one in there.values()):
            raise LabError(f"{week} is up with other settings: `make {week} down` first")

    async def _open(self, report: Report) -> None:
        """Everything before the first container starts: leftovers, ports, files, images."""
        make_dir(self._settings.root)
        if self._settings.owner is not None:
            await anyio.to_thread.run_sync(leftovers.remove)
        clean = f"make {self._topology.week} clean"
        instance.make_secrets(self._settings.root, self._project.secrets, clean)
        self._site = self._site_with(self._asked)
        self._project = Project(self._topology, self._settings, self._site)
        self._services = Services(self._site, self._project.name, self._topology.servers)
        complete = await self._project.prepare(report)
        opened = model.published(complete, self._site)
        ports.check_free(opened, self._topology.week, self._topology.front)
        await self._project.build(report)
        await self._project.create(report)
        instance.save_ports(self._settings.root, self._topology, self._site.ports)

    async def down(self, report: Report = silent) -> None:
        """Stop everything in reverse order; the data stays. Fine when nothing runs."""
        async with self._exclusively(report):
            with uninterrupted():
                await self._close(report)

    async def _close(self, report: Report) -> None:
        await self._services.stop_all(self._topology.servers, report)
        await self._project.remove_containers()

    def status(self) -> list[ServiceStatus]:
        """One row per service, in the topology's order."""
        there = self._services.look()
        return [
            containers.row(server, self._site, there.get(server.name))
            for server in self._topology.servers
        ]

    def overhead(self) -> list[ServiceStatus]:
        """None of its own: Docker's daemon serves all that runs on the machine."""
        return []

    def clean(self) -> None:
        """Erase the instance: data, volumes, secrets. It must be down."""
        if self.is_up():
            raise LabError(f"{self._topology.week} is up: `make {self._topology.week} down` first")
        self._project.remove_volumes()
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
        await self._verbs.kill(name)

    async def crash(self, name: str) -> None:
        """SIGKILL of the server itself; Docker's restart policy brings it back."""
        await self._verbs.crash(name)

    async def pause(self, name: str) -> None:
        await self._verbs.pause(name)

    async def resume(self, name: str) -> None:
        await self._verbs.resume(name)

    @property
    def _verbs(self) -> Verbs:
        return Verbs(self._topology, self._services)

    def _require_up(self) -> None:
        if not self.is_up():
            raise LabError(f"{self._topology.week} is not up: `make {self._topology.week} up`")

    @property
    def project(self) -> str:
        """Name of the compose project."""
        return self._project.name

    def containers(self) -> dict[str, Container]:
        """The containers by service."""
        return self._services.look()

    # The instance on disk

    def _site_with(self, chosen: Mapping[str, int]) -> ComposeSite:
        return ComposeSite(
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
