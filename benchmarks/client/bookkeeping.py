"""Writes what the client sends, and what becomes of it, into a ledger."""

from __future__ import annotations

import time
from collections.abc import Collection

from benchmarks.client.operations import Ended, Observer
from benchmarks.client.outcomes import Outcome
from benchmarks.client.requests import Request, Source
from benchmarks.ledger import Ledger, State


def recorded(
    ledger: Ledger, source: Source, refused_status: Collection[int] = ()
) -> tuple[Source, Observer]:
    """A source and an observer for `run` that keep `ledger`, by `time.monotonic()`.

    Every request must have a `key`; ValueError for one without.

    Args:
        refused_status: statuses by which this service promises that nothing was done.
    """

    def begin(number: int) -> Request | None:
        request = source(number)
        if request is not None:
            if request.key is None:
                raise ValueError(f"request {number} has no key: the ledger could not name it")
            ledger.begin(request.key, time.monotonic())
        return request

    def end(ended: Ended) -> None:
        assert ended.request.key is not None
        ledger.end(ended.request.key, state_of(ended, refused_status), time.monotonic())

    return begin, end


def state_of(ended: Ended, refused_status: Collection[int] = ()) -> State:
    """What is known of an operation by how its request ended.

    A refusing answer is believed only to a first attempt: it says nothing of an earlier attempt
    whose answer never came.
    """
    if ended.outcome is Outcome.OK:
        return State.ACKNOWLEDGED
    if not ended.sent:
        return State.REFUSED
    denied = ended.answer is not None and ended.answer.status in refused_status
    if ended.outcome is Outcome.WRONG_STATUS and denied and ended.attempts == 1:
        return State.REFUSED
    return State.INDETERMINATE
