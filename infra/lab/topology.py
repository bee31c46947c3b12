"""What a week runs: services, what each needs, and the ports they answer on.

This is the declaration that `weekNN/lab.py` makes. It holds no process and opens no socket;
engines read it. A service's port is an offset to the week's base port, so one number moves
the whole week: week 4 answers on 8400, its inner ports are 8401 and up.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.lab.errors import UsageError
from infra.lab.faults.server import FaultProxy
from infra.lab.servers.base import Server
from infra.lab.servers.python import PythonProcess
from infra.lab.site import HOST, Site

PORT_MIN, PORT_MAX = 1024, 65535

Fact = Callable[[Site], Awaitable[str]]
"""Asks the running services for one figure of the week and puts it in words."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """One week's services on any engine.

    Args:
        week: `week04`.
        title: one line for lists.
        base_port: the front door's port; every service's offset counts from here.
        servers: in the order in which people should read them.
        secrets: names of random strings that an instance gets once and keeps.
        try_it: three things to try once it is up; `{url}` becomes the front door's address.
        facts: the week's own figures in `status`, by label; one that raises is shown as such.
        faults: the proxy that links can be led through, and which; see `with_faults`.
        command: how the week's own commands are started, but for the words of each; no service.
    """

    week: str
    title: str
    base_port: int
    servers: tuple[Server, ...]
    secrets: tuple[str, ...] = ()
    try_it: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    faults: FaultProxy | None = None
    command: PythonProcess | None = None

    def __post_init__(self) -> None:
        names = [server.name for server in self.servers]
        ports = [name for server in self.servers for name in server.port_offsets]
        if len(set(names)) != len(names) or len(set(ports)) != len(ports):
            raise ValueError(f"{self.week}: two services share a name: {names}, ports {ports}")
        for name in (*names, *ports):
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name):  # a file, a variable, a section's name
                raise ValueError(f"{self.week}: {name!r} is no name: use a-z, 0-9 and dashes")
        for server in self.servers:
            for needed in server.needs:
                if needed not in names:
                    raise ValueError(f"{self.week}: {server.name} needs unknown {needed!r}")
        for link in self.faults.links if self.faults else ():
            if link.to not in names:
                raise ValueError(f"{self.week}: a link leads to unknown {link.to!r}")
        offsets = [offset for server in self.servers for offset in server.port_offsets.values()]
        if len(set(offsets)) != len(offsets):
            raise ValueError(f"{self.week}: two services share a port")
        start_order(self.servers)

    def with_faults(self) -> Topology:
        """The same week with its links through its fault proxy. Raises UsageError without one."""
        proxy = self.faults
        if proxy is None:
            raise UsageError(f"{self.week} has no links that a fault could be put on")
        behind = {link.to for link in proxy.links}
        servers = tuple(
            replace(server, needs=(*server.needs, proxy.name))
            if behind.intersection(server.needs)
            else server
            for server in self.servers
        )
        facts = {**self.facts, "faults": proxy.standing}
        return replace(self, servers=(*servers, proxy), facts=facts)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(server.name for server in self.servers)

    @property
    def front(self) -> str:
        """Name of the front door: the service on the base port itself."""
        fronts = [server.name for server in self.servers if server.port == 0]
        return fronts[0] if fronts else self.servers[0].name

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """The topology's own secrets and those its servers ask for."""
        asked = [name for server in self.servers for name in server.secrets]
        return tuple(dict.fromkeys([*self.secrets, *asked]))

    def server(self, name: str) -> Server:
        """The service called `name`. Raises UsageError naming all of them."""
        for server in self.servers:
            if server.name == name:
                return server
        raise UsageError(f"{self.week} has no service {name!r}: it has {', '.join(self.names)}")

    def ports(self, environ: Mapping[str, str]) -> dict[str, int]:
        """Port of every service after the user's overrides.

        `PORT` moves the whole week (the front door and all inner ports behind it);
        `PORT_API1=9001` moves one service. Raises UsageError for what is no port, for a name
        that no service has, and when two services would meet on one port.
        """
        base = _port("PORT", environ["PORT"]) if environ.get("PORT") else self.base_port
        offsets = {
            name: offset for server in self.servers for name, offset in server.port_offsets.items()
        }
        ports = {name: base + offset for name, offset in offsets.items()}
        by_variable = {port_variable(name): name for name in offsets}
        for variable, text in environ.items():
            if not re.fullmatch(r"PORT_[A-Z0-9_]+", variable) or not text:
                continue
            if variable not in by_variable:
                known = ", ".join(sorted(by_variable))
                raise UsageError(f"{self.week} has no {variable}: it has {known}")
            ports[by_variable[variable]] = _port(variable, text)
        _check_distinct(ports)
        return ports


def start_order(servers: tuple[Server, ...]) -> list[list[str]]:
    """Groups of names; each group needs only groups before it. Raises ValueError on a cycle."""
    waiting = {server.name: set(server.needs) for server in servers}
    order: list[list[str]] = []
    while waiting:
        free = [name for name, needs in waiting.items() if not needs]
        if not free:
            raise ValueError(f"these services need each other in a circle: {sorted(waiting)}")
        order.append(free)
        waiting = {
            name: needs.difference(free) for name, needs in waiting.items() if name not in free
        }
    return order


def port_variable(name: str) -> str:
    """`kafka-controller` is moved by `PORT_KAFKA_CONTROLLER`."""
    return "PORT_" + name.upper().replace("-", "_")


def is_port(number: int) -> bool:
    """Whether an ordinary user's server may listen on it."""
    return PORT_MIN <= number <= PORT_MAX


def clone_of(week_module_file: str) -> Path:
    """Root of the clone from a `weekNN/lab.py`'s `__file__`."""
    return Path(week_module_file).resolve().parents[1]


def _port(variable: str, text: str) -> int:
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not is_port(port):
        raise UsageError(f"{variable}={text} is no port: use a number {PORT_MIN} to {PORT_MAX}")
    return port


def _check_distinct(ports: Mapping[str, int]) -> None:
    seen: dict[int, str] = {}
    for name, port in ports.items():
        if port > PORT_MAX:
            raise UsageError(f"{name} would get port {port}, past {PORT_MAX}: use a lower PORT")
        if port in seen:
            raise UsageError(
                f"{seen[port]} and {name} would both use {HOST}:{port}: "
                f"move one with {port_variable(name)}=..."
            )
        seen[port] = name
