"""Users as they come: most follow links, some make one, a few look at statistics.

    locust -f week04_shortener/bench/locustfile.py --host http://127.0.0.1:8400

`python -m week04_shortener.bench.mixed` runs it against services of its own and draws the report.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import Any

from locust import FastHttpUser, constant_throughput, events, task

MADE_FIRST = 200
KEPT = 2000
TURNS_PER_S = 10
"""Of each user; a server that is slower sees fewer, which is what a closed loop means."""

FOLLOWS, MAKES, LOOKS = 90, 8, 2

codes: deque[str] = deque(maxlen=KEPT)
numbers = itertools.count()


def _popular() -> str:
    """A code, the earlier ones more often: rank 1 / u is Zipf's law with exponent 1."""
    rank = int(len(codes) ** random.random())
    return codes[rank - 1]


class Visitor(FastHttpUser):
    """One user."""

    wait_time = constant_throughput(TURNS_PER_S)

    @task(FOLLOWS)
    def follow(self) -> None:
        with self.client.get(
            f"/{_popular()}", name="/{code}", allow_redirects=False, catch_response=True
        ) as answer:
            _judge(answer, 302)

    @task(MAKES)
    def make(self) -> None:
        _make(self.client)

    @task(LOOKS)
    def look(self) -> None:
        with self.client.get(
            f"/stats/{_popular()}", name="/stats/{code}", catch_response=True
        ) as answer:
            _judge(answer, 200)

    def on_start(self) -> None:
        """There is something to follow before anybody follows it."""
        while len(codes) < MADE_FIRST:
            _make(self.client)


def _make(client: Any) -> None:
    target = {"url": f"https://example.org/mixed/{next(numbers)}"}
    with client.post("/shorten", json=target, catch_response=True) as answer:
        if _judge(answer, 201):
            codes.append(answer.json()["code"])


def _judge(answer: Any, status: int) -> bool:
    if answer.status_code == status:
        answer.success()
        return True
    answer.failure(f"status {answer.status_code}")
    return False


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _forget(**_: object) -> None:
    codes.clear()
