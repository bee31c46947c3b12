"""What systemd says of a week's services on its hosts, as the lab's status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.lab.engines.base import ServiceStatus, State
from infra.lab.servers.base import Server
from infra.lab.topology import Topology

OTHER_UNITS = {"Valkey": "valkey-server.service"}
"""Units of Debian's own, by the kind of the server; all others are called as the service is."""
UP = (State.RUNNING, State.STARTING, State.RESTARTING, State.PAUSED)


@dataclass(frozen=True)
class Unit:
    """One service on one host.

    Attributes:
        host: its name in the inventory.
        address: where this machine reaches the host.
        properties: of `systemctl show`, and those that ask.sh adds.
    """

    host: str
    address: str
    name: str
    properties: Mapping[str, str]
    host_uptime_s: float

    @property
    def state(self) -> State:
        active = self.properties.get("ActiveState", "")
        if active == "active" and self.properties.get("SubState") == "exited":
            return State.DONE
        if active in ("active", "reloading", "refreshing"):
            return State.PAUSED if self.properties.get("Process") == "T" else State.RUNNING
        if active == "activating":
            waits = self.properties.get("SubState", "").startswith("auto-restart")
            return State.RESTARTING if waits else State.STARTING
        # Killed on purpose is no failure: nothing will bring it back until `start`.
        return State.FAILED if active == "failed" and not self.is_killed else State.STOPPED

    @property
    def is_killed(self) -> bool:
        """Whether `kill` has lifted its restart policy."""
        return self.properties.get("Killed") == "yes"


def names_of(server: Server) -> tuple[str, ...]:
    """Units that may run `server` on a host; the first that a host has is the one."""
    other = OTHER_UNITS.get(server.kind)
    return (f"{server.name}.service", *([other] if other else []))


def find(server: Server, units: Iterable[Unit]) -> Unit | None:
    """The unit that runs `server`, if any host has it."""
    by_name = {unit.name: unit for unit in units}
    return next((by_name[name] for name in names_of(server) if name in by_name), None)


def parse(host: str, answer: str) -> list[Unit]:
    """The units that a host has, from what ask.sh printed there.

    Raises ValueError for what ask.sh does not print.
    """
    head, *blocks = [_properties(block) for block in answer.strip().split("\n\n")]
    uptime_s = float(head.get("Uptime", ""))
    return [
        Unit(host, head.get("Address", host), block["Asked"], block, uptime_s)
        for block in blocks
        if block.get("LoadState") == "loaded"
    ]


def _properties(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {name: value for name, separator, value in pairs if separator}


def statuses(
    topology: Topology, units: Iterable[Unit], ports: Mapping[str, int]
) -> list[ServiceStatus]:
    """One row per service, in the topology's order.

    A service that runs once and is no unit of its own (it ran when the week was set up) has none.
    """
    seen = list(units)
    rows = []
    for server in topology.servers:
        unit = find(server, seen)
        if unit is not None:
            rows.append(_status(server, unit, ports))
        elif not server.one_shot:
            rows.append(ServiceStatus(server.name, server.kind, State.STOPPED))
    return rows


def _status(server: Server, unit: Unit, ports: Mapping[str, int]) -> ServiceStatus:
    pid = _number(unit.properties.get("MainPID")) or None
    since_us = _number(unit.properties.get("ActiveEnterTimestampMonotonic"))
    state = unit.state
    runs = state in (State.RUNNING, State.PAUSED)
    # Only the front door is open to us. Of the others it is good to know where they are; their
    # ports are the host's own affair (PostgreSQL's is 5432 there).
    is_front = server.port == 0
    address = f"{unit.address}:{ports[server.name]}" if is_front else unit.host
    return ServiceStatus(
        name=server.name,
        kind=server.kind,
        state=state,
        address=address,
        pid=pid,
        memory_bytes=_number(unit.properties.get("MemoryCurrent")) if runs else None,
        uptime_s=max(0.0, unit.host_uptime_s - since_us / 1e6) if runs and since_us else None,
        restarts=_number(unit.properties.get("NRestarts")) or 0,
    )


def _number(text: str | None) -> int | None:
    """None for `[not set]` and what is missing."""
    return int(text) if text and text.isdigit() else None
