"""A week as its own containers see it: names for addresses, one number for a port everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.lab.site import Site

CLONE = Path("/opt/app")
"""Where the service image holds the code."""

DATA = Path("/data")
EVERYWHERE = "0.0.0.0"


@dataclass(frozen=True)
class ComposeSite(Site):
    """An instance of containers, as this machine sees it: their ports are published here."""

    @property
    def shares_processes(self) -> bool:
        return False


@dataclass(frozen=True)
class InsideSite(Site):
    """The same instance, as a service in it is told of the others.

    Attributes:
        addresses: `service:port` by the name of the port.
        network: addresses of the week's own network (CIDR).
    """

    addresses: Mapping[str, str] = field(default_factory=dict)
    network: str = ""

    @property
    def bind_host(self) -> str:
        # A container's own loopback is reached by nobody else; what the machine publishes is
        # on its loopback alone.
        return EVERYWHERE

    @property
    def proxies(self) -> str:
        return self.network

    @property
    def shares_processes(self) -> bool:
        return False

    def address(self, name: str) -> str:
        return self.addresses[name]

    def data_dir(self, name: str) -> Path:
        return DATA / name

    def url(self, name: str) -> str:
        """What people type: the published address."""
        return f"http://{super().address(name)}"


def inside(site: Site, addresses: Mapping[str, str], network: str) -> InsideSite:
    """`site` as its containers see it."""
    return InsideSite(
        week=site.week,
        clone=CLONE,
        home=CLONE,
        root=DATA,
        ports=site.ports,
        secrets=site.secrets,
        account=None,
        addresses=addresses,
        network=network,
    )
