"""Toxiproxy's HTTP API: the same requests to our proxy and, where it is there, to Toxiproxy."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infra.lab.faults.tests.peers import HOST, Api, connect, read_all, read_exactly

pytestmark = pytest.mark.integration

LATENCY = {"type": "latency", "attributes": {"latency": 50}}


def test_version(api: Api) -> None:
    status, answer = api("GET", "/version")
    assert status == 200
    assert set(answer) >= {"version"}


def test_a_proxy_is_made_shown_changed_and_deleted(api: Api, echo: int, name: str) -> None:
    fields = {"name": name, "listen": f"{HOST}:0", "upstream": f"{HOST}:{echo}"}
    status, made = api("POST", "/proxies", fields)
    assert (status, made["enabled"], made["toxics"]) == (201, True, [])
    assert made["upstream"] == f"{HOST}:{echo}"
    host, port = made["listen"].split(":")
    assert (host, int(port) > 0) == (HOST, True)
    assert api("GET", f"/proxies/{name}") == (200, made)
    assert api("GET", "/proxies")[1][name] == made
    status, off = api("PATCH", f"/proxies/{name}", {"enabled": False})
    assert (status, off) == (200, {**made, "enabled": False})
    with pytest.raises(ConnectionRefusedError):
        connect(int(port))
    assert api("POST", f"/proxies/{name}", {"enabled": True}) == (200, made)
    connect(int(port)).close()
    assert api("DELETE", f"/proxies/{name}") == (204, None)
    assert api("GET", f"/proxies/{name}") == (404, {"error": "proxy not found", "status": 404})


def test_a_toxic_is_made_shown_changed_and_deleted(api: Api, echo: int, name: str) -> None:
    path, _ = api.link(name, echo)
    status, made = api("POST", f"{path}/toxics", LATENCY)
    assert status == 200
    assert made == {
        "attributes": {"latency": 50, "jitter": 0},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1,
    }
    status, up = api("POST", f"{path}/toxics", {**LATENCY, "stream": "upstream", "name": "u"})
    assert (status, up["name"], up["stream"]) == (200, "u", "upstream")
    assert api("GET", f"{path}/toxics") == (200, [up, made])
    assert api("GET", path)[1]["toxics"] == [up, made]
    change = {"attributes": {"jitter": 5}, "toxicity": 0.5}
    status, changed = api("PATCH", f"{path}/toxics/u", change)
    assert changed["attributes"] == {"latency": 50, "jitter": 5}
    assert changed["toxicity"] == 0.5
    assert api("GET", f"{path}/toxics/u") == (200, changed)
    assert api("DELETE", f"{path}/toxics/u") == (204, None)
    assert api("GET", f"{path}/toxics/u") == (404, {"error": "toxic not found", "status": 404})


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("latency", {"latency": 1, "jitter": 2}),
        ("bandwidth", {"rate": 3}),
        ("slow_close", {"delay": 4}),
        ("timeout", {"timeout": 5}),
        ("reset_peer", {"timeout": 6}),
        ("slicer", {"average_size": 7, "size_variation": 6, "delay": 8}),
        ("limit_data", {"bytes": 9}),
    ],
)
def test_every_kind_is_known(
    api: Api, echo: int, name: str, kind: str, attributes: dict[str, int]
) -> None:
    path, _ = api.link(name, echo)
    status, made = api("POST", f"{path}/toxics", {"type": kind, "attributes": attributes})
    assert (status, made["attributes"], made["name"]) == (200, attributes, f"{kind}_downstream")


def test_reset_removes_toxics_and_enables_proxies(api: Api, echo: int, name: str) -> None:
    path, _ = api.link(name, echo)
    api("POST", f"{path}/toxics", LATENCY)
    api("PATCH", path, {"enabled": False})
    assert api("POST", "/reset") == (204, None)
    shown = api("GET", path)[1]
    assert (shown["enabled"], shown["toxics"]) == (True, [])


def test_populate_makes_and_replaces_and_leaves_alone(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    api("POST", f"{path}/toxics", LATENCY)
    same = {"name": name, "listen": f"{HOST}:{port}", "upstream": f"{HOST}:{echo}"}
    other = {**same, "name": f"{name}-2", "listen": f"{HOST}:0"}
    status, answer = api("POST", "/populate", [same, other])
    assert status == 201
    assert [len(proxy["toxics"]) for proxy in answer["proxies"]] == [1, 0]
    status, answer = api("POST", "/populate", [{**same, "upstream": f"{HOST}:1"}])
    assert status == 201
    assert [proxy["toxics"] for proxy in answer["proxies"]] == [[]]


BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/proxies", {"upstream": "h:1"}, 400, "missing required field: name"),
    ("POST", "/proxies", {"name": "x"}, 400, "missing required field: upstream"),
    ("POST", "/proxies", b"{", 400, "bad request body"),
    ("POST", "/populate", [{"name": "x"}], 400, "missing required field: upstream at proxy 1"),
    ("GET", "/proxies/none", None, 404, "proxy not found"),
    ("DELETE", "/proxies/none", None, 404, "proxy not found"),
    ("POST", "/proxies/none/toxics", LATENCY, 404, "proxy not found"),
    ("POST", "{path}/toxics", {"type": "flood"}, 400, "invalid toxic type"),
    ("POST", "{path}/toxics", {**LATENCY, "stream": "x"}, 400, "stream was invalid"),
    ("POST", "{path}/toxics", b"[", 400, "bad request body"),
    (
        *("POST", "{path}/toxics", {"type": "latency", "attributes": {"latency": "much"}}),
        *(400, "bad request body"),
    ),
    (
        *("POST", "{path}/toxics", {"type": "latency", "attributes": {"latency": 1.5}}),
        *(400, "bad request body"),
    ),
    ("DELETE", "{path}/toxics/none", None, 404, "toxic not found"),
    ("PATCH", "{path}/toxics/none", {}, 404, "toxic not found"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case[0]} {case[1]} {case[2]}")
def test_bad_input_is_refused(
    api: Api, echo: int, name: str, case: tuple[str, str, Any, int, str]
) -> None:
    method, path, body, status, error = case
    made, _ = api.link(name, echo)
    answered, answer = api(method, path.format(path=made), body)
    assert answered == status
    assert answer["status"] == status
    assert answer["error"].startswith(error)


def test_names_are_unique(api: Api, echo: int, name: str) -> None:
    path, _ = api.link(name, echo)
    fields = {"name": name, "listen": f"{HOST}:0", "upstream": f"{HOST}:{echo}"}
    conflict = api("POST", "/proxies", fields)
    assert conflict == (409, {"error": "proxy already exists", "status": 409})
    api("POST", f"{path}/toxics", LATENCY)
    conflict = api("POST", f"{path}/toxics", LATENCY)
    assert conflict == (409, {"error": "toxic already exists", "status": 409})


def test_a_busy_port_is_told(api: Api, echo: int, name: str) -> None:
    busy = {"name": name, "listen": f"{HOST}:{echo}", "upstream": f"{HOST}:1"}
    status, answer = api("POST", "/proxies", busy)
    assert status == 500
    assert "address already in use" in answer["error"].lower()
    assert api("GET", f"/proxies/{name}")[0] == 404


def test_web_pages_are_kept_out(api: Api) -> None:
    agent = {"User-Agent": "Mozilla/5.0"}
    assert api("POST", "/reset", None, **agent)[0] == 403


def test_unknown_paths_and_methods(api: Api) -> None:
    assert api("GET", "/nowhere")[0] == 404
    assert api("PUT", "/proxies")[0] == 405


# What the toxics do to real connections.


def rtt_s(connection: socket.socket) -> float:
    began = time.monotonic()
    connection.sendall(b"ping")
    read_exactly(connection, 4)
    return time.monotonic() - began


def test_latency_lands_on_open_and_new_connections_and_goes(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    with connect(port) as old:
        assert min(rtt_s(old) for _ in range(5)) < 0.2
        slow = {"type": "latency", "attributes": {"latency": 200}}
        api("POST", f"{path}/toxics", slow)
        assert rtt_s(old) >= 0.2
        with connect(port) as new:
            assert rtt_s(new) >= 0.2
        api("DELETE", f"{path}/toxics/latency_downstream")
        assert min(rtt_s(old) for _ in range(5)) < 0.2


def test_bandwidth_limits_the_rate(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    api("POST", f"{path}/toxics", {"type": "bandwidth", "attributes": {"rate": 100}})
    with connect(port) as connection:
        began = time.monotonic()
        connection.sendall(bytes(40_000))
        read_exactly(connection, 40_000)
        assert time.monotonic() - began >= 0.38


def test_blackhole_swallows_and_its_removal_closes(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    with connect(port) as connection:
        rtt_s(connection)
        api("POST", f"{path}/toxics", {"type": "timeout", "attributes": {"timeout": 0}})
        connection.sendall(b"ping")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        api("DELETE", f"{path}/toxics/timeout_downstream")
        assert connection.recv(1) == b""


def test_reset_peer_is_an_rst(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    api("POST", f"{path}/toxics", {"type": "reset_peer", "stream": "upstream"})
    with connect(port) as connection:
        connection.sendall(b"ping")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_limit_data_closes_after_its_bytes(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    api("POST", f"{path}/toxics", {"type": "limit_data", "attributes": {"bytes": 5}})
    with connect(port) as connection:
        connection.sendall(b"12345678")
        assert read_all(connection) == b"12345"


def test_slicer_changes_no_byte(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    slices = {"average_size": 64, "size_variation": 32, "delay": 10}
    api("POST", f"{path}/toxics", {"type": "slicer", "attributes": slices})
    data = bytes(range(256)) * 16
    with connect(port) as connection:
        connection.sendall(data)
        assert read_exactly(connection, len(data)) == data


def test_slow_close_delays_the_end(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    api("POST", f"{path}/toxics", {"type": "slow_close", "attributes": {"delay": 300}})
    with connect(port) as connection:
        rtt_s(connection)
        began = time.monotonic()
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
        assert time.monotonic() - began >= 0.3


def test_toxicity_0_passes_every_connection_by(api: Api, echo: int, name: str) -> None:
    path, port = api.link(name, echo)
    hole = {"type": "timeout", "toxicity": 0.0, "attributes": {"timeout": 0}}
    api("POST", f"{path}/toxics", hole)
    with connect(port) as connection:
        rtt_s(connection)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--owner", "me"), "faults: --owner is `pid:creation time`"),
        (("--config", "/nowhere/links.json"), "faults: /nowhere/links.json: No such file"),
        (("--port", "99999"), "faults: cannot listen on 127.0.0.1:99999"),
        (("--config", "{}"), "bad request body"),
    ],
)
def test_a_proxy_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, arguments: tuple[str, str], line: str
) -> None:
    flag, value = arguments
    if value == "{}":
        value = str(tmp_path / "links.json")
        Path(value).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "infra.lab.faults.proxy", flag, value],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
