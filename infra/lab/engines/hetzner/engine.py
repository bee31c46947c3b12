"""The verbs on a week whose services run on machines of one's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from infra.lab import instance
from infra.lab.engines.base import Event, Report, ServiceStatus, State, silent
from infra.lab.engines.hetzner import units
from infra.lab.engines.hetzner.events import Course
from infra.lab.engines.hetzner.journal import LINES, JournalLog, Journals
from infra.lab.engines.hetzner.runner import Runner
from infra.lab.engines.hetzner.site import InTheVault, RemoteSite
from infra.lab.engines.hetzner.units import Unit
from infra.lab.engines.interrupting import interruptible
from infra.lab.errors import LabError, UsageError
from infra.lab.site import make_dir
from infra.lab.topology import Topology, start_order

OWN = Path(__file__).with_name("playbooks")
HOSTS_FILE = "hosts.json"


@dataclass(frozen=True)
class HetznerSettings:
    """Where and how a week's machines are reached; made by entry points only.

    Attributes:
        clone: root of the repository.
        home: the lab home.
        root: this instance's folder: logs, and what is known of the hosts.
        playbooks: the week's own: site.yml, reset.yml, and where there are such start.yml,
            stop.yml, verify.yml.
        inventory: as the user named it.
        environ: variables of ansible-playbook, with PATH and ANSIBLE_CONFIG.
    """

    clone: Path
    home: Path
    root: Path
    playbooks: Path
    inventory: Path
    environ: Mapping[str, str]


class HetznerEngine:
    """One week on the hosts of an inventory. Raises LabError, like every engine."""

    name = "hetzner"

    def __init__(self, topology: Topology, settings: HetznerSettings) -> None:
        self._topology, self._settings = topology, settings
        self._seen: list[Unit] | None = None
        log = settings.root / "logs" / "ansible.log"
        self._runner = Runner(settings.inventory, settings.environ, log)
        by_unit = {
            name: server.name for server in topology.servers for name in units.names_of(server)
        }
        self._journals = Journals(self._fetch_journals, by_unit)

    @property
    def site(self) -> RemoteSite:
        """Services by the host that ran them when the hosts were last asked."""
        settings = self._settings
        return RemoteSite(
            week=self._topology.week,
            clone=settings.clone,
            home=settings.home,
            root=settings.root,
            ports=self._topology.ports({}),
            secrets=InTheVault(),
            account=None,
            addresses=_load_hosts(settings.root / HOSTS_FILE),
        )

    def log(self, name: str) -> JournalLog:
        self._topology.server(name)
        return JournalLog(self._journals, name, lambda: bool(self._known()))

    def is_up(self) -> bool:
        return any(unit.state in units.UP for unit in self._known())

    def status(self) -> list[ServiceStatus]:
        """One row per service, asked of all hosts now."""
        seen = anyio.run(self._ask)
        return units.statuses(self._topology, seen, self._topology.ports({}))

    def overhead(self) -> list[ServiceStatus]:
        """Nothing: systemd is there anyway."""
        return []

    async def up(self, report: Report = silent) -> None:
        """Set everything up, start it, and let the week's verify.yml ask each service itself."""
        await interruptible(lambda: self._up(report))

    async def _up(self, report: Report) -> None:
        async with self._exclusively(report):
            report(Event("", "asking the hosts"))
            await self._forget_kills()
            course = await self._play("site.yml", report)
            done = f"set up {len(course.hosts)} hosts, {course.changed} changes"
            report(Event("", done, done=True))
            await self._ask()
            await self._start_all(report)
            if (self._settings.playbooks / "verify.yml").is_file():
                await self._play("verify.yml", report)
                report(Event("", "every service answers", done=True))
            await self._ask()

    async def _forget_kills(self) -> None:
        """Gives killed services their restart policy back; whoever starts them need not know."""
        by_host: dict[str, list[str]] = {}
        for unit in await self._ask():
            if unit.is_killed:
                by_host.setdefault(unit.host, []).append(unit.name)
        if by_host:
            await self._own("act.yml", {"lab_verb": "forget", "lab_units": by_host}, silent)

    async def _start_all(self, report: Report) -> None:
        """What site.yml found stopped; most often there is nothing left to do."""
        if all(unit.state in (State.RUNNING, State.DONE) for unit in self._seen or ()):
            return
        if (self._settings.playbooks / "start.yml").is_file():
            await self._play("start.yml", report)
            return
        for names in start_order(self._topology.servers):
            await self._act("start", names, report)

    async def down(self, report: Report = silent) -> None:
        """Stop everything in reverse order; the data stays. Fine when nothing runs."""
        async with self._exclusively(report):
            if (self._settings.playbooks / "stop.yml").is_file():
                await self._play("stop.yml", report)
            else:
                await self._ask()
                for names in reversed(start_order(self._topology.servers)):
                    await self._act("stop", names, report)
            self._seen = None

    def clean(self) -> None:
        """Take everything of the week off the hosts, data too, and forget the hosts here."""
        anyio.run(self._reset)
        instance.erase(self._settings.root)
        self._seen = None

    async def _reset(self) -> None:
        await self._forget_kills()
        await self._play("reset.yml", silent, {"really": "yes"})

    async def start(self, names: Sequence[str], report: Report = silent) -> None:
        await self._verb("start", names, report)

    async def stop(self, names: Sequence[str], report: Report = silent) -> None:
        await self._verb("stop", names, report)

    async def kill(self, name: str) -> None:
        """SIGKILL; it is dead on return and stays so until `start`, or a reboot."""
        await self._verb("kill", [name])

    async def crash(self, name: str) -> None:
        """SIGKILL of the main process; systemd brings it back."""
        await self._verb("crash", [name])

    async def pause(self, name: str) -> None:
        await self._verb("pause", [name])

    async def resume(self, name: str) -> None:
        await self._verb("resume", [name])

    async def _verb(self, verb: str, names: Sequence[str], report: Report = silent) -> None:
        servers = [self._topology.server(name) for name in names]
        for server in servers:
            if server.one_shot:
                raise UsageError(f"{server.name} runs once and ends: there is nothing to {verb}")
        async with self._exclusively(report):
            await self._ask()
            for server in servers:
                if units.find(server, self._seen or ()) is None:
                    raise LabError(
                        f"no host of the inventory has {units.names_of(server)[0]}: "
                        f"`make {self._topology.week} up ENGINE=hetzner` first"
                    )
            await self._act(verb, names, report)
            self._seen = None

    async def _act(self, verb: str, names: Sequence[str], report: Report) -> None:
        """One verb on those of the services that some host has; no host, no run."""
        by_host: dict[str, list[str]] = {}
        for name in names:
            unit = units.find(self._topology.server(name), self._seen or ())
            if unit is not None:
                by_host.setdefault(unit.host, []).append(unit.name)
        if by_host:
            await self._own("act.yml", {"lab_verb": verb, "lab_units": by_host}, report)

    def _known(self) -> list[Unit]:
        """What the hosts said last; asked now where nobody did."""
        return anyio.run(self._ask) if self._seen is None else self._seen

    async def _ask(self) -> list[Unit]:
        """The state of all units on all hosts; remembers which host has which service."""
        names = [name for server in self._topology.servers for name in units.names_of(server)]
        course = await self._own("ask.yml", {"lab_units": names}, silent)
        try:
            seen = [u for host, text in course.answers.items() for u in units.parse(host, text)]
        except (ValueError, KeyError) as error:
            raise LabError(f"a host answers what the lab cannot read: {error}") from error
        found = {server.name: units.find(server, seen) for server in self._topology.servers}
        hosts = {name: unit.address for name, unit in found.items() if unit is not None}
        make_dir(self._settings.root)
        (self._settings.root / HOSTS_FILE).write_text(json.dumps(hosts, indent=2) + "\n")
        self._seen = seen
        return seen

    def _fetch_journals(self, cursors: Mapping[str, str]) -> Mapping[str, str]:
        by_host: dict[str, list[str]] = {}
        for unit in self._known():
            by_host.setdefault(unit.host, []).append(unit.name)
        if not by_host:
            return {}
        extra = {"lab_units": by_host, "lab_cursors": dict(cursors), "lab_lines": LINES}
        return anyio.run(self._own, "journal.yml", extra, silent).answers

    async def _play(
        self, playbook: str, report: Report, extra: Mapping[str, Any] | None = None
    ) -> Course:
        return await self._run(self._settings.playbooks / playbook, extra or {}, report)

    async def _own(self, playbook: str, extra: Mapping[str, Any], report: Report) -> Course:
        return await self._run(OWN / playbook, extra, report)

    async def _run(self, playbook: Path, extra: Mapping[str, Any], report: Report) -> Course:
        return await self._runner.run(playbook, extra, lambda text: report(Event("", text)))

    @contextlib.asynccontextmanager
    async def _exclusively(self, report: Report) -> AsyncIterator[None]:
        def waiting() -> None:
            report(Event("", "another lab command works on these hosts: waiting for it"))

        async with instance.exclusive(self._settings.root, waiting):
            yield


def _load_hosts(path: Path) -> dict[str, str]:
    """Address by service; empty where it was never asked, or the note is damaged."""
    try:
        found = json.loads(path.read_text())
        return {str(name): str(address) for name, address in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}
