"""Every stream of the table over real sockets, against the server as the command starts it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from week01_http_server.checks.malformed import AT_ONCE, Heard, fault, hear, statuses
from week01_http_server.tests.vectors import ACCEPTED, REFUSED

pytestmark = pytest.mark.integration

QUIET_S = 1.0


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app = "week01_http_server.checks.reader:app"
    command = [sys.executable, "-m", "week01_http_server", app, "--port", "0", "--no-access-log"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                    yield int(found[1])
                    break
            else:
                pytest.fail("the server ended before it listened")
        finally:
            process.terminate()


def test_every_malformed_stream_is_refused_and_its_connection_closed(port: int) -> None:
    async def all_heard() -> list[Heard]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(stream: bytes) -> Heard:
            async with turn:
                return await hear("127.0.0.1", port, stream)

        return await asyncio.gather(*(one(vector.data) for vector in REFUSED))

    heard = asyncio.run(all_heard())
    told = [f"{one.name}: {fault(one, found)}" for one, found in zip(REFUSED, heard, strict=True)]
    assert [line for line in told if not line.endswith(": ")] == []


def test_every_odd_but_good_stream_is_answered(port: int) -> None:
    async def answers(stream: bytes, wanted: int) -> tuple[int, ...]:
        """The first `wanted` answers, and what follows them within QUIET_S."""
        heard = b""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(stream)
            async with asyncio.timeout(20):
                while len(statuses(heard)) < wanted and (more := await reader.read(65536)):
                    heard += more
            try:
                async with asyncio.timeout(QUIET_S):
                    heard += await reader.read(65536)
            except TimeoutError:
                pass
        finally:
            writer.transport.abort()
        return statuses(heard)

    async def all_answers() -> list[tuple[int, ...]]:
        return await asyncio.gather(*(answers(one.data, one.requests) for one in ACCEPTED))

    found = asyncio.run(all_answers())
    wrong = [
        (one.name, got)
        for one, got in zip(ACCEPTED, found, strict=True)
        if got != (200,) * one.requests
    ]
    assert wrong == []
