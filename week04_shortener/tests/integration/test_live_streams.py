"""Live counters through the front door: at once, for the owner, and without an end of their own."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import httpx
import pytest

from infra.lab.engines.base import Engine
from week04_shortener.tests.integration.conftest import FrontDoor

pytestmark = pytest.mark.integration

LONG_S = 30.0
NGINX_READ_TIMEOUT_S = 5.0


class Stream:
    """An open stream, read line by line."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._lines = answer.iter_lines()

    def line(self, beginning: str) -> str:
        """The next line that begins so; httpx fails when none comes in time."""
        return next(line for line in self._lines if line.startswith(beginning))

    def clicks(self, code: str, number: int) -> None:
        """Read on until `code` has so many."""
        while json.loads(self.line("data:")[5:]) != {"code": code, "clicks": number}:
            pass


@contextlib.contextmanager
def watch(base: str, path: str, headers: dict[str, str] | None = None) -> Iterator[Stream]:
    with (
        httpx.Client(base_url=base, timeout=LONG_S, trust_env=False) as client,
        client.stream("GET", path, headers=headers or {}) as answer,
    ):
        yield Stream(answer)


def test_a_click_arrives_as_it_is_counted(door: FrontDoor, lab: Engine) -> None:
    first, second = (door.new_code("https://example.org/live") for _ in range(2))
    with watch(lab.site.url("nginx"), f"/api/v1/live?codes={first},{second}") as stream:
        assert stream.line("retry:") == "retry: 2000"
        stream.clicks(first, 0)
        door.follow(first)
        stream.clicks(first, 1)
        door.follow(second)
        stream.clicks(second, 1)


def test_a_quiet_stream_is_not_taken_for_a_replica_that_hangs(door: FrontDoor, lab: Engine) -> None:
    """Other answers may keep nginx waiting for 5 s only."""
    code = door.new_code("https://example.org/quiet")
    with watch(lab.site.url("nginx"), f"/api/v1/links/{code}/live") as stream:
        stream.clicks(code, 0)
        time.sleep(NGINX_READ_TIMEOUT_S + 1)
        door.follow(code)
        stream.clicks(code, 1)


def test_only_the_owner_may_watch(door: FrontDoor, lab: Engine) -> None:
    keys = [door.http.post("/api/v1/keys", json={"name": name}).json()["key"] for name in "ab"]
    mine, other = ({"authorization": f"Bearer {key}"} for key in keys)
    made = door.http.post("/api/v1/links", json={"url": "https://example.org/"}, headers=mine)
    path = f"/api/v1/links/{made.json()['code']}/live"
    with watch(lab.site.url("nginx"), path, mine) as stream:
        stream.clicks(made.json()["code"], 0)
    assert door.http.get(path, headers=other).status_code == 404
    assert door.http.get(path).status_code == 404
    assert door.http.get(path, headers={"authorization": "Bearer sk_none"}).status_code == 401
