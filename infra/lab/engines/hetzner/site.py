"""A week's instance as seen from here, when its services are on machines of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.lab.errors import LabError
from infra.lab.site import Site


@dataclass(frozen=True)
class RemoteSite(Site):
    """A site whose services are elsewhere.

    Attributes:
        addresses: of each service's host, by the service's name; empty before anyone asked.
    """

    addresses: Mapping[str, str]

    @property
    def shares_processes(self) -> bool:
        return False

    def address(self, name: str) -> str:
        """Host and port. Raises LabError while nobody knows on which host the service is."""
        if name not in self.addresses:
            raise LabError(
                f"no host of the inventory runs {name}: `make {self.week} up ENGINE=hetzner` first"
            )
        return f"{self.addresses[name]}:{self.ports[name]}"
