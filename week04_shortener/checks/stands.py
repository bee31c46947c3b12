"""What the claims run on: the week's own services, and beside them the controls' variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from infra.evidence import Lab, Mechanism
from infra.lab.servers.base import Server
from week04_shortener.lab import front, postgres, replica, topology, worker

VARIANTS = "week04_shortener.checks.variants"
MORE_VARIANTS = "week04_shortener.checks.careless"
NAIVE_CONSUMER = "consumer-naive"
FORWARDER = "forwarder-steady"
HURRIED_FORWARDER = "forwarder-hurried"
"""Two that carry the clicks of one replica each, and differ in their pauses alone."""

_FIRST_PORT = 20
_PORTS_EACH = 3
_FIRST_ALONE = 70
_CONNECTIONS = "250"
"""Each replica may open as many as its pool has, and here are more replicas than in `up`."""


@dataclass(frozen=True)
class Stand:
    """Replicas, and where they are asked: a front door, or the only one of them."""

    front: str
    replicas: tuple[str, ...]


WEEK = Stand("nginx", ("api1", "api2"))


def door_of(lab: Lab, mechanism: Mechanism, control: Stand) -> str:
    """Where a claim that judges targets too asks: the target's, the week's, or its control's."""
    if lab.site is None:
        return lab.url
    return lab.site.url((WEEK if mechanism is Mechanism.ON else control).front)


def _stand(name: str) -> Stand:
    return Stand(f"nginx-{name}", (f"api1-{name}", f"api2-{name}"))


LINKS_IN_MEMORY = _stand("memory-links")
WITHOUT_CACHE = _stand("no-cache")
PATIENT = _stand("patient")
WITHOUT_FLIGHT = _stand("no-flight")
FLIGHT_ALONE = _stand("flight-alone")
LEASE_ALONE = _stand("lease-alone")
CLICKS_IN_MEMORY = _stand("memory-clicks")
CARELESS = _stand("careless")
FIXED_WINDOW = Stand("api-fixed-window", ("api-fixed-window",))
OWN_IDS = Stand("nginx-own-ids", WEEK.replicas)
"""The week's replicas behind a front door that keeps its ids to itself."""
AWAITS_KAFKA = Stand("api-awaits-kafka", ("api-awaits-kafka",))
BELIEVING = Stand("api-believing", ("api-believing",))

_WEEKS_OWN = "week04_shortener.service:create_app"
_APPS = {
    LINKS_IN_MEMORY: f"{VARIANTS}:links_in_memory",
    WITHOUT_CACHE: f"{VARIANTS}:without_cache",
    PATIENT: _WEEKS_OWN,
    WITHOUT_FLIGHT: f"{VARIANTS}:without_flight",
    FLIGHT_ALONE: f"{VARIANTS}:flight_alone",
    LEASE_ALONE: f"{VARIANTS}:lease_alone",
    CLICKS_IN_MEMORY: f"{VARIANTS}:clicks_in_memory",
    CARELESS: f"{MORE_VARIANTS}:careless",
}

_PATIENCE = {
    "SHORTENER_CACHE_TIMEOUT_S": "2",
    "SHORTENER_LEASE_WAIT_S": "3",
    "SHORTENER_LEASE_TTL_S": "6",
    "SHORTENER_FILL_WAIT_S": "3",
    "SHORTENER_LOCAL_ENTRIES": "0",
}
"""Of all stands on which herds are compared, the controls' too. With the defaults a replica that
gets no processor for a tenth of a second goes on without Valkey, and so without the lease: right
for a service, but then a busy machine would be measured and not the lease. And no memory of their
own: a replica that made the link a moment ago would answer its share of the herd out of it."""

KEY_WRITES = 10
KEY_WINDOW_S = 2.0
"""Of those stands on which limits are tried: few enough to be reached within a moment."""

_LIMITS = {
    "SHORTENER_KEY_WRITES": str(KEY_WRITES),
    "SHORTENER_KEY_WINDOW_S": str(KEY_WINDOW_S),
}

_FORWARDER_SETTINGS = {"SHORTENER_KAFKA_REQUEST_TIMEOUT_S": "1"}
"""The library's own attempts end sooner, and those of the forwarder itself begin."""

_HURRY = {"SHORTENER_RETRY_FIRST_S": "0.02", "SHORTENER_RETRY_MOST_S": "0.02"}

_SETTINGS = {
    CARELESS: {**_LIMITS, "SHORTENER_ALLOW_PRIVATE_TARGETS": "true"},
    FIXED_WINDOW: _LIMITS,
}

_PATIENT_ONES = (PATIENT, WITHOUT_FLIGHT, FLIGHT_ALONE, LEASE_ALONE)


def _servers() -> list[Server]:
    found: list[Server] = [
        worker(NAIVE_CONSUMER, "count-every-message", _FIRST_PORT - 1, module=VARIANTS)
    ]
    for number, (stand, app) in enumerate(_APPS.items()):
        changed = _PATIENCE | _LIMITS if stand in _PATIENT_ONES else _SETTINGS.get(stand, {})
        port = _FIRST_PORT + number * _PORTS_EACH
        found.append(front(stand.front, port, stand.replicas))
        for place, name in enumerate(stand.replicas, 1):
            found.append(replica(name, port + place, app, changed))
    return [*found, *_alone()]


def _alone() -> list[Server]:
    """Those without a front door of their own."""
    return [
        replica(AWAITS_KAFKA.front, _FIRST_ALONE, f"{MORE_VARIANTS}:awaits_kafka"),
        replica(
            FIXED_WINDOW.front,
            _FIRST_ALONE + 3,
            f"{MORE_VARIANTS}:fixed_window",
            _SETTINGS[FIXED_WINDOW],
        ),
        replace(
            front(OWN_IDS.front, _FIRST_ALONE + 4, OWN_IDS.replicas),
            config="week04_shortener/checks/own_ids.conf",
        ),
        replica(BELIEVING.front, _FIRST_ALONE + 5, f"{MORE_VARIANTS}:believing"),
        _forwarder(FORWARDER, _FIRST_ALONE + 1, PATIENT.replicas[0], {}),
        _forwarder(HURRIED_FORWARDER, _FIRST_ALONE + 2, PATIENT.replicas[1], _HURRY),
    ]


def _forwarder(name: str, port: int, of: str, changed: Mapping[str, str]) -> Server:
    usual = worker(name, "forwarder", port, replica=of)
    return replace(
        usual,
        environment=lambda site: {**usual.environment(site), **_FORWARDER_SETTINGS, **changed},
    )


_roomy = replace(postgres, settings={**postgres.settings, "max_connections": _CONNECTIONS})

with_variants = replace(
    topology,
    servers=(
        *(_roomy if server is postgres else server for server in topology.servers),
        *_servers(),
    ),
)
