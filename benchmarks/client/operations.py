"""A request on its way, and what an observer is told once it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.client.connection import Connection
from benchmarks.client.outcomes import Outcome
from benchmarks.client.requests import Answer, Request


@dataclass(frozen=True, slots=True)
class Ended:
    """What an observer is told of each request.

    Attributes:
        outcome: of its last attempt.
        sent: whether any byte of any attempt may have reached the server. A failed request that
            was never sent was certainly not carried out.
        answer: of the last attempt, where there was one.
        due_s, ended_s: by `time.monotonic()`.
    """

    number: int
    request: Request
    outcome: Outcome
    sent: bool
    answer: Answer | None
    attempts: int
    due_s: float
    ended_s: float


Observer = Callable[[Ended], None]


class Operation:
    """One request on its way."""

    __slots__ = (
        "attempts", "connection", "deadline_s", "due_s", "number", "payload", "request", "sent",
        "sent_s", "task",
    )  # fmt: skip

    def __init__(self, number: int, request: Request, payload: bytes, due_s: float) -> None:
        self.number, self.request, self.payload, self.due_s = number, request, payload, due_s
        self.attempts = 0
        self.deadline_s = self.sent_s = 0.0
        self.sent = False
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None
