"""Clients that never finish their heads (slowloris), and whether others are still answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.site import HOST
from week01_http_server.checks.stands import GUARDED, UNGUARDED
from week01_http_server.checks.variants import CONNECTIONS_MAX, HEAD_S

SLOW: Final = 200
"""That come within one deadline, and again within each further one."""

WAVES: Final = 7
EVERY_S: Final = 0.2
"""Each slow client sends a byte so often: for its server it is never silent."""

PROBES_FROM_S: Final = HEAD_S * (CONNECTIONS_MAX / SLOW + 1)
PROBE_EVERY_S: Final = 0.1
PATIENCE_S: Final = 3.0
LIMIT_S: Final = 1.0
BEGUN: Final = b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: "
PROBE: Final = b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"


@claim(
    "w01.slow-clients",
    rows=[2, 154],
    mechanism="a deadline for a whole head",
    unit="s for a GET",
    repetitions=3,
)
class SlowClients:
    """A GET is answered within a second while 200 slow clients come each second."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        name = GUARDED if mechanism is Mechanism.ON else UNGUARDED
        port = lab.running().site.ports[name]
        began = time.monotonic()
        lab.say(f"{SLOW} slow clients a second")
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(_attack(port))
            probes = group.create_task(_probe(port, began))
        taken_s, unanswered = probes.result()
        held = slow.result()
        return Figures(
            unit="s for a GET",
            headline="answered_s",
            samples={
                # One that was not answered counts as all the patience that was had with it.
                "answered_s": [*taken_s, *[PATIENCE_S] * unanswered],
                "unanswered_gets": [float(unanswered)],
                "half_open": [float(max(held))],
            },
            attempts=len(taken_s) + unanswered,
            seed=lab.seed,
            summary="highest",
            notes=[f"{SLOW * WAVES} slow clients in {WAVES} waves, {HEAD_S:g} s apart"],
        )

    def judge(self, figures: Figures) -> None:
        assert figures["half_open"][0] >= SLOW, "the attack was not one"
        assert sum(figures["unanswered_gets"]) == 0, "a GET was not answered"
        assert figures.value < LIMIT_S, f"a GET took {figures.value:.2f} s"


async def _attack(port: int) -> list[int]:
    """Waves of slow clients; how many were open when each of them had come."""
    alive: set[asyncio.Task[None]] = set()
    held = []
    for _ in range(WAVES):
        for _ in range(SLOW):
            task = asyncio.create_task(_slow_client(port))
            alive.add(task)
            task.add_done_callback(alive.discard)
        await asyncio.sleep(HEAD_S / 2)
        held.append(len(alive))
        await asyncio.sleep(HEAD_S / 2)
    for task in list(alive):
        task.cancel()
    await asyncio.gather(*alive, return_exceptions=True)
    return held


async def _slow_client(port: int) -> None:
    """Begin a head and go on with it for ever; over when the server closes."""
    writer: asyncio.StreamWriter | None = None
    with contextlib.suppress(OSError):
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(BEGUN)
            while not reader.at_eof():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await reader.read(4096)
                writer.write(b"x")
                await writer.drain()
        finally:
            if writer is not None:
                writer.transport.abort()


async def _probe(port: int, began: float) -> tuple[list[float], int]:
    """GETs on new connections: seconds of those answered 200, and how many were not."""
    await asyncio.sleep(began + PROBES_FROM_S - time.monotonic())
    taken_s: list[float] = []
    unanswered = 0
    while time.monotonic() < began + WAVES * HEAD_S:
        asked = time.monotonic()
        if await _answered(port):
            taken_s.append(time.monotonic() - asked)
        else:
            unanswered += 1
        await asyncio.sleep(PROBE_EVERY_S)
    return taken_s, unanswered


async def _answered(port: int) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(PROBE)
                return (await reader.read()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False
