"""Which topology a verb works on: the one of the last `up`, with or without the fault proxy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.lab import wiring
from infra.lab.engines.local.engine import LocalEngine
from infra.lab.errors import LabError, UsageError
from infra.lab.faults import questions
from infra.lab.faults.server import ProxiedLink, fault_proxy
from infra.lab.instance import save_ports
from infra.lab.site import Site, make_dir
from infra.lab.tests.sample import WEEK, light_week, web, week
from infra.lab.topology import Topology

LINK = ProxiedLink("web", 11, questions.http("/"))
DECLARED = replace(week(web(port=0)), faults=fault_proxy("faults", 10, (LINK,)))


def names(declared: Topology, faults: bool | None) -> tuple[str, ...]:
    chosen, engine = wiring.engine(declared, "local", {}, faults)
    assert engine.site.ports == chosen.ports({})
    return chosen.names


def record(home: Path, declared: Topology) -> None:
    """As an `up` of it would."""
    save_ports(make_dir(home / WEEK), declared, declared.ports({}))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab home without anything in it."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    return tmp_path.resolve()


def test_links_are_direct_unless_somebody_asks() -> None:
    assert names(DECLARED, None) == names(DECLARED, False) == ("web",)
    assert names(DECLARED, True) == ("web", "faults")


def test_verbs_take_the_week_as_it_was_brought_up(home: Path) -> None:
    record(home, DECLARED.with_faults())
    assert names(DECLARED, None) == ("web", "faults")
    record(home, DECLARED)
    assert names(DECLARED, None) == ("web",)


def test_the_next_up_begins_direct_again(home: Path) -> None:
    record(home, DECLARED.with_faults())
    assert names(DECLARED, False) == ("web",)


def test_what_is_up_keeps_its_links_as_they_are(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalEngine, "is_up", lambda engine: True)
    record(home, DECLARED.with_faults())
    assert names(DECLARED, False) == names(DECLARED, True) == ("web", "faults")
    record(home, DECLARED)
    with pytest.raises(LabError, match="links direct: `make week99 down` first"):
        names(DECLARED, True)


def test_each_engine_keeps_its_own_data(home: Path) -> None:
    assert wiring.root_of(WEEK, "local") == home / WEEK
    assert wiring.root_of(WEEK, "compose") == home / f"{WEEK}-compose"


async def _fact(site: Site) -> str:
    return "of this machine"


def test_figures_of_this_machine_are_not_told_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = replace(DECLARED, facts={"visits": _fact})
    assert wiring.engine(declared, "local", {})[0].facts
    monkeypatch.setattr(wiring, "maker", lambda name: wiring.local_engine)
    assert not wiring.engine(declared, "hetzner", {})[0].facts


def test_an_engine_that_is_none_is_refused_with_the_list() -> None:
    for ask in (lambda: wiring.maker("vagrant"), lambda: wiring.chosen({"LAB_ENGINE": "vagrant"})):
        with pytest.raises(UsageError, match="no engine 'vagrant': engines are local, compose"):
            ask()


def test_the_users_variable_names_the_engine() -> None:
    assert wiring.chosen({}) == wiring.chosen({"LAB_ENGINE": ""}) == "local"
    assert wiring.chosen({"LAB_ENGINE": "compose"}) == "compose"


def test_only_figures_of_processes_are_published() -> None:
    wiring.require_publishable({})
    with pytest.raises(UsageError, match="those of ENGINE=local, not of compose"):
        wiring.require_publishable({"LAB_ENGINE": "compose"})


def test_a_week_without_links_has_none_to_lead(home: Path) -> None:
    with pytest.raises(UsageError, match="has no links"):
        names(light_week(), True)
    assert names(light_week(), None) == ("first", "second")
