"""What an instance adds to the week's compose files: the model that runs, from the one that was
read."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.lab.engines.compose import model
from infra.lab.engines.compose.inside import ComposeSite
from infra.lab.engines.compose.model import complete
from infra.lab.engines.compose.parts import LABEL_OWNER, Instance
from infra.lab.errors import LabError
from infra.lab.faults import questions
from infra.lab.faults.server import ProxiedLink, fault_proxy
from infra.lab.servers.base import Server
from infra.lab.servers.kafka import Kafka
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.python import PythonProcess
from infra.lab.servers.valkey import Valkey
from infra.lab.site import Site
from infra.lab.topology import Topology


def api(name: str, port: int, word: str = "own") -> PythonProcess:
    return PythonProcess(
        name=name,
        port=port,
        needs=("setup",),
        arguments=lambda site: ("-m", word, site.bind_host, str(site.ports[name])),
        environment=lambda site: {
            "APP_DATABASE": site.way("db"),
            "APP_KAFKA": site.way("kafka"),
            "APP_LOG": str(site.data_dir("clicks") / name),
            "APP_URL": site.url("front"),
            "APP_PROXIES": site.proxies,
            "APP_PRICE": "5$",
        },
        settings_prefix="APP_",
        user_variables=("SERVER",),
        proxies_setting="APP_PROXIES",
    )


def front(name: str, port: int, behind: str) -> Nginx:
    return Nginx(
        name=name, port=port, needs=(behind,), config="config/f.conf", upstreams={"app": (behind,)}
    )


SETUP = PythonProcess(
    name="setup", one_shot=True, arguments=lambda site: ("-m", "x"), environment=lambda site: {}
)
DB = Postgres(name="db", port=2, database="d", password_secret="d", settings={"work_mem": "1MB"})
WEEK: tuple[Server, ...] = (
    front("front", 0, "api"),
    api("api", 1),
    SETUP,
    DB,
    Kafka(name="kafka", port=3, controller_port=4),
)
CONTROLS = (front("front-off", 20, "api-off"), api("api-off", 21, "off"))
LABELS = {"a": "b"}


def week(*more: Server) -> Topology:
    proxy = fault_proxy("faults", 10, (ProxiedLink("db", 11, questions.postgres()),))
    return Topology(week="week97", title="t", base_port=5000, servers=(*WEEK, *more), faults=proxy)


def resolved() -> dict[str, Any]:
    """As `docker compose config --format json` prints it, but for what no test is about."""

    def port(published: int, target: int) -> dict[str, Any]:
        return {
            "mode": "ingress",
            "host_ip": "127.0.0.1",
            "target": target,
            "published": str(published),
            "protocol": "tcp",
        }

    ours = {"image": "lab/week97:local", "read_only": True, "networks": {"lab": None}}
    depends = {"faults": {"condition": "service_healthy"}, "setup": {"condition": "x"}}
    return {
        "name": "week97",
        "services": {
            "front": {
                "image": "nginx:1",
                "user": "nginx",
                "tmpfs": ["/tmp"],
                "networks": {"lab": {"ipv4_address": "172.31.9.10"}},
                "ports": [port(5000, 5000)],
                "healthcheck": {"test": ["CMD", "x"]},
            },
            "api": {
                **ours,
                "command": ["-m", "own"],
                "environment": {"APP_PRICE": "4$$"},
                "depends_on": depends,
                "healthcheck": {"test": ["CMD", "x"]},
                "labels": LABELS,
                "ports": [port(5001, 5001)],
                "volumes": [{"type": "volume", "source": "clicks", "target": "/data"}],
            },
            "setup": {**ours, "build": {"context": "/c", "args": {"WEEK": "week97"}}},
            "db": {
                "image": "postgres:18",
                "ports": [port(5002, 5432)],
                "volumes": [{"type": "volume", "source": "db", "target": "/var/lib/postgresql"}],
            },
            "kafka": {"image": "kafka:4", "ports": [port(5003, 9095)]},
        },
        "networks": {"lab": {"name": "n", "ipam": {"config": [{"subnet": "172.31.9.0/24"}]}}},
        "volumes": {"clicks": {"name": "c"}, "db": {"name": "d"}, "unused": {"name": "u"}},
    }


def instance(topology: Topology, owner: str | None = None) -> Instance:
    site = ComposeSite(
        week="week97",
        clone=Path("/clone"),
        home=Path("/home"),
        root=Path("/root dir"),
        ports=topology.ports({}),
        secrets={"d": "s"},
        account=None,
    )
    return Instance(
        project="week97-abc", topology=topology, site=site, user="1000:100", owner=owner
    )


def of(topology: Topology, owner: str | None = None) -> dict[str, Any]:
    return complete(resolved(), instance(topology, owner))


def test_the_files_are_left_as_they_are() -> None:
    before = resolved()
    given = copy.deepcopy(before)
    complete(given, instance(week(*CONTROLS), "1:1"))
    assert given == before


def test_a_persons_instance_changes_only_what_only_it_can_know() -> None:
    found = of(week())
    services = found["services"]
    assert services["kafka"] == {**resolved()["services"]["kafka"], "labels": {}}
    assert services["front"]["healthcheck"] and services["db"]["image"] == "postgres:18"
    assert services["api"]["user"] == "1000:100"
    assert services["api"]["environment"] == {"APP_PRICE": "4$$"}
    assert services["api"]["labels"] == LABELS
    assert "user" not in services["db"] and "command" not in services["db"]


def test_what_ours_writes_is_read_here_and_what_a_server_writes_is_its_own() -> None:
    services = of(week())["services"]
    [mount] = services["api"]["volumes"]
    assert (mount["type"], mount["source"]) == ("bind", "/root dir/data/clicks")
    assert mount["target"] == "/data" and not mount["bind"]["create_host_path"]
    assert services["db"]["volumes"][0]["type"] == "volume"
    assert list(of(week())["volumes"]) == ["db"]
    assert model.volumes_of_ours(resolved(), week()) == ["clicks"]


def test_nothing_waits_for_a_service_that_is_not_there() -> None:
    assert list(of(week())["services"]["api"]["depends_on"]) == ["setup"]


def test_names_and_addresses_are_the_instances_own() -> None:
    found = of(week(), "77:1.5")
    assert found["name"] == "week97-abc"
    assert found["volumes"]["db"] == {
        "name": "week97-abc_db",
        "labels": {LABEL_OWNER: "77:1.5"},
    }
    network = found["networks"]["lab"]
    assert network["name"] == "week97-abc_lab"
    # What Docker chooses never meets what the files give: 172.31.9.10 stays free.
    [pool] = network["ipam"]["config"]
    assert pool == {"subnet": "172.31.9.0/24", "ip_range": "172.31.9.128/25"}
    labels = [body["labels"].get(LABEL_OWNER) for body in found["services"].values()]
    assert set(labels) == {"77:1.5"}


def test_an_instance_for_checks_asks_by_itself_and_has_room() -> None:
    services = of(week(), "77:1.5")["services"]
    assert not any("healthcheck" in body or "depends_on" in body for body in services.values())
    assert services["db"]["command"] == ["postgres", "-c", "work_mem=1MB"]


def test_claims_may_ask_a_service_as_its_proxy_would() -> None:
    own = of(week())["services"]["api"]["environment"]
    of_claims = of(week(), "77:1.5")["services"]["api"]["environment"]
    assert "APP_PROXIES" not in own
    assert of_claims["APP_PROXIES"] == "172.31.9.0/24"


def test_a_control_is_made_in_the_likeness_of_the_weeks_own() -> None:
    found = of(week(*CONTROLS), "77:1.5")["services"]["api-off"]
    assert found["command"] == ["-m", "off", "0.0.0.0", "5021"]
    assert found["environment"] == {
        "PYTHONUNBUFFERED": "1",
        "APP_DATABASE": "db:5432",
        "APP_KAFKA": "kafka:9092",
        "APP_LOG": "/data/clicks/api-off",
        "APP_URL": "http://127.0.0.1:5000",
        "APP_PROXIES": "172.31.9.0/24",
        "APP_PRICE": "5$$",
    }
    assert found["read_only"] and found["user"] == "1000:100"
    [port] = found["ports"]
    assert (port["host_ip"], port["target"], port["published"]) == ("127.0.0.1", 5021, "5021")
    [mount] = found["volumes"]
    assert (mount["source"], mount["target"]) == ("/root dir/data", "/data")
    assert "build" not in found


def test_a_controls_front_door_includes_the_weeks_own_lesson() -> None:
    topology = week(*CONTROLS)
    found = of(topology, "77:1.5")["services"]["front-off"]
    assert found["networks"] == {"lab": None}  # the address is that of the week's own
    mounts = {mount["target"]: mount for mount in found["volumes"]}
    assert mounts["/opt/app/config/f.conf"]["source"] == "/clone/config/f.conf"
    assert all(mount["read_only"] for mount in mounts.values())
    texts = model.nginx_files(topology, resolved(), instance(topology))
    assert list(texts) == ["front-off"]
    assert "server api-off:5021 " in texts["front-off"]
    assert "listen 0.0.0.0:5020;" in texts["front-off"]
    assert 'include "/opt/app/config/f.conf";' in texts["front-off"]


def test_controls_need_the_image_that_holds_them() -> None:
    assert not model.has_checks(of(week()))
    found = of(week(*CONTROLS), "77:1.5")
    assert model.has_checks(found)
    ours = {found["services"][name]["image"] for name in ("api", "setup", "api-off")}
    assert ours == {"lab/week97:checks"}
    assert found["services"]["db"]["image"] == "postgres:18"
    assert found["services"]["setup"]["build"]["args"] == {"WEEK": "week97", "CHECKS": "1"}
    assert model.built(found) == ["setup"]


def test_links_through_the_proxy_are_the_way_of_controls_too() -> None:
    topology = week(*CONTROLS).with_faults()
    read = resolved()
    mapping = {"target": 8411, "published": "5011"}
    read["services"]["faults"] = {"image": "t", "profiles": ["faults"], "ports": [mapping]}
    found = complete(read, instance(topology, "77:1.5"))["services"]
    assert found["api-off"]["environment"]["APP_DATABASE"] == "faults:8411"
    assert "profiles" not in found["faults"]


def test_a_service_that_nothing_is_like_is_refused() -> None:
    with pytest.raises(LabError, match=r"compose\.yaml has no service 'cache'"):
        of(week(Valkey(name="cache", port=30)))


def test_the_users_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_TTL_S", "5$")
    own = of(week())["services"]["api"]
    assert own["environment"] == {"APP_PRICE": "4$$", "APP_TTL_S": "5$$"}
    assert own["command"] == ["-m", "own"]
    monkeypatch.setenv("SERVER", "other")
    assert of(week())["services"]["api"]["command"] == ["-m", "own", "0.0.0.0", "5001"]


def test_what_runs_tells_what_it_was_started_from() -> None:
    first, again = (model.sealed(of(week())) for _ in range(2))
    assert model.digest_of(first) == model.digest_of(again)
    changed = of(week())
    changed["services"]["db"]["image"] = "postgres:19"
    assert model.digest_of(model.sealed(changed)) != model.digest_of(first)


def test_ports_of_this_machine_by_their_names() -> None:
    topology = week()
    assert model.published(of(topology), instance(topology).site) == {
        "front": 5000,
        "api": 5001,
        "db": 5002,
        "kafka": 5003,
    }


def test_the_inside_of_a_site_is_another_than_the_outside() -> None:
    site: Site = instance(week()).site
    assert (site.bind_host, site.proxies) == ("127.0.0.1", "127.0.0.1/32")
    assert not site.shares_processes
    plain = Site(
        **{name: getattr(replace(site), name) for name in Site.__dataclass_fields__}  # as local
    )
    assert plain.shares_processes
