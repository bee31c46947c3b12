"""A stream under each server that the replicas may run under: who leaves, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.lab.engines.local.ports import free_ports
from week04_shortener.lab import SERVERS
from week04_shortener.tests.integration.conftest import eventually

pytestmark = pytest.mark.integration

LONG_S = 30.0

APP = """
import contextlib

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from week04_shortener.draining import on_signal
from week04_shortener.live import Board, EventStream, LiveMetrics


class Counts:
    async def totals(self, codes):
        return dict.fromkeys(codes, 7)


def create_app():
    registry = CollectorRegistry()
    board = Board(Counts(), LiveMetrics(registry), max_streams=10)

    @contextlib.asynccontextmanager
    async def lifespan(_app):
        with on_signal(board.end):
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/live")
    async def live():
        return EventStream(board, ["abc"], heartbeat_s=0.2)

    @app.get("/streams")
    async def streams():
        return registry.get_sample_value("shortener_live_streams")

    return app
"""


@pytest.fixture(params=sorted(SERVERS))
def server(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    (tmp_path / "watched.py").write_text(APP)
    [port] = free_ports(1)
    command = [sys.executable, *SERVERS[request.param], "--factory", "watched:create_app"]
    process = subprocess.Popen(
        [*command, "--no-access-log", "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=base, timeout=LONG_S, trust_env=False) as client:
            eventually("the server answers", lambda: _answers(client))
            yield process, client
    finally:
        process.terminate()
        process.wait(LONG_S)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/streams").status_code == 200
    except httpx.TransportError:
        return False


def _read_one(answer: httpx.Response) -> Iterator[str]:
    """The stream's lines, once its first count has come."""
    lines = answer.iter_lines()
    assert 'data: {"code":"abc","clicks":7}' in lines
    return lines


def test_a_client_that_left_is_noticed(
    server: tuple[subprocess.Popen[bytes], httpx.Client],
) -> None:
    _process, client = server
    with client.stream("GET", "/live") as answer:
        _lines = _read_one(answer)  # dropping it would close the stream
        assert client.get("/streams").json() == 1
    eventually("its place is free", lambda: client.get("/streams").json() == 0)


def test_a_server_that_is_told_to_end_ends_the_streams_in_order(
    server: tuple[subprocess.Popen[bytes], httpx.Client],
) -> None:
    """In order: httpx raises for a stream that is cut."""
    process, client = server
    with client.stream("GET", "/live") as answer:
        lines = _read_one(answer)
        process.send_signal(signal.SIGTERM)
        for _line in lines:
            pass
    process.wait(LONG_S)
