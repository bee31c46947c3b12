"""Every week's compose.yaml keeps the rules; each rule refuses a file that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from infra.bootstrap import clone_root
from infra.images import plan
from infra.images.tests import rules
from infra.images.tests.rules import Broken, Model
from infra.lab import weeks
from infra.lab.topology import Topology

CLONE = clone_root()
WEEKS = [
    week
    for week, package in weeks.packages(CLONE).items()
    if (CLONE / package / "compose.yaml").exists()
]
RULES: tuple[Callable[[Model, Topology], None], ...] = (
    rules.names_are_the_topologys,
    rules.ports_are_variables_on_loopback,
    rules.images_are_pinned,
    rules.nobody_is_privileged,
    rules.everything_is_limited,
    rules.everything_comes_back,
    rules.starts_in_the_topologys_order,
)


def _files(week: str) -> dict[str, str]:
    return rules.week_files(CLONE, weeks.packages(CLONE)[week])


def _model(week: str) -> Model:
    return rules.parsed(_files(week)["compose.yaml"])


def test_there_are_weeks_in_containers() -> None:
    assert {"week01", "week04"} <= set(WEEKS)


@pytest.mark.parametrize("week", WEEKS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_weeks_file_keeps(rule: Callable[[Model, Topology], None], week: str) -> None:
    rule(_model(week), weeks.topology(CLONE, week))


@pytest.mark.parametrize("week", WEEKS)
def test_a_weeks_secrets_and_variables(week: str) -> None:
    files = _files(week)
    topology = weeks.topology(CLONE, week)
    rules.secrets_are_brought(_model(week), topology, files[".env.sample"])
    rules.variables_are_known(_model(week), topology, files[".env.sample"])


@pytest.mark.parametrize("week", WEEKS)
def test_each_upstream_image_has_its_stand_in(week: str) -> None:
    override = rules.parsed(_files(week)["compose.offline.yaml"])
    rules.standins_replace_upstreams_images(_model(week), override, plan.standins(CLONE))


def _set(*path: str, to: Any) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        part = model
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        part = model
        for name in path[:-1]:
            part = part[name]
        del part[path[-1]]

    return change


_S = "services"
_NO_CPUS = {"resources": {"limits": {"memory": "1M", "pids": 1}}}
BROKEN: list[tuple[Callable[[Model, Topology], None], Callable[[Model], None], str]] = [
    (rules.names_are_the_topologys, _drop(_S, "relay"), "relay"),
    (rules.names_are_the_topologys, _set(_S, "cache", to={}), "cache"),
    (rules.names_are_the_topologys, _drop(_S, "faults", "profiles"), "profile"),
    (
        rules.ports_are_variables_on_loopback,
        _set(_S, "valkey", "ports", to=["${PORT_VALKEY:-8402}:6379"]),
        "not 127",
    ),
    (
        rules.ports_are_variables_on_loopback,
        _set(_S, "valkey", "ports", to=["0.0.0.0:${PORT_VALKEY:-8402}:6379"]),
        "not 127",
    ),
    (
        rules.ports_are_variables_on_loopback,
        _set(_S, "valkey", "ports", to=["127.0.0.1:8402:6379"]),
        "not 127",
    ),
    (
        rules.ports_are_variables_on_loopback,
        _set(_S, "valkey", "ports", to=["127.0.0.1:${PORT_VALKEY:-8499}:6379"]),
        "8499",
    ),
    (
        rules.ports_are_variables_on_loopback,
        _set(_S, "api1", "ports", to=["127.0.0.1:${PORT_API1:-8405}:8000"]),
        "8000",
    ),
    (rules.ports_are_variables_on_loopback, _drop(_S, "consumer", "ports"), "CONSUMER"),
    (rules.images_are_pinned, _set(_S, "valkey", "image", to="valkey/valkey"), "no tag"),
    (rules.images_are_pinned, _set(_S, "valkey", "image", to="valkey/valkey:9"), "whole"),
    (rules.images_are_pinned, _set(_S, "kafka", "image", to="apache/kafka:late" + "st"), "whole"),
    (rules.images_are_pinned, _set(_S, "api1", "image", to="scaling-lab/week04:1"), "local"),
    (rules.images_are_pinned, _drop(_S, "api1", "pull_policy"), "somebody else"),
    (rules.nobody_is_privileged, _set(_S, "kafka", "privileged", to=True), "privileged"),
    (rules.nobody_is_privileged, _set(_S, "kafka", "cap_add", to=["NET_ADMIN"]), "cap_add"),
    (rules.nobody_is_privileged, _set(_S, "kafka", "network_mode", to="host"), "network_mode"),
    (rules.nobody_is_privileged, _drop(_S, "kafka", "cap_drop"), "capabilities"),
    (rules.nobody_is_privileged, _set(_S, "kafka", "security_opt", to=[]), "gain"),
    (rules.nobody_is_privileged, _set(_S, "postgres", "user", to="0:0"), "root"),
    (
        rules.nobody_is_privileged,
        _set(_S, "kafka", "volumes", to=["/var/run/docker.sock:/s:ro"]),
        "docker.sock",
    ),
    (rules.nobody_is_privileged, _set(_S, "nginx", "volumes", to=["./config:/c"]), "write"),
    (
        rules.everything_is_limited,
        _drop(_S, "api1", "deploy", "resources", "limits", "cpus"),
        "cpu",
    ),
    (rules.everything_is_limited, _drop(_S, "faults", "deploy"), "memory"),
    (rules.everything_is_limited, _drop(_S, "nginx", "logging"), "log"),
    (rules.everything_is_limited, _set(_S, "api2", "read_only", to=False), "written"),
    (rules.everything_comes_back, _drop(_S, "api1", "init"), "init"),
    (rules.everything_comes_back, _set(_S, "api1", "restart", to="always"), "crash"),
    (rules.everything_comes_back, _set(_S, "setup", "restart", to="unless-stopped"), "once"),
    (rules.everything_comes_back, _drop(_S, "relay", "healthcheck"), "health"),
    (rules.everything_comes_back, _drop(_S, "relay", "healthcheck", "timeout"), "health"),
    (rules.starts_in_the_topologys_order, _drop(_S, "nginx", "depends_on", "api2"), "api2"),
    (
        rules.starts_in_the_topologys_order,
        _set(_S, "api1", "depends_on", "setup", to={"condition": "service_started"}),
        "setup",
    ),
]


@pytest.mark.parametrize(("rule", "change", "words"), BROKEN)
def test_a_rule_refuses_what_breaks_it(
    rule: Callable[[Model, Topology], None], change: Callable[[Model], None], words: str
) -> None:
    model = copy.deepcopy(_model("week04"))
    change(model)
    with pytest.raises(Broken, match=words):
        rule(model, weeks.topology(CLONE, "week04"))


def test_every_rule_has_something_that_it_refuses() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set(_S, "api1", "environment", "SHORTENER_CODE_KEY", to="0123456789abcdef"), "CODE_KEY"),
        (
            _set(_S, "api1", "environment", "SHORTENER_CODE_KEY", to="${SHORTENER_CODE_KEY:-a}"),
            "CODE_KEY",
        ),
        (
            _set(_S, "api1", "environment", "SHORTENER_DATABASE_URL", to="postgresql://a:b@c:1/d"),
            "DATABASE_URL",
        ),
        (_set(_S, "postgres", "environment", to={}), "POSTGRES_SUPERUSER"),
    ],
)
def test_a_secret_in_the_file_is_refused(change: Callable[[Model], None], words: str) -> None:
    model = copy.deepcopy(_model("week04"))
    change(model)
    with pytest.raises(Broken, match=words):
        rules.secrets_are_brought(
            model, weeks.topology(CLONE, "week04"), _files("week04")[".env.sample"]
        )


@pytest.mark.parametrize(
    ("line", "words"),
    [("SHORTENER_CODE_KEY=abc", "a value"), ("# SHORTENER_CODE_KEY=", "lacks")],
)
def test_a_sample_with_a_secret_or_without_its_name_is_refused(line: str, words: str) -> None:
    sample = _files("week04")[".env.sample"].replace("SHORTENER_CODE_KEY=", line)
    with pytest.raises(Broken, match=words):
        rules.secrets_are_brought(_model("week04"), weeks.topology(CLONE, "week04"), sample)


def test_a_variable_that_nothing_explains_is_refused() -> None:
    model = _model("week04")
    model["services"]["valkey"]["command"] = ["valkey-server", "${SOMETHING:-1}"]
    with pytest.raises(Broken, match="SOMETHING"):
        rules.variables_are_known(model, weeks.topology(CLONE, "week04"), "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop(_S, "kafka"), "no stand-in for apache/kafka"),
        (_set(_S, "kafka", "image", to="apache/kafka:4.3.1"), "no stand-in"),
        (_set(_S, "kafka", "user", to="0"), "more than one"),
        (_set(_S, "kafka", "pull_policy", to="missing"), "pulled"),
        (_set(_S, "kafka", "image", to="scaling-lab/standin-nginx:1.31.3"), "another version"),
        (_set(_S, "api1", to={"user": "0"}), "api1"),
        (_drop(_S, "setup"), "Python"),
        (_set(_S, "other", to={}), "other"),
    ],
)
def test_an_override_that_does_less_or_more_is_refused(
    change: Callable[[Model], None], words: str
) -> None:
    override = rules.parsed(_files("week04")["compose.offline.yaml"])
    change(override)
    with pytest.raises(Broken, match=words):
        rules.standins_replace_upstreams_images(_model("week04"), override, plan.standins(CLONE))


def test_variables_are_replaced_as_compose_does_it() -> None:
    environ = {"PORT_A": "9000", "EMPTY": ""}
    assert rules.interpolated("${PORT_A:-1} ${EMPTY:-2} ${B:-} $$x", environ) == "9000 2  $x"
    with pytest.raises(Broken, match="NEEDED"):
        rules.interpolated("${NEEDED:?say so}", {})
