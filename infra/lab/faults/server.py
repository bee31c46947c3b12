"""The fault proxy as a service of a topology, with links that are there from the start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra.lab.errors import UsageError
from infra.lab.faults.client import Faults
from infra.lab.faults.kinds import described
from infra.lab.faults.probes import Link
from infra.lab.faults.questions import Question
from infra.lab.servers.python import PythonProcess
from infra.lab.site import HOST, Site, behind, link_to, make_dir

HEARTBEAT_TTL_S = 5.0
"""A proxy that cannot see our process drops its faults so long after the last sign of it."""


@dataclass(frozen=True)
class ProxiedLink:
    """The way of all services of a week to one of them: they take `site.way(to)` for an address.

    Attributes:
        to: the service behind it.
        port: offset to the week's base port.
        question: what that service answers.
        behind: offset of a port that the service opens for this link alone. For servers that tell
            their clients where to go on (Kafka): here it tells them the link.
    """

    to: str
    port: int
    question: Question
    behind: int | None = None

    @property
    def ports(self) -> Mapping[str, int]:
        """Name and offset of each."""
        own = {link_to(self.to): self.port}
        return own if self.behind is None else {**own, behind(self.to): self.behind}

    def upstream(self, site: Site) -> str:
        return site.address(self.to if self.behind is None else behind(self.to))


@dataclass(frozen=True, kw_only=True, eq=False)
class FaultProxy(PythonProcess):
    """`infra.lab.faults.proxy`; its own port is the HTTP API's."""

    links: tuple[ProxiedLink, ...] = ()

    @property
    def kind(self) -> str:
        return "fault proxy in Python"

    @property
    def port_offsets(self) -> Mapping[str, int]:
        of_links = {name: port for link in self.links for name, port in link.ports.items()}
        return {**super().port_offsets, **of_links}

    def prepare(self, site: Site) -> None:
        entries = [
            {
                "name": link_to(link.to),
                "listen": site.way(link.to),
                "upstream": link.upstream(site),
            }
            for link in self.links
        ]
        make_dir(site.run_dir(self.name))
        (site.run_dir(self.name) / "links.json").write_text(json.dumps(entries, indent=2) + "\n")

    def client(self, site: Site) -> Faults:
        """Applies faults to the links; they end with this process."""
        heartbeat = None if site.shares_processes else HEARTBEAT_TTL_S
        return Faults(HOST, site.ports[self.name], heartbeat)

    def link(self, site: Site, to: str) -> Link:
        """The link to the service `to`. Raises UsageError, with the list, where there is none."""
        for found in self.links:
            if found.to == to:
                name = link_to(to)
                return Link(
                    *(name, HOST, site.ports[name], found.upstream(site), found.question),
                    relayed=not site.shares_processes,
                )
        names = ", ".join(link.to for link in self.links)
        raise UsageError(f"no link leads to {to!r}: links lead to {names}")

    async def standing(self, site: Site) -> str:
        """The faults that stand, in one line."""
        found = await self.client(site).standing()
        told = [
            f"{link.to}: {words}"
            for link in self.links
            if (words := described(found.get(link_to(link.to), [])))
        ]
        return "; ".join(told) or "none"


def fault_proxy(name: str, port: int, links: tuple[ProxiedLink, ...] = ()) -> FaultProxy:
    """It needs none of the services behind its links, and comes back with its links."""
    return FaultProxy(
        name=name,
        port=port,
        links=links,
        arguments=lambda site: (
            *("-m", "infra.lab.faults.proxy"),
            *("--host", site.bind_host, "--port", str(site.ports[name])),
            *("--config", str(site.run_dir(name) / "links.json")),
        ),
        environment=lambda site: {},
        ready_path="/version",
    )
