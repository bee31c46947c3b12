"""The life of a process: start or say why not, work until told to stop, end within a limit."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, TypeVar

import structlog

T = TypeVar("T")

EXIT_CANNOT_START = 1

Worker = Callable[[asyncio.Event], Awaitable[None]]
"""Works until the event it is given is set, then finishes what it holds and returns."""


class CannotStart(Exception):
    """Something the process needs is not there; the message says what, and what to do."""


class Stopped(Exception):
    """Work was given up because the process is to stop. Not an error."""


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run `main` with an event that SIGTERM and SIGINT set; returns the exit status.

    `CannotStart`, and a signal before `main` had done what it was started for, become one line
    on stderr and status 1.
    """
    try:
        asyncio.run(_with_signals(main))
    except Stopped:
        refuse_start(CannotStart("stopped before it was done"))
    except CannotStart as error:
        refuse_start(error)
    return 0


def refuse_start(error: CannotStart) -> NoReturn:
    """End the process with status 1 and one line on stderr."""
    sys.stderr.write(f"cannot start: {' '.join(str(error).split())}\n")
    raise SystemExit(EXIT_CANNOT_START) from error


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await main(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def work(workers: Mapping[str, Worker], *, stop: asyncio.Event, drain_s: float) -> None:
    """Run `workers` side by side until `stop` is set, then give them `drain_s` to finish.

    A worker that fails, or returns before it was told to, stops the others and its error is
    raised: a process that does half its work looks healthy and is not.
    """
    log = structlog.get_logger()
    tasks = {
        asyncio.create_task(_until_stopped(worker, stop), name=name)
        for name, worker in workers.items()
    }
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        told = stop.is_set()
        stop.set()
        log.info("stopping", reason="signal" if told else "a worker ended", drain_s=drain_s)
        _, late = await asyncio.wait(tasks, timeout=drain_s)
    finally:
        stopping.cancel()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for task in late:
        log.warning("worker was cut off", worker=task.get_name(), drain_s=drain_s)
    errors = [e for e in results if isinstance(e, Exception)]
    if errors:
        raise errors[0]
    if not told:
        names = ", ".join(sorted(task.get_name() for task in tasks - late))
        raise RuntimeError(f"a worker ended without being told to: one of {names}")
    log.info("stopped")


async def _until_stopped(worker: Worker, stop: asyncio.Event) -> None:
    try:
        await worker(stop)
    except Stopped:
        if not stop.is_set():
            raise


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but wake up and raise `Stopped` as soon as `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
    raise Stopped


async def unless_stopped(work: Awaitable[T], stop: asyncio.Event) -> T:
    """The result of `work`, or `Stopped` as soon as `stop` is set; the work is then cancelled."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Stopped
        return working.result()
    finally:
        for future in (working, stopping):
            future.cancel()
