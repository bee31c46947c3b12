"""Lookups of one moment go out as one question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from week04_shortener.cache.gathering import MOST_KEYS, Gathered

pytestmark = pytest.mark.anyio


class Server:
    """Answers each key with itself; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.broken = False

    async def ask(self, keys: Sequence[str]) -> Sequence[str]:
        self.asked.append(list(keys))
        await self.answers.wait()
        if self.broken:
            raise OSError("gone")
        return [f"<{key}>" for key in keys]


@pytest.fixture
async def server() -> Server:
    return Server()


async def turns() -> None:
    """Let everybody go on until they wait for the server."""
    for _ in range(10):
        await asyncio.sleep(0)


def gathered(server: Server) -> Gathered[str]:
    return Gathered(server.ask, lambda error: ConnectionError(str(error)))


async def test_who_asks_at_once_asks_together(server: Server) -> None:
    lookups = gathered(server)
    keys = [f"key{number}" for number in range(10)]
    assert await asyncio.gather(*map(lookups.get, keys)) == [f"<{key}>" for key in keys]
    assert server.asked == [keys]


async def test_nobody_waits_for_others(server: Server) -> None:
    lookups = gathered(server)
    assert await lookups.get("one") == "<one>"
    assert await lookups.get("two") == "<two>"
    assert server.asked == [["one"], ["two"]]


async def test_a_question_under_way_holds_up_no_other(server: Server) -> None:
    lookups = gathered(server)
    server.answers.clear()
    first = asyncio.create_task(lookups.get("first"))
    await turns()
    second = asyncio.create_task(lookups.get("second"))
    await turns()
    assert server.asked == [["first"], ["second"]]
    server.answers.set()
    assert [await first, await second] == ["<first>", "<second>"]


async def test_a_question_is_bounded(server: Server) -> None:
    lookups = gathered(server)
    keys = [f"key{number}" for number in range(2 * MOST_KEYS + 1)]
    assert await asyncio.gather(*map(lookups.get, keys)) == [f"<{key}>" for key in keys]
    assert [len(asked) for asked in server.asked] == [MOST_KEYS, MOST_KEYS, 1]


async def test_a_failure_is_told_to_each_as_an_error_of_its_own(server: Server) -> None:
    lookups = gathered(server)
    server.broken = True
    told = await asyncio.gather(*map(lookups.get, "abc"), return_exceptions=True)
    assert [str(error) for error in told] == ["gone"] * 3
    assert len({id(error) for error in told}) == 3
    assert all(isinstance(error, ConnectionError) for error in told)
    server.broken = False
    assert await lookups.get("d") == "<d>"


async def test_who_is_cancelled_leaves_the_others_their_answers(server: Server) -> None:
    lookups = gathered(server)
    server.answers.clear()
    gone, stays = (asyncio.create_task(lookups.get(key)) for key in ("gone", "stays"))
    await turns()
    gone.cancel()
    await asyncio.wait({gone})
    server.answers.set()
    assert await stays == "<stays>"
