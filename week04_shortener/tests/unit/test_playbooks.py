"""The playbooks' variables say what lab.py says, where both say the same thing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with schemathesis

from infra.bootstrap import clone_root
from infra.lab.site import Site
from week04_shortener import lab
from week04_shortener.settings import Settings

VARIABLES = clone_root() / "week04_shortener/ansible/group_vars/all/main.yml"
SERVER_PROPERTIES = clone_root() / "infra/ansible/roles/kafka/templates/server.properties.j2"
WORKERS = ("forwarder1", "forwarder2", "consumer", "relay")


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(
        week="week04",
        root=tmp_path / "week04",
        home=tmp_path,
        clone=clone_root(),
        ports=lab.topology.ports({}),
        secrets=dict.fromkeys(lab.topology.all_secrets, "secret"),
        account=None,
    )


def test_the_ports_are_those_of_the_clone(variables: dict[str, Any]) -> None:
    ports = lab.topology.ports({})
    assert variables["week04_port"] == ports["nginx"]
    assert variables["week04_ports"] == {name: ports[name] for name in (*lab.REPLICAS, *WORKERS)}


def test_servers_are_set_as_in_the_clone(variables: dict[str, Any]) -> None:
    assert variables["postgresql_settings"] == lab.postgres.settings
    [database] = variables["postgresql_databases"]
    assert database["name"] == lab.postgres.database
    assert tuple(database["extensions"]) == lab.postgres.extensions
    assert variables["valkey_settings"] == lab.valkey.settings
    assert variables["nginx_keepalive"] == lab.front("nginx", 0, lab.REPLICAS).keepalive
    assert variables["nginx_config"] == lab.front("nginx", 0, lab.REPLICAS).config


def test_the_broker_is_set_as_in_the_clone(site: Site) -> None:
    ours = _entries(lab.kafka.properties(site))
    theirs = _entries(SERVER_PROPERTIES.read_text(encoding="utf-8"))
    # Where things are is another matter on each engine.
    places = {name for name in ours if "listener" in name or "bootstrap" in name} | {"log.dirs"}
    assert theirs.keys() == ours.keys()
    assert {name: theirs[name] for name in theirs.keys() - places} == {
        name: ours[name] for name in ours.keys() - places
    }


def test_services_are_told_what_they_are_told_in_the_clone(
    variables: dict[str, Any], site: Site
) -> None:
    text = VARIABLES.read_text(encoding="utf-8")
    told = set(re.findall(r"\bSHORTENER_[A-Z_]+", text))
    assert set(lab.settings(site, "api1")) <= told
    assert {name.removeprefix("SHORTENER_").lower() for name in told} <= set(Settings.model_fields)
    for words in ("'-m', 'week01_http_server', '--factory'", "week04_shortener.service:create_app"):
        assert words in text


def _entries(properties: str) -> dict[str, str]:
    """Of a .properties file, the template's own lines left out."""
    lines = [line for line in properties.splitlines() if line and line[0] not in "#{"]
    return dict(line.split("=", 1) for line in lines)
