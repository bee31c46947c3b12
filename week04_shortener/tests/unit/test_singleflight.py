"""Of all who ask at once, one does the work, and nobody's end is another's."""

import asyncio
import gc

import pytest

from week04_shortener.cache.singleflight import Flight, NoSingleFlight, SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """Waits for `done`, then returns how often it was called, or fails."""

    def __init__(self) -> None:
        self.calls = 0
        self.done = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.calls += 1
        await self.done.wait()
        if self.error:
            raise self.error
        return self.calls


async def ask(flight: Flight[int], work: Work, times: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flight.do("key", work)) for _ in range(times)]
    await settle()
    return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_work_is_done_once_for_all() -> None:
    work, flight = Work(), SingleFlight[int]()
    tasks = await ask(flight, work, 100)
    work.done.set()
    assert await asyncio.gather(*tasks) == [1] * 100
    assert work.calls == 1


async def test_without_it_everybody_works() -> None:
    work, flight = Work(), NoSingleFlight[int]()
    tasks = await ask(flight, work, 100)
    work.done.set()
    await asyncio.gather(*tasks)
    assert work.calls == 100


async def test_the_next_to_ask_after_it_landed_starts_anew() -> None:
    work, flight = Work(), SingleFlight[int]()
    work.done.set()
    assert await flight.do("key", work) == 1
    assert await flight.do("key", work) == 2


async def test_keys_do_not_wait_for_each_other() -> None:
    slow, quick, flight = Work(), Work(), SingleFlight[int]()
    quick.done.set()
    waiting = asyncio.create_task(flight.do("slow", slow))
    assert await flight.do("quick", quick) == 1
    slow.done.set()
    assert await waiting == 1


async def test_an_error_is_everybodys_and_is_not_kept() -> None:
    work, flight = Work(), SingleFlight[int]()
    work.error = ValueError("no")
    tasks = await ask(flight, work, 3)
    work.done.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [work.error] * 3
    work.error = None
    assert await flight.do("key", work) == 2


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_whoever_is_cancelled_leaves_the_others_their_answer(cancelled: int) -> None:
    work, flight = Work(), SingleFlight[int]()
    tasks = await ask(flight, work, 3)
    tasks[cancelled].cancel()
    await settle()
    assert tasks[cancelled].cancelled()
    work.done.set()
    others = [task for task in tasks if task is not tasks[cancelled]]
    assert await asyncio.gather(*others) == [1, 1]


async def test_error_after_all_were_cancelled_is_not_reported_as_unseen() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: reported.append(context)
    )
    work, flight = Work(), SingleFlight[int]()
    work.error = ValueError("no")
    tasks = await ask(flight, work, 2)
    while tasks:
        tasks.pop().cancel()
    work.done.set()
    await settle()
    work.error = None
    assert await flight.do("key", work) == 2
    # An error nobody has seen is reported when its task is collected: nothing may hold it.
    gc.collect()
    assert reported == []
