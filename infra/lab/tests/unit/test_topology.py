"""What a week's declaration refuses, and the ports that a user's settings make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.lab.errors import UsageError
from infra.lab.faults import questions
from infra.lab.faults.server import ProxiedLink, fault_proxy
from infra.lab.tests.sample import WEEK, light_week, task, web, week, whole_week
from infra.lab.topology import Topology, port_variable, start_order

PORTS = {"front": 21000, "web": 21001, "db": 21002, "cache": 21003}


def test_every_port_counts_from_the_base() -> None:
    assert whole_week().ports({}) == PORTS


def test_one_number_moves_the_whole_week() -> None:
    moved = whole_week().ports({"PORT": "9000"})
    assert moved == {name: port - 12000 for name, port in PORTS.items()}


def test_one_service_moves_alone_also_against_a_moved_week() -> None:
    assert whole_week().ports({"PORT_DB": "5432"}) == {**PORTS, "db": 5432}
    assert whole_week().ports({"PORT": "9000", "PORT_DB": "5432"})["web"] == 9001
    assert whole_week().ports({"PORT": "9000", "PORT_DB": "5432"})["db"] == 5432


def test_an_empty_setting_is_none() -> None:
    assert whole_week().ports({"PORT": "", "PORT_DB": "", "PATH": "/bin"}) == PORTS


@pytest.mark.parametrize(
    "text", ["0", "1023", "65536", "-1", "+9000", "9000 ", "9e3", "0x50", "eight", "٩٠٠٠", "9" * 99]
)
@pytest.mark.parametrize("variable", ["PORT", "PORT_DB"])
def test_what_is_no_port_is_refused_by_its_name(variable: str, text: str) -> None:
    with pytest.raises(UsageError, match=variable) as caught:
        whole_week().ports({variable: text})
    assert text in str(caught.value)


def test_inner_ports_past_the_end_are_refused() -> None:
    assert whole_week().ports({"PORT": "65532"})["cache"] == 65535
    with pytest.raises(UsageError, match="cache would get port 65536"):
        whole_week().ports({"PORT": "65533"})


@pytest.mark.parametrize("variable", ["PORT_X", "PORT_TASK", "PORT_DB_"])
def test_a_service_without_that_port_is_refused_with_the_list(variable: str) -> None:
    with pytest.raises(UsageError) as caught:
        whole_week().ports({variable: "9000"})
    assert str(caught.value).startswith(f"{WEEK} has no {variable}: it has PORT_CACHE, PORT_DB")


def test_two_services_on_one_port_are_refused() -> None:
    with pytest.raises(UsageError, match=r"web and db would both use 127\.0\.0\.1:21001"):
        whole_week().ports({"PORT_DB": "21001"})


def test_a_dash_becomes_an_underscore_in_the_variable() -> None:
    assert port_variable("kafka-controller") == "PORT_KAFKA_CONTROLLER"


def test_services_start_in_groups_of_what_they_need() -> None:
    order = start_order(whole_week().servers)
    assert order == [["db", "cache"], ["task"], ["web"], ["front"]]


def test_a_circle_of_needs_is_refused() -> None:
    a, b = web("a", port=0, needs=("b",)), web("b", port=1, needs=("a",))
    with pytest.raises(ValueError, match=r"circle: \['a', 'b'\]"):
        week(a, b)


def test_a_need_that_nobody_meets_is_refused() -> None:
    with pytest.raises(ValueError, match="needs unknown 'b'"):
        week(web("a", port=0, needs=("b",)))


def test_a_shared_name_or_port_is_refused() -> None:
    with pytest.raises(ValueError, match="share a name"):
        week(web("a", port=0), web("a", port=1))
    with pytest.raises(ValueError, match="share a port"):
        week(web("a", port=0), web("b", port=0))


@pytest.mark.parametrize("name", ["", "A", "a b", "a;b", "a%b", "a_b", "../a", "1a"])
def test_a_name_that_is_no_file_name_or_variable_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        week(web(name, port=0))


def test_an_unknown_service_is_answered_with_all_names() -> None:
    with pytest.raises(UsageError, match="has no service 'thrid': it has first, second"):
        light_week().server("thrid")


def test_the_front_door_is_the_service_on_the_base_port() -> None:
    assert whole_week().front == "front"
    assert week(task("only")).front == "only"


def test_secrets_are_those_that_the_servers_ask_for() -> None:
    assert whole_week().all_secrets == ("postgres_superuser", "sample_password")


def linked(to: str) -> Topology:
    """The whole week with one link that can be led through a proxy."""
    link = ProxiedLink(to, 11, questions.postgres(), behind=12)
    return replace(whole_week(), faults=fault_proxy("faults", 10, (link,)))


def test_links_are_direct_until_they_are_led_through_the_proxy() -> None:
    direct = linked("db")
    assert direct.ports({}) == PORTS and "faults" not in direct.names
    through = direct.with_faults()
    added = {"faults": 21010, "to-db": 21011, "to-db-behind": 21012}
    assert through.ports({}) == {**PORTS, **added}
    assert through.facts.keys() == {"faults"}


def test_whoever_needs_the_service_behind_a_link_needs_the_proxy() -> None:
    needs = {server.name: server.needs for server in linked("db").with_faults().servers}
    assert needs["task"] == ("db", "faults")
    assert needs["web"] == ("task", "cache") and needs["db"] == ()


def test_a_link_to_nowhere_and_a_week_without_links_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown 'nowhere'"):
        linked("nowhere")
    with pytest.raises(UsageError, match="week99 has no links"):
        light_week().with_faults()
