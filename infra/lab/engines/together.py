"""The same work on several services at once, and the one failure of it that people are told."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio

from infra.lab.errors import LabError
from infra.lab.servers.base import Server


async def together(
    work: Callable[[Server], Coroutine[Any, Any, None]], servers: Sequence[Server]
) -> None:
    """Run `work` on all at once. Of several failures raises one: see `_first`."""
    try:
        async with anyio.create_task_group() as group:
            for server in servers:
                group.start_soon(work, server)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to tell of: one for the user before any other, the first of several."""
    told, rest = failures.split(LabError)
    failure: BaseException = told or rest or failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
