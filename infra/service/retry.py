"""Trying again: exponential backoff with full jitter, for as long as it makes sense.

Why jitter: clients that failed together would otherwise all return together
(Marc Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
import tenacity

from infra.service.lifecycle import pause

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How long to wait between attempts, seconds: random up to a ceiling that doubles."""

    first_s: float = 0.1
    most_s: float = 5.0


class GaveUp(Exception):
    """The time to try ran out; the message tells what was tried and how it failed last."""


async def keep_trying(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[Exception], ...],
    stop: asyncio.Event,
    pace: Pace,
    give_up_after_s: float | None = None,
    failed: Callable[[Exception], None] = lambda _: None,
) -> T:
    """Call `attempt` until it succeeds; returns what it returned.

    Only errors of the kinds in `on` are tried again, and `failed` is told each of them. Raises
    `Stopped` as soon as `stop` is set, `GaveUp` after `give_up_after_s` (None: never).
    An outage is logged at its beginning, at attempts 2, 4, 8, ... and at its end.
    """
    log = structlog.get_logger().bind(what=what)

    def note(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, Exception)
        failed(error)
        if state.attempt_number & (state.attempt_number - 1) == 0:
            log.warning("failed, trying again", attempt=state.attempt_number, error=brief(error))

    async def awaited() -> T:
        # The library awaits coroutine functions only, and `attempt` may be a plain lambda.
        return await attempt()

    retrying = tenacity.AsyncRetrying(
        sleep=lambda seconds: pause(seconds, stop),
        wait=tenacity.wait_random_exponential(multiplier=pace.first_s, max=pace.most_s),
        stop=(
            tenacity.stop_never
            if give_up_after_s is None
            else tenacity.stop_before_delay(give_up_after_s)
        ),
        retry=tenacity.retry_if_exception_type(on),
        before_sleep=note,
    )
    try:
        result: T = await retrying(awaited)
    except tenacity.RetryError as error:
        last = error.last_attempt.exception()
        raise GaveUp(f"{what}: no success within {give_up_after_s:g} s ({brief(last)})") from last
    attempts = retrying.statistics.get("attempt_number", 1)
    if attempts > 1:
        log.info("works again", attempts=attempts)
    return result


def brief(error: BaseException | None) -> str:
    """The kind and message of an error on one line of bounded length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
