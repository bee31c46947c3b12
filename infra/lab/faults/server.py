"""The fault proxy as a service of a topology, with links that are there from the start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from infra.lab.faults.client import Faults
from infra.lab.faults.probes import Link
from infra.lab.faults.questions import Question
from infra.lab.servers.python import PythonProcess
from infra.lab.site import HOST, Site, make_dir


@dataclass(frozen=True)
class ProxiedLink:
    """A named way to a service.

    Attributes:
        name: also of its port, so a client service is given `site.address(name)`.
        port: offset to the week's base port.
        to: the service behind it.
        question: what that service answers.
    """

    name: str
    port: int
    to: str
    question: Question


@dataclass(frozen=True, kw_only=True, eq=False)
class FaultProxy(PythonProcess):
    """`infra.lab.faults.proxy`; its own port is the HTTP API's."""

    links: tuple[ProxiedLink, ...] = ()

    @property
    def kind(self) -> str:
        return "fault proxy"

    @property
    def port_offsets(self) -> Mapping[str, int]:
        return {**super().port_offsets, **{link.name: link.port for link in self.links}}

    def prepare(self, site: Site) -> None:
        entries = [
            {
                "name": link.name,
                "listen": site.address(link.name),
                "upstream": site.address(link.to),
            }
            for link in self.links
        ]
        make_dir(site.run_dir(self.name))
        (site.run_dir(self.name) / "links.json").write_text(json.dumps(entries, indent=2) + "\n")

    def client(self, site: Site) -> Faults:
        """Applies faults to the links."""
        return Faults(HOST, site.ports[self.name])

    def link(self, site: Site, name: str) -> Link:
        """The link called `name`. Raises KeyError for one that was not declared."""
        found = {link.name: link for link in self.links}[name]
        return Link(name, HOST, site.ports[name], site.address(found.to), found.question)


def fault_proxy(name: str, port: int, links: tuple[ProxiedLink, ...] = ()) -> FaultProxy:
    """It needs none of the services behind its links, and comes back with its links."""
    return FaultProxy(
        name=name,
        port=port,
        links=links,
        arguments=lambda site: (
            *("-m", "infra.lab.faults.proxy"),
            *("--host", HOST, "--port", str(site.ports[name])),
            *("--config", str(site.run_dir(name) / "links.json")),
        ),
        environment=lambda site: {},
        ready_path="/version",
    )
