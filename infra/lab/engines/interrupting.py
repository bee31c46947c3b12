"""Work that Ctrl-C ends cleanly, and work that it does not end: for the verbs of every engine."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import anyio


async def interruptible(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` so that Ctrl-C cancels it only where it waits, then raise KeyboardInterrupt.

    asyncio's own way would leave alone the thread that just starts the supervisor, and with it
    what it starts; a second Ctrl-C would tear the clean-up apart.
    """
    if threading.current_thread() is not threading.main_thread():
        await work()
        return
    scope = anyio.CancelScope()
    failure: Exception | None = None

    async def watch(signals: AsyncIterator[signal.Signals]) -> None:
        async for _ in signals:
            scope.cancel()

    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(watch, signals)
            try:
                with scope:
                    await work()
            except Exception as error:  # raised below, out of the group that would wrap it
                failure = error
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if scope.cancelled_caught:
        raise KeyboardInterrupt


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish what runs inside, whatever is pressed: half a stop would leave processes behind."""
    with anyio.CancelScope(shield=True):
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
