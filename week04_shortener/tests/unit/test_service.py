"""The whole API, put together as it is, while none of its servers is there."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
from starlette.types import ASGIApp, Message

from week04_shortener.makers import Makers
from week04_shortener.service import api
from week04_shortener.settings import Settings

pytestmark = pytest.mark.anyio

NOWHERE = "127.0.0.1:1"


def settings(directory: Path) -> Settings:
    return Settings.model_validate(
        {
            "database_url": f"postgresql://nobody:x@{NOWHERE}/shortener",
            "valkey_url": f"redis://{NOWHERE}/0",
            "kafka_bootstrap": NOWHERE,
            "click_log_dir": directory,
            "public_base_url": "http://127.0.0.1:8400",
            "code_key": "a key of 16 bytes",
            "visitor_key": "another key of 16",
            "replica": "api1",
            "open_mode": True,
        }
    )


@contextlib.asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[None]:
    """The application between its start and its end, as a server has it."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()

    async def live() -> None:
        await app({"type": "lifespan", "state": {}}, told.get, said.put)

    life = asyncio.create_task(live())
    await told.put({"type": "lifespan.startup"})
    assert await said.get() == {"type": "lifespan.startup.complete"}
    yield
    await told.put({"type": "lifespan.shutdown"})
    assert await said.get() == {"type": "lifespan.shutdown.complete"}
    await life


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    root, hook = logging.getLogger(), sys.excepthook
    before = root.handlers[:], root.level
    app = api(settings(tmp_path / "clicks"), Makers())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        running(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8400") as client,
    ):
        yield client
    root.handlers[:], root.level = before[0], before[1]
    sys.excepthook = hook
    structlog.reset_defaults()


async def test_what_needs_no_server_works(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health/live")).json() == {"status": "live"}
    assert (await http.get("/")).headers["content-type"].startswith("text/html")
    assert "/{code}" in (await http.get("/openapi.json")).json()["paths"]
    assert (await http.get("/robots.txt")).status_code == 200
    assert (await http.get("/docs")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_redirect_that_cannot_be_looked_up_is_told_when_to_come_back(
    http: httpx.AsyncClient, method: str
) -> None:
    answer = await http.request(method, "/abc1234")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-replica"] == "api1"
    if method != "HEAD":
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_redirects_and_the_rest_count_in_the_same_metrics(http: httpx.AsyncClient) -> None:
    await http.get("/abc1234")
    await http.get("/health/live")
    page = (await http.get("/metrics")).text
    assert 'http_requests_total{method="GET",route="/{code}",status="503"} 1.0' in page
    assert 'http_requests_total{method="GET",route="/health/live",status="200"} 1.0' in page
    assert "shortener_clicks_lost_total 0.0" in page


def test_a_click_log_that_cannot_be_used_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "clicks"
    taken.write_text("a file")
    with pytest.raises(SystemExit) as refused:
        api(settings(taken), Makers())
    structlog.reset_defaults()
    assert refused.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("cannot start: the click log directory")
    assert os.linesep not in line
