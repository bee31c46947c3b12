"""The week as `up` starts it, on free ports."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Callable

import anyio
import psutil
import pytest

from infra.lab.engines.base import Engine
from infra.lab.pytest_plugin import LabFactory
from week01_http_server.lab import metrics, topology, web_traffic

pytestmark = pytest.mark.integration

DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def engine(running_lab: LabFactory) -> Engine:
    return running_lab(topology)


def get(
    engine: Engine, name: str, path: str = "/", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", engine.site.ports[name], timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def eventually(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.1)


@pytest.mark.parametrize("path", ["/", "/style.css", "/numbers.txt"])
def test_nginx_and_this_server_give_the_same_pages(engine: Engine, path: str) -> None:
    (ours, body), (theirs, their_body) = get(engine, "web", path), get(engine, "nginx", path)
    assert (ours.status, body) == (theirs.status, their_body)
    mine, other = (one.getheader("content-type", "").split(";")[0] for one in (ours, theirs))
    assert mine == other


@pytest.mark.parametrize("path", ["/nothing-here", "/../lab.py", "/%2e%2e/lab.py"])
def test_neither_gives_what_is_not_there(engine: Engine, path: str) -> None:
    for name in ("web", "nginx"):
        assert get(engine, name, path)[0].status in (400, 404)


def test_level_1_answers(engine: Engine) -> None:
    answer, body = get(engine, "raw", "/x")
    assert (answer.status, body) == (200, b"Hello from a raw socket. You asked for /x\n")


@pytest.mark.parametrize(
    ("path", "status", "holds"),
    [
        ("/?a=b", 200, b'"query": "a=b"'),
        ("/slow?s=0.01", 200, b"at last"),
        ("/slow?s=x", 200, b"at last"),
        ("/stream?n=2", 200, b"1 of 2\n2 of 2\n"),
        ("/other", 404, b"there are"),
    ],
)
def test_the_demo_app_does_what_it_says(
    engine: Engine, path: str, status: int, holds: bytes
) -> None:
    answer, body = get(engine, "app", path)
    assert answer.status == status
    assert holds in body


def test_status_tells_what_came(engine: Engine) -> None:
    before = anyio.run(metrics, engine.site, "web")["http_connections_accepted_total"]
    get(engine, "web")

    def counted() -> bool:
        now = anyio.run(metrics, engine.site, "web")
        return now["http_connections_accepted_total"] > before

    eventually(counted)
    assert anyio.run(web_traffic, engine.site).startswith("requests: ")


def test_a_reload_by_signal_replaces_the_worker(engine: Engine) -> None:
    [row] = [row for row in engine.status() if row.name == "web"]
    assert row.pid is not None
    master = psutil.Process(row.pid)
    old = {one.pid for one in master.children()}
    os.kill(row.pid, signal.SIGHUP)
    eventually(lambda: not old & {one.pid for one in master.children()} and bool(master.children()))
    assert get(engine, "web")[0].status == 200
