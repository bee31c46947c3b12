"""A signal reaches the server's handler and ours; with loops that handle signals themselves too."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
import uvloop

from week04_shortener.draining import on_signal

LONG_S = 30.0


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_handler_of_the_loop_and_ours_are_both_called(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        servers, ours = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, servers.set)
        with on_signal(ours.set):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(LONG_S):
                await servers.wait()
                await ours.wait()
        loop.remove_signal_handler(signal.SIGTERM)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_a_plain_handler_is_called_and_put_back() -> None:
    seen: list[int] = []

    def handler(number: int, _frame: object) -> None:
        seen.append(number)

    async def main() -> None:
        ours = asyncio.Event()
        with on_signal(ours.set):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(LONG_S):
                await ours.wait()

    before = signal.signal(signal.SIGTERM, handler)
    try:
        asyncio.run(main())
        assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    async def main() -> None:
        with on_signal(lambda: None):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGTERM, before)


async def _in_a_thread() -> None:
    with on_signal(lambda: None):
        pass


def test_outside_the_main_thread_nothing_is_touched() -> None:
    async def main() -> None:
        before = signal.getsignal(signal.SIGTERM)
        await asyncio.to_thread(asyncio.run, _in_a_thread())
        assert signal.getsignal(signal.SIGTERM) is before

    asyncio.run(main())
