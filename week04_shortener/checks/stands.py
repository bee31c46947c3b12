"""What the claims run on: the week's own services, and beside them the controls' variants."""

from __future__ import annotations

from dataclasses import dataclass, replace

from infra.lab.servers.base import Server
from week04_shortener.lab import front, postgres, replica, topology, worker

VARIANTS = "week04_shortener.checks.variants"
NAIVE_CONSUMER = "consumer-naive"

_FIRST_PORT = 20
_PORTS_EACH = 3
_CONNECTIONS = "250"
"""Each replica may open as many as its pool has, and here are more replicas than in `up`."""


@dataclass(frozen=True)
class Stand:
    """Two replicas and the front door before them."""

    front: str
    replicas: tuple[str, str]


WEEK = Stand("nginx", ("api1", "api2"))


def _stand(name: str) -> Stand:
    return Stand(f"nginx-{name}", (f"api1-{name}", f"api2-{name}"))


LINKS_IN_MEMORY = _stand("memory-links")
WITHOUT_CACHE = _stand("no-cache")
WITHOUT_FLIGHT = _stand("no-flight")
FLIGHT_ALONE = _stand("flight-alone")
LEASE_ALONE = _stand("lease-alone")
CLICKS_IN_MEMORY = _stand("memory-clicks")

_FACTORIES = {
    LINKS_IN_MEMORY: "links_in_memory",
    WITHOUT_CACHE: "without_cache",
    WITHOUT_FLIGHT: "without_flight",
    FLIGHT_ALONE: "flight_alone",
    LEASE_ALONE: "lease_alone",
    CLICKS_IN_MEMORY: "clicks_in_memory",
}


def _servers() -> list[Server]:
    found: list[Server] = [
        worker(NAIVE_CONSUMER, "count-every-message", _FIRST_PORT - 1, module=VARIANTS)
    ]
    for number, (stand, factory) in enumerate(_FACTORIES.items()):
        port = _FIRST_PORT + number * _PORTS_EACH
        found.append(front(stand.front, port, stand.replicas))
        for place, name in enumerate(stand.replicas, 1):
            found.append(replica(name, port + place, app=f"{VARIANTS}:{factory}"))
    return found


_roomy = replace(postgres, settings={**postgres.settings, "max_connections": _CONNECTIONS})

with_variants = replace(
    topology,
    servers=(
        *(_roomy if server is postgres else server for server in topology.servers),
        *_servers(),
    ),
)
