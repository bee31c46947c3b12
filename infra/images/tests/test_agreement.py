"""What compose.yaml tells the services is what lab.py tells them on every other engine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.bootstrap import clone_root
from infra.images.standins import kafka as kafka_standin
from infra.images.tests import rules
from infra.lab import weeks
from infra.lab.engines.compose.inside import InsideSite, inside
from infra.lab.servers.kafka import JVM_OPTIONS, Kafka
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.valkey import Valkey
from infra.lab.site import Site
from infra.lab.topology import Topology

CLONE = clone_root()
WEEKS = [
    week
    for week, package in weeks.packages(CLONE).items()
    if (CLONE / package / "compose.yaml").exists()
]
STANDARD = {"postgres": 5432, "valkey": 6379, "kafka": 9092}
"""On which upstream's servers listen inside their containers."""
OF_THE_ENGINE = ("SHORTENER_CLICK_LOG_DIR", "SHORTENER_TRUSTED_PROXIES")
"""Settings that depend on where things lie; the others must be the same."""
LISTENERS = (
    *("listeners", "advertised.listeners", "listener.security.protocol.map"),
    *("inter.broker.listener.name", "controller.listener.names", "log.dirs"),
    *("controller.quorum.bootstrap.servers", "controller.quorum.voters"),
)
"""Kafka's, which depend on the engine as well."""


def _site(topology: Topology) -> InsideSite:
    plain = Site(
        week=topology.week,
        clone=CLONE,
        home=Path("/home"),
        root=Path("/root"),
        ports=topology.ports({}),
        secrets={name: f"the {name}".replace(" ", "-") for name in topology.all_secrets},
        account=None,
    )
    addresses = {
        name: f"{server.name}:{STANDARD.get(server.name, plain.ports[name])}"
        for server in topology.servers
        for name in server.port_offsets
    }
    return inside(plain, addresses, "172.31.84.0/24")


def _told(week: str, topology: Topology) -> dict[str, Any]:
    """The services of compose.yaml with the site's secrets and the default ports."""
    package = weeks.packages(CLONE)[week]
    model = rules.parsed((CLONE / package / "compose.yaml").read_text())
    environ = {name.upper(): value for name, value in _site(topology).secrets.items()}
    services: dict[str, Any] = rules.in_full(model["services"], environ)
    return services


def _options(words: list[str]) -> Mapping[str, str]:
    """`-c name=value` of a command."""
    return dict(word.split("=", 1) for flag, word in pairwise(words) if flag == "-c")


@pytest.mark.parametrize("week", WEEKS)
def test_processes_have_the_settings_and_the_words_of_the_topology(week: str) -> None:
    topology = weeks.topology(CLONE, week)
    site = _site(topology)
    told = _told(week, topology)
    for server in rules.processes(topology):
        environment = told[server.name].get("environment", {})
        wanted = server.environment(site)
        assert environment.keys() == wanted.keys(), server.name
        same = {name: value for name, value in wanted.items() if name not in OF_THE_ENGINE}
        assert same.items() <= environment.items(), server.name
        assert told[server.name]["command"] == list(server.arguments(site)), server.name


@pytest.mark.parametrize("week", WEEKS)
def test_front_doors_include_the_weeks_file_and_know_the_same_replicas(week: str) -> None:
    topology = weeks.topology(CLONE, week)
    package = weeks.packages(CLONE)[week]
    fronts = [server for server in topology.servers if isinstance(server, Nginx)]
    assert fronts
    for front in fronts:
        body = _told(week, topology)[front.name]
        template = (CLONE / package / "config/compose/front.conf.template").read_text()
        file = Path(front.config).name
        mount = f"./{Path(front.config).relative_to(package)}:/etc/nginx/lab/{file}:ro"
        assert mount in body["volumes"] and f"include /etc/nginx/lab/{file};" in template
        for group, members in front.upstreams.items():
            block = re.search(rf"upstream {group} {{(.*?)\n}}", template, re.DOTALL)
            assert block is not None
            servers = re.findall(r"server (\S+):\$\{(\w+)\} resolve fail_timeout=(\d+)s;", block[1])
            assert [name for name, _, _ in servers] == list(members)
            assert {variable for _, variable, _ in servers} <= body["environment"].keys()
            assert {int(seconds) for _, _, seconds in servers} == {front.fail_timeout_s}
            assert f"keepalive {front.keepalive};" in block[1]


def test_week_4s_servers_are_set_as_on_the_local_engine() -> None:
    topology = weeks.topology(CLONE, "week04")
    told = _told("week04", topology)
    postgres, valkey, kafka = (topology.server(name) for name in STANDARD)
    assert isinstance(postgres, Postgres) and isinstance(valkey, Valkey)
    assert isinstance(kafka, Kafka)

    assert _options(told["postgres"]["command"]) == dict(postgres.settings)
    setup = (CLONE / "week04_shortener/config/compose/shortener.sql").read_text()
    for extension in postgres.extensions:
        assert f"CREATE EXTENSION IF NOT EXISTS {extension};" in setup
    assert f"CREATE DATABASE {postgres.database} OWNER {postgres.database};" in setup

    words = told["valkey"]["command"]
    settings = dict(zip(words[1::2], words[2::2], strict=True))
    assert {f"--{name}": value for name, value in valkey.settings.items()}.items() <= (
        settings.items()
    )
    assert settings["--save"] == "" and settings["--appendonly"] == "no"

    local = dict(line.split("=", 1) for line in kafka.properties(_plain(topology)).splitlines())
    here = kafka_standin.properties(told["kafka"]["environment"])
    for listener in LISTENERS:
        local.pop(listener, None)
        here.pop(listener, None)
    assert here == local
    jvm = told["kafka"]["environment"]
    given = f"{jvm['KAFKA_HEAP_OPTS']} {jvm['KAFKA_JVM_PERFORMANCE_OPTS']}".split()
    assert {*given} <= {*JVM_OPTIONS}


def _plain(topology: Topology) -> Site:
    """As the local engine has it."""
    return Site(
        week=topology.week,
        clone=CLONE,
        home=Path("/home"),
        root=Path("/root"),
        ports=topology.ports({}),
        secrets={},
        account=None,
    )


def test_week_4s_links_are_the_topologys() -> None:
    topology = weeks.topology(CLONE, "week04")
    assert topology.faults is not None
    links = json.loads((CLONE / "week04_shortener/config/compose/links.json").read_text())
    listening = {link["name"]: link["listen"].rpartition(":")[2] for link in links}
    ports = topology.with_faults().ports({})
    assert listening == {
        f"to-{link.to}": str(ports[f"to-{link.to}"]) for link in topology.faults.links
    }
    told = _told("week04", topology)
    published = [port.split(":") for port in told["faults"]["ports"]]
    assert {port[1]: port[2] for port in published[1:]} == {
        port: port for port in listening.values()
    }
    # Kafka sends those who come by the link on by the link: it has a listener for them alone.
    upstreams = {link["name"]: link["upstream"] for link in links}
    assert upstreams["to-postgres"] == "postgres:5432" and upstreams["to-valkey"] == "valkey:6379"
    kafka = told["kafka"]["environment"]
    listeners = dict(entry.split("://") for entry in kafka["KAFKA_LISTENERS"].split(","))
    advertised = dict(
        entry.split("://") for entry in kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    assert upstreams["to-kafka"].rpartition(":")[2] == listeners["LINK"].rpartition(":")[2]
    assert advertised["LINK"] == f"faults:{listening['to-kafka']}"
    assert advertised["INSIDE"] == f"kafka:{STANDARD['kafka']}"
    assert advertised["OUTSIDE"] == f"127.0.0.1:{ports['kafka']}"
