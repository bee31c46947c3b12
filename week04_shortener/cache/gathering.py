"""Lookups of one moment as one question: what is asked for while the event loop is busy goes out
together as soon as it is not.

A command to Valkey costs a client in Python more than it costs Valkey: a connection out of the
pool, a write, a wake-up, a parser. A hundred requests that miss at once would also open as many
connections as the pool has, each with a handshake, and some would run into their time limit over
it. Gathered, they are one MGET over one connection. Nobody waits for others to come: a lookup that
is alone goes out alone, as a GET.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MOST_KEYS: Final = 256
"""In one question: Valkey answers one after the other, and a long answer holds up everybody's."""


class Gathered(Generic[T]):
    """Asks `ask` for keys, many at a time. Answers come in the order of the keys.

    `ask` must have a time limit of its own. What it raises, each who asked is told as an error of
    its own, made by `fail`.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Awaitable[Sequence[T]]],
        fail: Callable[[Exception], Exception],
    ) -> None:
        self._ask = ask
        self._fail = fail
        self._waiting: list[tuple[str, asyncio.Future[T]]] = []
        # The event loop itself holds its tasks by weak references only.
        self._under_way: set[asyncio.Task[None]] = set()

    async def get(self, key: str) -> T:
        """The answer for `key`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append((key, answer))
        return await answer

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MOST_KEYS):
            task = asyncio.create_task(self._answer(waiting[start : start + MOST_KEYS]))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _answer(self, waiting: Sequence[tuple[str, asyncio.Future[T]]]) -> None:
        try:
            found = await self._ask([key for key, _ in waiting])
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():  # who was cancelled waits no more
                    answer.set_exception(self._fail(error))
        else:
            for (_, answer), value in zip(waiting, found, strict=True):
                if not answer.done():
                    answer.set_result(value)
