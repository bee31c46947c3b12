"""Requests that make many links are charged for each."""

from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import HTTPConnection

from infra.service.problems import Problem
from week04_shortener.limits.rules import READS
from week04_shortener.tests.unit.api_fakes import World, assert_problem, client_of, make_app

pytestmark = pytest.mark.anyio

LINKS = "/api/v1/links"
CSV = {"content-type": "text/csv"}


class Till:
    """What was charged; full until it is not."""

    def __init__(self) -> None:
        self.charged: list[int] = []
        self.is_empty = False

    async def charge(self, _request: HTTPConnection, more: int) -> None:
        self.charged.append(more)
        if self.is_empty:
            raise Problem(429, "Too many.", headers={"Retry-After": "1"})


def app_with(till: Till, world: World) -> FastAPI:
    app = make_app(world)
    app.state.parts = replace(app.state.parts, charge=till.charge)
    return app


async def make(http: httpx.AsyncClient, count: int) -> list[httpx.Response]:
    """`count` links in both ways, and one more that is refused and so costs nothing."""
    urls = [*(f"https://example.org/{number}" for number in range(count)), "ftp://example.org"]
    rows = "\r\n".join(["url", *urls])
    return [
        await http.post(f"{LINKS}/bulk", json={"links": [{"url": url} for url in urls]}),
        await http.post(f"{LINKS}/import", content=rows, headers=CSV),
    ]


@pytest.mark.parametrize(("count", "charged"), [(1, 0), (5, 4)])
async def test_each_link_beyond_the_first_is_charged(count: int, charged: int) -> None:
    till, world = Till(), World()
    async with client_of(app_with(till, world)) as http:
        for answer in await make(http, count):
            assert answer.json()["made"] == count
    assert till.charged == [charged, charged]


async def test_who_is_refused_has_made_nothing() -> None:
    till, world = Till(), World()
    till.is_empty = True
    async with client_of(app_with(till, world)) as http:
        for answer in await make(http, 5):
            assert_problem(answer, 429)
    assert world.links == {}


def test_every_limited_operation_documents_its_refusal() -> None:
    for path, item in make_app(World()).openapi()["paths"].items():
        for method, operation in item.items():
            if method not in ("get", "head") or path.startswith(READS):
                assert "429" in operation["responses"], f"{method} {path}"
