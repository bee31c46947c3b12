"""Each process is killed in turn; the path works again and nothing acknowledged is lost."""

from __future__ import annotations

import functools

import anyio
import pytest

from infra.lab.engines.base import Engine, State
from week04_shortener.lab import topology
from week04_shortener.tests.integration.conftest import FrontDoor, eventually

pytestmark = pytest.mark.integration

URL = "https://example.org/kills"
STAYING = [server.name for server in topology.servers if not server.one_shot]


def _restarts(lab: Engine, name: str) -> int:
    [row] = [row for row in lab.status() if row.name == name]
    return row.restarts


def _state(lab: Engine, name: str) -> State:
    [row] = [row for row in lab.status() if row.name == name]
    return row.state


@pytest.mark.parametrize("victim", STAYING)
def test_after_a_sigkill_the_path_works_again_and_nothing_is_lost(
    door: FrontDoor, lab: Engine, victim: str
) -> None:
    url = f"{URL}/{victim}"
    code = door.new_code(url)
    clicked = sum(door.follows(code, url) for _ in range(5))
    assert clicked == 5
    before = _restarts(lab, victim)

    anyio.run(lab.crash, victim)

    eventually(f"{victim} is restarted", lambda: _restarts(lab, victim) > before)
    eventually("the link redirects again", lambda: door.follows(code, url))
    eventually("links can be made again", lambda: door.shorten(url).status_code == 201)
    # Each click that was answered 302 is counted once; one whose answer was lost on the way may
    # be counted too, so the total is asked for only after a last one that surely succeeds.
    assert door.follows(code, url)
    eventually("every acknowledged click is counted", lambda: door.clicks(code) >= clicked + 2)
    eventually(f"{victim} runs", lambda: _state(lab, victim) == State.RUNNING)


@pytest.mark.parametrize("victim", ["valkey", "kafka", "consumer", "forwarder1", "relay", "api1"])
def test_while_it_is_dead_links_still_redirect(door: FrontDoor, lab: Engine, victim: str) -> None:
    url = f"{URL}/without-{victim}"
    code = door.new_code(url)
    anyio.run(lab.kill, victim)
    try:
        eventually("it is dead", lambda: _state(lab, victim) == State.STOPPED)
        answered = [door.follows(code, url) for _ in range(20)]
        assert all(answered)
    finally:
        anyio.run(functools.partial(lab.start, [victim]))
    eventually("the clicks are counted exactly once", lambda: door.clicks(code) == len(answered))
