"""The client against a real server, held against nginx's own log and against wrk."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from benchmarks import wrk
from benchmarks.client import Outcome, Plan, Request, Result, always, parse_target, run, run_in_loop
from infra.lab.errors import MissingServerError
from infra.lab.pytest_plugin import LabFactory
from infra.lab.servers.nginx import Nginx
from infra.lab.site import Site
from infra.lab.topology import Topology

pytestmark = pytest.mark.integration

NGINX_ALONE = Topology(
    week="week98",
    title="nginx alone",
    base_port=21100,
    servers=(Nginx(name="front", port=0, config="benchmarks/tests/config/hello.conf"),),
)
ROUNDS = 3
SECONDS = 1
CONNECTIONS = 16
LOG_TIMEOUT_S = 10.0


@pytest.fixture
def site(running_lab: LabFactory) -> Site:
    return running_lab(NGINX_ALONE).site


def asked(url: str, plan: Plan) -> Result:
    target, path = parse_target(url)
    request = Request(path=path, check=lambda answer: answer.body == b"hello\n")
    return run_in_loop(lambda: run(target, always(request), plan))


def log_lines(site: Site) -> int:
    log: Path = site.run_dir("front") / "access.log"
    return len(log.read_text().splitlines())


def logged_by_now(site: Site, expected: int) -> int:
    """Lines in the log. nginx writes a request's line after its answer has left, so the last
    ones may follow a moment later."""
    deadline = time.monotonic() + LOG_TIMEOUT_S
    while (lines := log_lines(site)) < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return lines


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("rate_per_s", [None, 500.0])
def test_nginx_has_logged_each_request_that_was_counted(
    site: Site, rate_per_s: float | None, keep_alive: bool
) -> None:
    before = log_lines(site)
    plan = Plan(rate_per_s=rate_per_s, seconds=1, connections=8, keep_alive=keep_alive)
    result = asked(site.url("front") + "/logged", plan)
    assert result.outcomes == {Outcome.OK: result.due}
    assert logged_by_now(site, before + result.due) - before == result.due >= 500
    # An open loop may do with one connection; without keep-alive each request has its own.
    assert result.connections_opened <= 8 or not keep_alive
    assert keep_alive or result.connections_opened == result.due


def test_the_rate_is_of_the_same_order_as_wrk_s(site: Site) -> None:
    """A client in Python asks less than one in C; a client that miscounts is off by far more."""
    try:
        wrk.program()
    except MissingServerError as error:
        pytest.skip(str(error))
    url = site.url("front") + "/"
    ours, theirs = [], []
    for _ in range(ROUNDS):  # interleaved: a busy moment of the machine hits both
        by_wrk = wrk.run(url, seconds=SECONDS, connections=CONNECTIONS)
        assert by_wrk.clean
        theirs.append(by_wrk.requests_per_s)
        by_us = asked(url, Plan(seconds=SECONDS, connections=CONNECTIONS))
        assert by_us.outcomes == {Outcome.OK: by_us.due}
        ours.append(by_us.ok_per_s)
    ratio = statistics.median(ours) / statistics.median(theirs)
    assert 0.1 < ratio < 1.5, f"{ours} against wrk's {theirs}"
