"""Who takes part: the week as `up` runs it, the plain endpoint in the same topology, the floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from infra.lab.servers.nginx import Nginx
from infra.lab.servers.python import PythonProcess
from infra.lab.site import Site
from week04_shortener.bench.about import BASELINE, FLOOR, OURS
from week04_shortener.lab import FORWARDERS, PREFIX, front, settings, topology

PLAIN_FRONT, PLAIN_REPLICAS = "nginx-plain", ("plain1", "plain2")
FLOOR_FRONT, FLOOR_BACK = "nginx-floor", "floor"
_FIRST_PORT = 30


@dataclass(frozen=True)
class Contestant:
    """One that is asked for redirects.

    Attributes:
        door: the service that is asked.
        serving: services by the name under which their processor time is told; what a redirect
            costs is the sum of them.
        behind: the same of those whose time is told apart.
        logs_clicks: after a round it is waited until every click was counted.
    """

    name: str
    says: str
    door: str
    serving: Mapping[str, tuple[str, ...]]
    behind: Mapping[str, tuple[str, ...]]
    logs_clicks: bool = False


_STORES = {"Valkey": ("valkey",), "PostgreSQL": ("postgres",)}
PIPELINE = {"forwarders": FORWARDERS, "Kafka": ("kafka",), "consumer": ("consumer",), **_STORES}
_OURS_SAYS = "as `up` runs it: cache-aside with all tiers, each click logged before its redirect"
_PLAIN_SAYS = "FastAPI, uvicorn, redis and asyncpg as most would write it; no click is recorded"
_FLOOR_SAYS = "nginx with `return 302`: the least that a redirect can cost here"

DIRECT = (
    Contestant(FLOOR, _FLOOR_SAYS, FLOOR_BACK, {"nginx": (FLOOR_BACK,)}, {}),
    Contestant(OURS, _OURS_SAYS, "api1", {"API": ("api1",)}, PIPELINE, logs_clicks=True),
    Contestant(BASELINE, _PLAIN_SAYS, "plain1", {"API": ("plain1",)}, _STORES),
)
"""One process that answers, asked without a proxy."""

PROXIED = (
    Contestant(
        FLOOR,
        _FLOOR_SAYS,
        FLOOR_FRONT,
        {"nginx": (FLOOR_FRONT,), "nginx behind it": (FLOOR_BACK,)},
        {},
    ),
    Contestant(
        OURS,
        _OURS_SAYS,
        "nginx",
        {"nginx": ("nginx",), "API": ("api1", "api2")},
        PIPELINE,
        logs_clicks=True,
    ),
    Contestant(
        BASELINE,
        _PLAIN_SAYS,
        PLAIN_FRONT,
        {"nginx": (PLAIN_FRONT,), "API": PLAIN_REPLICAS},
        _STORES,
    ),
)
"""Both replicas behind nginx."""


def _plain(name: str, port: int) -> PythonProcess:
    return PythonProcess(
        name=name,
        port=port,
        needs=("setup", "valkey"),
        arguments=lambda site: _plain_words(site, name),
        environment=lambda site: settings(site, name),
        settings_prefix=PREFIX,
    )


def _plain_words(site: Site, name: str) -> tuple[str, ...]:
    return (
        *("-m", "uvicorn", "--factory", "week04_shortener.bench.baseline:create_app"),
        *("--no-access-log", "--log-level", "warning"),
        *("--host", site.bind_host, "--port", str(site.ports[name])),
    )


with_others = replace(
    topology,
    servers=(
        *topology.servers,
        front(PLAIN_FRONT, _FIRST_PORT, PLAIN_REPLICAS),
        *(_plain(name, _FIRST_PORT + number) for number, name in enumerate(PLAIN_REPLICAS, 1)),
        front(FLOOR_FRONT, _FIRST_PORT + 3, (FLOOR_BACK,)),
        Nginx(
            name=FLOOR_BACK,
            port=_FIRST_PORT + 4,
            config="week04_shortener/bench/floor.conf",
            probe_path="/health/live",
        ),
    ),
)
