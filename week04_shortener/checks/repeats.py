"""A request that is asked of both replicas, as nginx does when the first dies over it, is one."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from benchmarks.client import Ended, Outcome, Request
from infra.evidence import Figures, Lab, Mechanism, claim
from week04_shortener.checks.stands import WEEK
from week04_shortener.checks.traffic import Link, ask, follow, said, try_links

CLICKS: Final = 20
TIMES: Final = 2
HEADS: Final = 10
COUNTED_WITHIN_S: Final = 20.0
CALM_S: Final = 1.5
EVERY_S: Final = 0.25


@claim(
    "w04.repeats",
    rows=[28, 143],
    mechanism="the id of a request, made in front of the replicas",
    unit="clicks too many or too few",
    needs={"url"},
    seeds=range(1, 6),
)
class Repeats:
    """A GET that is asked of both replicas with one id is one click, a HEAD is none."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        door = lab.url
        links, failed = await try_links(door, [f"https://example.org/repeats/{lab.seed}"])
        if failed:
            if lab.site is not None:
                raise RuntimeError(failed)
            return _figures(lab, [], 0, 0, failed)
        [link] = links
        # Against a target the front door is asked, which may well insist on ids of its own.
        doors = [door] if lab.site is None else [lab.site.url(name) for name in WEEK.replicas]
        ids = [secrets.token_hex(16) if mechanism is Mechanism.ON else "" for _ in range(CLICKS)]
        ended = await _click(doors, link, ids)
        heads = await ask(door, [Request("HEAD", f"/{link.code}", status=frozenset({302}))] * HEADS)
        expected = CLICKS if lab.site is not None else len(_ids_of(ended))
        lab.say("waiting until the clicks are counted")
        clicks, last = await _counted(door, link, expected)
        seen = (
            f"{CLICKS} GETs, each sent {TIMES} times, saw {dict(Counter(map(said, ended)))}, "
            f"{HEADS} HEADs {dict(Counter(map(said, heads)))}; "
            f"the GETs had {len(_ids_of(ended))} different X-Request-IDs; then {last}"
        )
        return _figures(lab, [*ended, *heads], clicks, expected, seen)

    def judge(self, figures: Figures) -> None:
        [right], seen = figures["right_redirects"], figures.notes[0]
        [expected], [clicks] = figures["expected_clicks"], figures["counted_clicks"]
        assert right == CLICKS * TIMES + HEADS, f"not everything was redirected right; {seen}"
        assert clicks == expected, f"expected {expected:.0f} clicks, counted {clicks:.0f}; {seen}"


def _figures(lab: Lab, ended: Sequence[Ended], clicks: int, expected: int, seen: str) -> Figures:
    return Figures(
        unit="clicks too many or too few",
        headline="wrong",
        samples={
            "wrong": [abs(clicks - expected)],
            "expected_clicks": [expected],
            "counted_clicks": [clicks],
            "right_redirects": [sum(one.outcome is Outcome.OK for one in ended)],
        },
        attempts=max(1, len(ended)),
        seed=lab.seed,
        notes=[seen],
    )


async def _click(doors: Sequence[str], link: Link, ids: Sequence[str]) -> list[Ended]:
    """Send each id's GET twice: to one door after the other, or twice to the only one."""
    requests = [follow(link, (("x-request-id", one),) if one else ()) for one in ids]
    if len(doors) == TIMES:
        return [one for door in doors for one in await ask(door, requests)]
    # Side by side, so that a front door that takes turns asks both replicas at about one time.
    return await ask(doors[0], [one for request in requests for one in [request] * TIMES])


def _ids_of(ended: Sequence[Ended]) -> set[str]:
    """What the front door called the requests; one that it did not name is one of its own."""
    found = set()
    for one in ended:
        name = one.answer.header(b"x-request-id") if one.answer is not None else None
        found.add(name.decode("latin-1") if name else f"unnamed {one.number}")
    return found


async def _counted(door: str, link: Link, expected: int) -> tuple[int, str]:
    """What is counted once that has not changed for a while, and the last answer in words."""
    request = Request(path=f"/stats/{link.code}")
    began_s = changed_s = time.monotonic()
    clicks = -1
    while True:
        [ended] = await ask(door, [request])
        found = _clicks_in(ended)
        now_s = time.monotonic()
        if found != clicks:
            clicks, changed_s = found, now_s
        calm = now_s - changed_s >= CALM_S
        if (calm and (clicks >= expected or clicks < 0)) or now_s - began_s >= COUNTED_WITHIN_S:
            counted = f"{clicks} clicks" if clicks >= 0 else said(ended)
            return max(0, clicks), f"GET /stats/CODE says {counted}"
        await asyncio.sleep(EVERY_S)


def _clicks_in(ended: Ended) -> int:
    """The figure in an answer; -1 where there is none."""
    if ended.outcome is not Outcome.OK or ended.answer is None:
        return -1
    try:
        clicks = json.loads(ended.answer.body)["clicks"]
    except (ValueError, LookupError, TypeError):
        return -1
    return clicks if isinstance(clicks, int) and clicks >= 0 else -1
