"""A limit is exact whichever replica is asked, also around the edge of a window by the clock."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from enum import StrEnum
from typing import Final

from benchmarks.client import Ended, Outcome, Plan, Request, always, named_target, parse_target, run
from infra.evidence import Figures, Lab, Mechanism, claim
from week04_shortener.checks import outside
from week04_shortener.checks.inside import superuser
from week04_shortener.checks.stands import (
    CARELESS,
    FIXED_WINDOW,
    KEY_WINDOW_S,
    KEY_WRITES,
    PATIENT,
    WEEK,
    Stand,
)
from week04_shortener.checks.traffic import JSON, ask, said, text_in
from week04_shortener.lab import postgres

CLIENTS: Final = 16
AROUND_S: Final = 0.6
"""Of load before the edge and after it: together less than the window."""

MADE: Final = frozenset({201})
ANSWERED: Final = frozenset({201, 429})


class Counting(StrEnum):
    """How callers are counted."""

    EXACT = "sliding window in Valkey"
    ALONE = "each replica for itself"
    FIXED = "windows by the clock"


STANDS: Final[dict[Counting, Stand]] = {
    Counting.EXACT: PATIENT,
    Counting.ALONE: CARELESS,
    Counting.FIXED: FIXED_WINDOW,
}


@claim(
    "w04.limiter",
    rows=[81, 119, 130],
    mechanism="a sliding window in Valkey",
    unit="writes let through",
    needs={"url"},
    seeds=range(1, 6),
    repetitions=2,
    passes=[Counting.EXACT],
    controls=[Counting.ALONE, Counting.FIXED],
)
class Limit:
    """Of the writes of one key exactly as many as its limit are let through, by both replicas."""

    async def measure(self, lab: Lab, mechanism: Counting) -> Figures:
        if lab.site is None:
            return await outside.limit(lab, unit="writes let through")
        door = lab.site.url(STANDS[mechanism].front)
        key = await _key(door)
        target = named_target(door)
        statuses, replicas = Counter[int](), Counter[str]()
        unhelpful = 0

        def note(ended: Ended) -> None:
            nonlocal unhelpful
            unhelpful += outside.is_unhelpful(ended)
            if ended.answer is not None:
                statuses[ended.answer.status] += 1
                replicas[(ended.answer.header(b"x-replica") or b"?").decode()] += 1

        lab.say("waiting for the edge of a window by the clock")
        await asyncio.sleep((-time.time() - AROUND_S) % KEY_WINDOW_S)
        plan = Plan(seconds=2 * AROUND_S, connections=CLIENTS, timeout_s=10.0)
        result = await run(target, always(_write(key, "limiter")), plan, observer=note)
        return Figures(
            unit="writes let through",
            headline="accepted",
            samples={
                "accepted": [statuses[201]],
                "refused_writes": [statuses[429]],
                "other_answers": [result.due - statuses[201] - statuses[429]],
                "without_retry_answers": [unhelpful],
                "limit_writes": [KEY_WRITES],
                "window_s": [KEY_WINDOW_S],
                "took_s": [result.elapsed_s],
            },
            attempts=result.due,
            seed=lab.seed,
            notes=[
                f"answered by {dict(replicas)}; the limit is {KEY_WRITES} in {KEY_WINDOW_S:g} s"
            ],
        )

    def judge(self, figures: Figures) -> None:
        [accepted], [limit], seen = figures["accepted"], figures["limit_writes"], figures.notes[0]
        [took_s], [window_s] = figures["took_s"], figures["window_s"]
        assert figures["other_answers"] == (0,), f"writes were neither made nor refused; {seen}"
        assert min(figures["refused_writes"]) > 0, f"none refused, the limit is {limit:.0f}; {seen}"
        assert took_s < window_s, f"it took {took_s:.1f} s, longer than a window; {seen}"
        assert accepted == limit, f"{accepted:.0f} writes made, the limit is {limit:.0f}; {seen}"
        assert figures["without_retry_answers"] == (0,), f"429 without Retry-After; {seen}"


OFFERED_PER_S: Final = (2, 30, 120)
STEP_S: Final = KEY_WINDOW_S

_ROWS = "SELECT count(*) FROM links AS l JOIN api_keys AS k ON k.id = l.owner_id WHERE k.name = $1"


@claim(
    "w04.cliff",
    rows=[131],
    mechanism="a limit on each caller",
    unit="links made in the worst step of 2 s",
    seeds=range(1, 4),
)
class Cliff:
    """However much one caller offers, the database is given no more work than the limit allows."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        site = lab.running().site
        door = site.url((PATIENT if mechanism is Mechanism.ON else WEEK).front)
        target, _ = parse_target(door)
        accepted: list[float] = []
        rows: list[float] = []
        p50_ms: list[float] = []
        p99_ms: list[float] = []
        failed = attempts = 0
        for offered in OFFERED_PER_S:
            lab.say(f"{offered} writes a second are offered")
            name = f"cliff {lab.seed} {offered} {time.monotonic_ns()}"
            key = await _key(door, name)
            statuses = Counter[int]()

            def note(ended: Ended, statuses: Counter[int] = statuses) -> None:
                statuses[ended.answer.status if ended.answer else 0] += 1

            plan = Plan(rate_per_s=offered, seconds=STEP_S, connections=200, timeout_s=10.0)
            # Refusals are answers too, and their latency counts.
            result = await run(target, always(_write(key, "cliff", ANSWERED)), plan, observer=note)
            async with superuser(site, postgres.database) as database:
                rows.append(await database.fetchval(_ROWS, name))
            accepted.append(statuses[201] / STEP_S)
            p50_ms.append(result.latency.percentile_us(50) / 1000)
            p99_ms.append(result.latency.percentile_us(99) / 1000)
            failed += result.due - statuses[201] - statuses[429]
            attempts += result.due
        return Figures(
            unit="links made in the worst step of 2 s",
            headline="rows",
            samples={
                "rows": rows,
                "offered_per_s": OFFERED_PER_S,
                "accepted_per_s": accepted,
                "p50_ms": p50_ms,
                "p99_ms": p99_ms,
                "failed_requests": [failed],
            },
            summary="highest",
            attempts=attempts,
            seed=lab.seed,
            notes=["open loop; the steps are in the order of the series"],
        )

    def judge(self, figures: Figures) -> None:
        rows = figures["rows"]
        assert figures["failed_requests"] == (0,), "writes were neither made nor refused"
        assert rows[0] == OFFERED_PER_S[0] * STEP_S, "a caller within the limit was refused"
        # The last of a step's requests may begin just after the first has left the window.
        assert max(rows) <= KEY_WRITES + 1, f"links made in each step: {rows}"


async def _key(door: str, name: str = "limiter") -> str:
    """A new API key, with a limit of its own."""
    body = json.dumps({"name": name}).encode()
    [one] = await ask(door, [Request("POST", "/api/v1/keys", (JSON,), body, MADE)])
    key = text_in(one, "key") if one.outcome is Outcome.OK else None
    if key is None:
        raise RuntimeError(f"no key could be made: {said(one)}")
    return key


def _write(key: str, what: str, status: frozenset[int] = MADE) -> Request:
    body = json.dumps({"url": f"https://example.org/{what}"}).encode()
    headers = (JSON, ("authorization", f"Bearer {key}"))
    return Request("POST", "/api/v1/links", headers, body, status)
