"""A week's instance as seen from here, when its services are on machines of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.lab.errors import LabError
from infra.lab.site import Site


class InTheVault(Mapping[str, str]):
    """Secrets that this machine does not have: each that is asked for is refused in one line."""

    def __getitem__(self, name: str) -> str:
        raise LabError(
            f"{name} is in the vault of the machines: what needs it runs there, not from here"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


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
