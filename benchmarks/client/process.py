"""What a run needs of its process: an event loop, and enough descriptors."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from benchmarks.client.load import Load
from benchmarks.client.operations import Observer
from benchmarks.client.plan import Plan, Target
from benchmarks.client.recorder import Progress
from benchmarks.client.requests import Source
from benchmarks.client.results import Result
from infra.lab.errors import UsageError

T = TypeVar("T")

_SPARE_DESCRIPTORS: Final = 64


async def run(
    target: Target,
    source: Source,
    plan: Plan,
    *,
    observer: Observer | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: asyncio.Event | None = None,
) -> Result:
    """One run in the event loop that is there; see `Load` for the arguments.

    Raises UsageError where this process may not open that many connections, and whatever the
    source, a check or the observer raises.
    """
    allow_descriptors(plan.connections + _SPARE_DESCRIPTORS)
    load = Load(target, source, plan, observer=observer, on_progress=on_progress, stop=stop)
    return await load.run()


def run_in_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` in a new event loop: uvloop's where it is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work())


def allow_descriptors(wanted: int) -> None:
    """Raise this process's own limit where needed; UsageError where the system forbids that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UsageError(
            f"this process may open {hard} files, and {wanted} are needed: "
            "ask for fewer connections, or raise the limit (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
