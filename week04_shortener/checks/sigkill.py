"""A ledger of links and clicks while each process is killed in turn, under load."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Final

from benchmarks.client import Plan, Result, parse_target, run
from benchmarks.ledger import Recovery
from infra.evidence import Figures, Lab, Mechanism, claim
from infra.lab.engines.base import Engine
from infra.lab.engines.base import State as ServiceState
from week04_shortener.checks.books import CALM_S, Books, Held
from week04_shortener.checks.inside import drained, eventually, told
from week04_shortener.checks.stands import CLICKS_IN_MEMORY, WEEK, Stand
from week04_shortener.checks.traffic import make_links

LINKS: Final = 20
WORKERS: Final = ("forwarder1", "consumer", "relay")
RATE_PER_S: Final = 100.0
SECONDS_MAX: Final = 120.0
BEFORE_S: Final = 1.0
"""Of load before the first kill and after the last recovery."""

RECOVERY_S: Final = 30.0
RUNNING_S: Final = 60.0
POLL_S: Final = 0.1
NEVER_S: Final = RECOVERY_S
"""Shown for a victim after whose death the front door did not recover; `judge` asks for that."""


@claim(
    "w04.kills",
    rows=[25, 28, 29],
    mechanism="clicks in a log before the answer",
    unit="operations lost or counted twice",
    seeds=range(1, 11),
    limit_s=240.0,
)
class Kills:
    """No acknowledged link or click is lost or counted twice when each process is killed."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        engine = lab.running()
        stand = WEEK if mechanism is Mechanism.ON else CLICKS_IN_MEMORY
        # What the control lacks shows when Kafka and a replica die; a deep run kills everybody.
        everybody = lab.deep or mechanism is Mechanism.ON
        victims = _in_turn(stand, Random(lab.seed), everybody)
        door = engine.site.url(stand.front)
        targets = [f"https://example.org/kills/{number}" for number in range(LINKS)]
        books = Books(await make_links(door, targets), Random(lab.seed))
        killed: dict[str, float] = {}
        async with _load(door, books) as load:
            await asyncio.sleep(BEFORE_S)
            for number, victim in enumerate(victims, 1):
                lab.say(f"killing {victim} ({number} of {len(victims)})")
                killed[victim] = time.monotonic()
                await engine.crash(victim)
                await _recovered(books, killed[victim], time.monotonic())
            await asyncio.sleep(BEFORE_S)
        lab.say("waiting for the clicks to arrive")
        await _all_running(engine)
        await drained(engine.site, stand)
        await told(engine.site)
        held = await books.held_against(engine.site)
        return _figures(lab, stand, books, held, killed, load.result())

    def judge(self, figures: Figures) -> None:
        assert min(figures["acknowledged_links"]) > 0, "no link was acknowledged"
        assert min(figures["acknowledged_clicks"]) > 0, "no click was acknowledged"
        assert figures["wrong_answers"] == (0,), "links led elsewhere or were unknown"
        assert figures["unrecovered_victims"] == (0,), "the front door did not recover"
        assert figures["lost_links"] == (0,), "acknowledged links are lost"
        assert figures["lost_clicks"] == (0,), "acknowledged clicks are lost"
        assert figures["doubled_links"] == (0,), "links were stored twice"
        assert figures["doubled_clicks"] == (0,), "clicks were counted twice"
        assert figures["denied_operations"] == (0,), "what was refused was done all the same"
        assert figures["miscounted_clicks"] == (0,), "totals are not the sums of the clicks"


def _in_turn(stand: Stand, random: Random, everybody: bool) -> list[str]:
    """Each once, or only Kafka and a replica.

    The replica follows Kafka, which takes seconds to come back: the moment for which clicks are
    written to a log, and the same for a replica that has none.
    """
    kafka_and_replica = ("kafka", stand.replicas[0])
    others = [(stand.front,), ("postgres",), ("valkey",), *((name,) for name in WORKERS)]
    if not everybody:
        others = []
    groups = [kafka_and_replica, *others]
    random.shuffle(groups)
    return [victim for group in groups for victim in group]


@contextlib.asynccontextmanager
async def _load(door: str, books: Books) -> AsyncIterator[asyncio.Task[Result]]:
    """Open-loop load as long as the block, written into the books."""
    target, _ = parse_target(door)
    stop = asyncio.Event()
    plan = Plan(rate_per_s=RATE_PER_S, seconds=SECONDS_MAX, connections=400, timeout_s=5.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run(target, books.request, plan, observer=books.note, stop=stop))
        try:
            yield task
        finally:
            stop.set()


async def _recovered(books: Books, fault_s: float, landed_s: float) -> None:
    """Wait until links and clicks are acknowledged again for a while; not for ever.

    What went well before the kill had landed, which can take an engine a second, tells nothing.
    """
    deadline_s = fault_s + RECOVERY_S
    while time.monotonic() < deadline_s:
        await asyncio.sleep(POLL_S)
        now_s = time.monotonic()
        if now_s >= landed_s + CALM_S and books.recovered(fault_s, now_s):
            return


async def _all_running(engine: Engine) -> None:
    async def running() -> bool:
        rows = await asyncio.to_thread(engine.status)
        return all(row.state in (ServiceState.RUNNING, ServiceState.DONE) for row in rows)

    await eventually("every killed process runs again", running, RUNNING_S)


def _figures(
    lab: Lab, stand: Stand, books: Books, held: Held, killed: dict[str, float], load: Result
) -> Figures:
    links, clicks = held.links, held.clicks
    recoveries = books.recoveries(list(killed.values()))
    by_victim = dict(zip(killed, recoveries, strict=True))
    lost = len(links.lost) + len(clicks.lost)
    doubled = len(links.duplicated) + len(clicks.duplicated)
    rto = {f"rto_{_role(victim, stand)}_s": [_worst_s(pair)] for victim, pair in by_victim.items()}
    unrecovered = sum(one.sustained_s is None for pair in recoveries for one in pair)
    return Figures(
        unit="operations lost or counted twice",
        headline="wrong",
        samples={
            "wrong": [lost + doubled],
            "lost_links": [len(links.lost)],
            "lost_clicks": [len(clicks.lost)],
            "doubled_links": [len(links.duplicated)],
            "doubled_clicks": [len(clicks.duplicated)],
            "denied_operations": [len(links.present_refused) + len(clicks.present_refused)],
            "miscounted_clicks": [held.miscounted],
            "wrong_answers": [books.wrong_answers],
            "acknowledged_links": [links.acknowledged],
            "acknowledged_clicks": [clicks.acknowledged],
            "refused_operations": [links.refused + clicks.refused],
            "indeterminate_links": [links.indeterminate],
            "indeterminate_clicks": [clicks.indeterminate],
            "indeterminate_yet_done_operations": [len(links.present) + len(clicks.present)],
            "unrecovered_victims": [unrecovered],
            **rto,
        },
        attempts=load.due,
        seed=lab.seed,
        notes=[
            f"{load.due} requests at {RATE_PER_S:g}/s: {load.outcomes}",
            *(f"{victim}: {_told(pair)}" for victim, pair in by_victim.items()),
        ],
    )


def _role(victim: str, stand: Stand) -> str:
    """The victim's name in the series: the same on both stands."""
    return {stand.front: WEEK.front, stand.replicas[0]: WEEK.replicas[0]}.get(victim, victim)


def _worst_s(pair: tuple[Recovery, Recovery]) -> float:
    return max(NEVER_S if one.sustained_s is None else one.sustained_s for one in pair)


def _told(pair: tuple[Recovery, Recovery]) -> str:
    return ", ".join(
        f"{what} {one.failed} failed, "
        + ("not recovered" if one.sustained_s is None else f"back after {one.sustained_s:.2f} s")
        for what, one in zip(("links:", "clicks:"), pair, strict=True)
    )
