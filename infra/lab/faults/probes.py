"""Proof that a fault has landed on a link, and that it has gone: measured on connections of ours.

Each probe looks at a connection that was open before and at a new one. Lower bounds are exact;
nothing depends on how fast this machine is.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import SocketStream

from infra.lab.errors import LabError
from infra.lab.faults.questions import Question

ANSWER_TIMEOUT_S = 10.0
RESTORE_TIMEOUT_S = 15.0
RETRY_S = 0.05
BASELINE_TRIES = 3
SILENCE_MIN_S = 0.5
SILENCE_MAX_S = 5.0
SILENCE_FACTOR = 10
RATE_PROOF_S = 0.3
RATE_SLACK = 1.05
"""Toxiproxy corrects its own late timers by sending the next piece early."""


class FaultError(LabError):
    """A fault did not land, was gone before its end, or did not go: what was measured is void."""


@dataclass(frozen=True)
class Link:
    """A way between two services that leads through the proxy.

    Attributes:
        host, port: where the client service connects instead of `upstream`.
        upstream: `host:port` of the server.
        question: what the server answers.
        relayed: whether something between the probe and the proxy (Docker, which publishes its
            port) passes an RST on as a plain end.
    """

    name: str
    host: str
    port: int
    upstream: str
    question: Question
    relayed: bool = False

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[SocketStream]:
        """A connection of the probe's own. Raises FaultError where there is none to be had."""
        try:
            with anyio.fail_after(ANSWER_TIMEOUT_S):
                stream = await anyio.connect_tcp(self.host, self.port)
        except OSError as error:
            raise FaultError(f"{self.name} takes no connection at {self.address}") from error
        try:
            yield stream
        finally:
            await anyio.aclose_forcefully(stream)


@dataclass(frozen=True)
class Proof:
    """What the probe measured before the fault and under it."""

    fault: str
    link: str
    before: str
    during: str

    def __str__(self) -> str:
        return f"{self.fault} on {self.link}: {self.before} before, {self.during} now"


class Probe(ABC):
    """Knows one fault's traces."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    @abstractmethod
    async def before(self, link: Link) -> str:
        """Measure without the fault. Raises FaultError if its traces are there already."""

    @abstractmethod
    async def landed(self, link: Link, open_before: SocketStream) -> str:
        """Measure with the fault. Raises FaultError if it is not there."""

    async def restored(self, link: Link) -> None:
        """Return once the link is as it was. Raises FaultError if that does not happen."""
        deadline = time.monotonic() + RESTORE_TIMEOUT_S
        while True:
            try:
                await self.before(link)
                return
            except FaultError as error:
                if time.monotonic() > deadline:
                    raise FaultError(f"{self.fault} on {link.name} does not go: {error}") from error
            await anyio.sleep(RETRY_S)

    def missing(self, link: Link, found: str) -> FaultError:
        return FaultError(f"{self.fault} on {link.name} did not land: {found}")


class Slow(Probe):
    """Each answer comes `least_s` late."""

    def __init__(self, fault: str, least_s: float) -> None:
        super().__init__(fault)
        self._least_s = least_s

    async def before(self, link: Link) -> str:
        best_s = math.inf
        for _ in range(BASELINE_TRIES):
            best_s = min(best_s, await round_trip_s(link))
        if best_s >= self._least_s:
            raise FaultError(
                f"{link.name} takes {_ms(best_s)} without {self.fault}: "
                f"no later answer could prove it"
            )
        return _ms(best_s)

    async def landed(self, link: Link, open_before: SocketStream) -> str:
        took_s = [await answer_s(link, open_before), await round_trip_s(link)]
        if min(took_s) < self._least_s:
            raise self.missing(link, f"an answer came after {_ms(min(took_s))}")
        return _ms(min(took_s))


class Narrow(Probe):
    """Bytes pass at `rate_kb_s` at most."""

    def __init__(self, fault: str, rate_kb_s: int, stream: str) -> None:
        super().__init__(fault)
        self._rate_bytes_s = rate_kb_s * 1000
        self._needs_echo = stream == "upstream"
        self._volume_bytes = max(2, int(self._rate_bytes_s * RATE_PROOF_S))

    def _check(self, question: Question) -> None:
        if self._needs_echo and not question.echoes:
            raise FaultError(f"{question.name} cannot measure the rate towards a server")
        if self._volume_bytes > question.answer_max_bytes:
            raise FaultError(
                f"{self.fault} cannot be proven by {question.name}, which brings at most "
                f"{question.answer_max_bytes} bytes: ask for a lower rate"
            )

    async def before(self, link: Link) -> str:
        self._check(link.question)
        async with link.connect() as stream:
            rate = await self._rate(link, stream)
        if rate <= self._rate_bytes_s * RATE_SLACK:
            raise FaultError(f"{link.name} brings {_kb_s(rate)} without {self.fault}")
        return _kb_s(rate)

    async def landed(self, link: Link, open_before: SocketStream) -> str:
        rates = [await self._rate(link, open_before)]
        async with link.connect() as stream:
            rates.append(await self._rate(link, stream))
        if max(rates) > self._rate_bytes_s * RATE_SLACK:
            raise self.missing(link, f"{_kb_s(max(rates))} came through")
        return _kb_s(max(rates))

    async def _rate(self, link: Link, stream: SocketStream) -> float:
        return self._volume_bytes / await answer_s(link, stream, self._volume_bytes)


class Silent(Probe):
    """No byte comes, and no end either."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self._silence_s = SILENCE_MIN_S

    async def before(self, link: Link) -> str:
        took_s = await round_trip_s(link)
        self._silence_s = min(max(SILENCE_MIN_S, took_s * SILENCE_FACTOR), SILENCE_MAX_S)
        return f"an answer after {_ms(took_s)}"

    async def landed(self, link: Link, open_before: SocketStream) -> str:
        request = link.question.request(1)
        async with link.connect() as fresh:
            for stream in (open_before, fresh):
                await stream.send(request)
            await anyio.sleep(self._silence_s)
            for stream in (open_before, fresh):
                with anyio.move_on_after(RETRY_S):
                    raise self.missing(link, await _heard(stream))
        return f"no byte for {_ms(self._silence_s)}"


class Reset(Probe):
    """Whoever says something gets RST."""

    async def before(self, link: Link) -> str:
        return f"an answer after {_ms(await round_trip_s(link))}"

    async def landed(self, link: Link, open_before: SocketStream) -> str:
        async with link.connect() as fresh:
            await _send(fresh, link.question.request(1))
            found = await self._found(fresh)
        if found != RST and not (link.relayed and found == FIN):
            raise self.missing(link, found)
        await _send(open_before, link.question.request(1))
        found = await self._found(open_before)
        # Toxiproxy ends a connection that it had before the toxic with FIN.
        if found not in (RST, FIN):
            raise self.missing(link, found)
        return f"{RST} on a new connection, {found} on an open one"

    async def _found(self, stream: SocketStream) -> str:
        with anyio.move_on_after(ANSWER_TIMEOUT_S):
            return await _heard(stream)
        return f"silence for {ANSWER_TIMEOUT_S:.0f} s"


RST, FIN = "RST", "the connection's end"


async def round_trip_s(link: Link) -> float:
    """Seconds from the question to the first byte of the answer, on a new connection."""
    async with link.connect() as stream:
        return await answer_s(link, stream)


async def answer_s(link: Link, stream: SocketStream, answer_bytes: int = 1) -> float:
    """Seconds from the question until so many bytes have come. Raises FaultError without them."""
    got = 0
    began = time.perf_counter()
    try:
        with anyio.fail_after(ANSWER_TIMEOUT_S + _patience_s(answer_bytes)):
            async with anyio.create_task_group() as group:
                group.start_soon(_send, stream, link.question.request(answer_bytes))
                while got < answer_bytes:
                    got += len(await stream.receive())
                took_s = time.perf_counter() - began
                group.cancel_scope.cancel()
    except TimeoutError as error:
        raise FaultError(f"{link.name} brought {got} of {answer_bytes} bytes") from error
    except BaseExceptionGroup as errors:
        if errors.split((anyio.EndOfStream, anyio.BrokenResourceError))[1] is not None:
            raise
        raise FaultError(f"{link.name} hung up after {got} of {answer_bytes} bytes") from errors
    return took_s


def _patience_s(answer_bytes: int) -> float:
    return 60.0 if answer_bytes > 1 else 0.0


async def _send(stream: SocketStream, data: bytes) -> None:
    try:
        await stream.send(data)
    except anyio.BrokenResourceError:
        return  # whoever receives will see how it ended


async def _heard(stream: SocketStream) -> str:
    """What comes next, in words."""
    try:
        return f"{len(await stream.receive())} bytes came"
    except anyio.EndOfStream:
        return FIN
    except anyio.BrokenResourceError as error:
        cause = error.__cause__
        return RST if isinstance(cause, ConnectionResetError | BrokenPipeError) else str(cause)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _kb_s(bytes_s: float) -> str:
    return f"{bytes_s / 1000:.1f} KB/s"
