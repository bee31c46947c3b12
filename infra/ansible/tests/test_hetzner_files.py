"""The files of each week's servers agree with the week, and with each other."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from infra.ansible.hetzner.__main__ import command
from infra.bootstrap import clone_root
from infra.lab.weeks import packages, topology

FOLDER = clone_root() / "infra" / "ansible" / "hetzner"
WEEKS = sorted(path.parent.name for path in FOLDER.glob("week*/servers.yml"))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def test_each_week_with_playbooks_has_its_servers() -> None:
    clone = clone_root()
    with_playbooks = [
        week
        for week, package in packages(clone).items()
        if (clone / package / "ansible" / "site.yml").is_file()
    ]
    assert WEEKS and sorted(with_playbooks) == WEEKS


@pytest.mark.parametrize("week", WEEKS)
def test_the_servers_are_what_the_weeks_playbooks_want(week: str) -> None:
    servers = read(FOLDER / week / "servers.yml")
    clone = clone_root()
    sample = read(clone / packages(clone)[week] / "ansible" / "inventory.sample.yml")
    groups = {group for server in servers["hetzner_servers"] for group in server["groups"]}
    assert groups == set(sample["all"]["children"])
    assert "edge" in groups  # what the public ports are opened for
    declared = topology(clone, week)
    assert str(declared.base_port) in servers["hetzner_public_ports"]
    names = [server["name"] for server in servers["hetzner_servers"]]
    assert len(set(names)) == len(names) and all(name.startswith(f"{week}-") for name in names)


@pytest.mark.parametrize("week", WEEKS)
def test_the_inventory_asks_for_what_was_made(week: str) -> None:
    servers, inventory = read(FOLDER / week / "servers.yml"), read(FOLDER / week / "hcloud.yml")
    assert inventory["label_selector"] == f"managed_by=scaling-lab,week={week}"
    assert inventory["network"] == f"scaling-lab-{week}"
    subnet = servers["hetzner_subnet_range"]
    assert inventory["compose"]["private_network"] == f"'{subnet}'"
    inner, outer = ipaddress.ip_network(subnet), servers["hetzner_network_range"]
    assert inner.subnet_of(ipaddress.ip_network(outer))  # type: ignore[arg-type]


def test_weeks_can_have_servers_at_once() -> None:
    ranges = [read(FOLDER / week / "servers.yml")["hetzner_network_range"] for week in WEEKS]
    assert len(set(ranges)) == len(ranges)


@pytest.mark.parametrize("week", WEEKS)
def test_nobody_may_log_in_until_somebody_says_who(week: str) -> None:
    assert read(FOLDER / week / "servers.yml")["hetzner_ssh_sources"] == []


def test_the_words_of_make_become_those_of_ansible() -> None:
    create, destroy = str(FOLDER / "create.yml"), str(FOLDER / "destroy.yml")
    assert command(["up", "--week", "week04", "--yes"]) == [
        *("ansible-playbook", create, "-e", "week=week04", "-e", "yes=1")
    ]
    assert command(["up", "--check"]) == ["ansible-playbook", create, "--check"]
    assert command(["down"]) == ["ansible-playbook", destroy]


def test_another_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command(["sideways"])
    assert left.value.code == 2 and "sideways" in capsys.readouterr().err
