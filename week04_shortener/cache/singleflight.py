"""Single flight: of all who ask for the same thing at the same time, one does the work.

When a popular entry expires, every request of that moment misses. Without this, each of them
asks the database; with it, one does and the others wait for its answer. It works within one
process: N replicas ask the database N times at most, and `lease` makes that once.

Whoever joins gets what was asked for before they came. How old that may be is for them to judge:
see `aside.Dated`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Flight(Protocol[T]):
    """What coalesces calls, or does not: the two below are swapped at wiring."""

    async def do(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, done now or already under way for the same `key`."""
        ...


class SingleFlight(Generic[T]):
    """Does the work for a key once for all who ask while it is under way.

    An error of the work is everybody's error, and the next to ask starts anew. The work runs in a
    task of its own: whoever is cancelled, also the one that started it, leaves the others their
    answer. `work` must have a time limit of its own.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[T]] = {}

    async def do(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(_run(work))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        # Waits without owning: when this caller is cancelled, the task is not.
        await asyncio.wait({task})
        return task.result()

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            # Marks the error as seen: if all who waited were cancelled, nobody else will.
            task.exception()


class NoSingleFlight(Generic[T]):
    """Everybody does the work: the control that shows what single flight is good for."""

    async def do(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        return await work()


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
