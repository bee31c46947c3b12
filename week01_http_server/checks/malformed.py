"""Streams that no server may take for requests, over real sockets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from week01_http_server.checks.stands import FLOOR, READER, target_of
from week01_http_server.tests.vectors import REFUSED, Refused

CLOSED_S: Final = 5.0
AT_ONCE: Final = 50
READ_MAX_BYTES: Final = 2**20


@dataclass(frozen=True)
class Heard:
    """What a server said to a stream.

    Attributes:
        statuses: of its final answers, in order.
        closed: whether it closed the connection, in order or not, within CLOSED_S.
    """

    statuses: tuple[int, ...]
    closed: bool


@claim(
    "w01.malformed",
    rows=[1, 154],
    mechanism="a core that judges what the parser lets through",
    unit="streams taken wrongly",
    needs={"url"},
)
class Malformed:
    """Every malformed stream is refused with its status, and the connection closed."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        name = READER if mechanism is Mechanism.ON else FLOOR
        target = target_of(lab, name)
        turn = asyncio.Semaphore(AT_ONCE)
        is_elsewhere = lab.engine is None
        lab.say(f"{len(REFUSED)} streams to {target.host}")

        async def tried(one: Refused) -> str:
            async with turn:
                heard = await hear(target.address, target.port, one.data)
                return fault(one, heard, early=is_elsewhere)

        found = await asyncio.gather(*map(tried, REFUSED))
        wrong = [f"{one.name}: {text}" for one, text in zip(REFUSED, found, strict=True) if text]
        return Figures(
            unit="streams taken wrongly",
            headline="wrong",
            samples={"wrong": [float(len(wrong))]},
            attempts=len(REFUSED),
            seed=lab.seed,
            notes=wrong,
        )

    def judge(self, figures: Figures) -> None:
        assert figures.value == 0, "; ".join(figures.notes[:3])


async def hear(host: str, port: int, stream: bytes) -> Heard:
    """Send a stream, then listen until the server closes, or for CLOSED_S."""
    heard, closed = b"", False
    reader, writer = await asyncio.open_connection(host, port, limit=READ_MAX_BYTES)
    try:
        writer.write(stream)
        async with asyncio.timeout(CLOSED_S):
            while len(heard) < READ_MAX_BYTES and (more := await reader.read(65536)):
                heard += more
            closed = True
    except ConnectionError:
        closed = True
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
    return Heard(statuses(heard), closed)


def fault(one: Refused, heard: Heard, *, early: bool = False) -> str:
    """What is wrong with how a malformed stream was answered; "" for nothing.

    Args:
        early: a server that wants no body may refuse the request before it reads one, with a 4xx of
            its own, if it then closes the connection (RFC 9112, section 9.3).
    """
    *before, last = heard.statuses or (0,)
    if not heard.statuses:
        return "no answer"
    if early and 400 <= last < 500 and heard.closed and len(before) == one.answered_before:
        return ""
    if last != one.status or any(status >= 400 for status in before):
        return f"answered {', '.join(map(str, heard.statuses))} and not {one.status}"
    if len(before) != one.answered_before:
        return f"{len(before)} answers before the refusal and not {one.answered_before}"
    return "" if heard.closed or not one.closes else "the connection stayed open"


def statuses(heard: bytes) -> tuple[int, ...]:
    """Of the final answers in a stream of whole ones with lengths; interim ones are left out."""
    found = []
    while heard.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in heard:
        head, _, heard = heard.partition(b"\r\n\r\n")
        status = int(head[9:12])
        if status >= 200:
            found.append(status)
            heard = heard[_length(head) :]
    return tuple(found)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0
