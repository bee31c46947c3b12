"""How many connections at once are answered, and how many a hundred requests need."""

from __future__ import annotations

import asyncio
import statistics
from enum import StrEnum
from typing import Final

from benchmarks.client import Plan, Request, always, parse_target, run
from benchmarks.client.process import allow_descriptors
from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.errors import LabError
from week01_http_server.bench.crowd import Crowd
from week01_http_server.checks.handshakes import Handshakes
from week01_http_server.checks.stands import ALONE, FEW_DESCRIPTORS, HELLO, target_of
from week01_http_server.lab import metrics

AT_ONCE: Final = 500
"""So many are opening at the same time; all stay open until the last one is."""

SPARE: Final = 200
REQUESTS: Final = 100
COUNTED_S: Final = 10.0
POLL_S: Final = 0.1


class Size(StrEnum):
    """So many connections, and who serves them."""

    HUNDRED = "100"
    THOUSAND = "1,000"
    TEN_THOUSAND = "10,000"
    ALONE = "100, one after the other"
    FEW_DESCRIPTORS = "1,200, a thread each, 1,024 descriptors"


_STANDS: Final[dict[str, tuple[str, int]]] = {
    Size.HUNDRED: (HELLO, 100),
    Size.THOUSAND: (HELLO, 1000),
    Size.TEN_THOUSAND: (HELLO, 10_000),
    Size.ALONE: (ALONE, 100),
    Size.FEW_DESCRIPTORS: (FEW_DESCRIPTORS, 1200),
}


@claim(
    "w01.connections",
    rows=[2, 154],
    mechanism="one event loop for all connections, and descriptors for them",
    unit="connections not answered",
    needs={"url"},
    repetitions=3,
    passes=[Size.TEN_THOUSAND, Size.THOUSAND, Size.HUNDRED],
    controls=[Size.ALONE, Size.FEW_DESCRIPTORS],
)
class Connections:
    """100, 1,000 and 10,000 connections at once are all answered, twice each."""

    async def measure(self, lab: Lab, mechanism: Size) -> Figures:
        name, connections = _STANDS[mechanism]
        allow_descriptors(connections + SPARE)
        target = target_of(lab, name)
        lab.say(f"{connections} connections to {target.host}")
        crowd = await Crowd(target.address, target.port, connections, AT_ONCE).run()
        samples = {
            "unanswered": [float(crowd.connections - crowd.answered)],
            "connections_open_at_once": [float(connections)],
        }
        if crowd.opening_s:
            samples["first_answer_p50_ms"] = [1000 * statistics.median(crowd.opening_s)]
            samples["first_answer_slowest_ms"] = [1000 * max(crowd.opening_s)]
        return Figures(
            unit="connections not answered",
            headline="unanswered",
            samples=samples,
            attempts=connections,
            seed=lab.seed,
            notes=[f"{many} {what}" for what, many in crowd.failures.items()],
        )

    def judge(self, figures: Figures) -> None:
        assert figures.value == 0, f"{figures.value:.0f} connections were not answered"


UNSEEN = "no packet capture: that needs root on Linux, and a server on its loopback"


@claim(
    "w01.keep-alive",
    rows=[3, 154],
    mechanism="keep-alive",
    unit="connections accepted for 100 requests",
    repetitions=3,
)
class KeepAlive:
    """A hundred requests need one handshake."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        site = lab.running().site
        target, _ = parse_target(site.url(HELLO))
        before = await metrics(site, HELLO)
        plan = Plan(
            requests=REQUESTS, connections=1, keep_alive=mechanism is Mechanism.ON, seconds=10
        )
        with Handshakes(target.port) as wire:
            result = await run(target, always(Request()), plan)
            wire.gather()
        wanted = before.get("http_requests_total", 0.0) + REQUESTS
        after = await _when_counted(lab, wanted)
        accepted = "http_connections_accepted_total"
        samples = {
            "accepted": [after[accepted] - before[accepted]],
            "right_answers": [float(result.ok)],
            "latency_p50_ms": [result.latency.percentile_us(50) / 1000],
        }
        # What goes to a container passes loopback or does not, as its engine forwards it.
        seen = wire.seen if site.shares_processes else None
        if seen is not None:
            samples["handshakes_on_the_wire"] = [float(seen)]
        return Figures(
            unit="connections accepted for 100 requests",
            headline="accepted",
            samples=samples,
            attempts=result.attempts,
            seed=lab.seed,
            notes=[] if seen is not None else [UNSEEN],
        )

    def judge(self, figures: Figures) -> None:
        assert set(figures["right_answers"]) == {REQUESTS}, "not every answer was right"
        on_the_wire = figures.samples.get("handshakes_on_the_wire", figures["accepted"])
        assert list(on_the_wire) == list(figures["accepted"]), "wire and server disagree"
        assert figures.value == 1, f"{figures.value:.0f} handshakes for {REQUESTS} requests"


async def _when_counted(lab: Lab, requests: float) -> dict[str, float]:
    """The server's own counts, once they hold all requests; it publishes twice a second."""
    for _ in range(int(COUNTED_S / POLL_S)):
        found = await metrics(lab.running().site, HELLO)
        if found.get("http_requests_total", 0.0) >= requests:
            return found
        await asyncio.sleep(POLL_S)
    raise LabError("the server did not count all requests")
