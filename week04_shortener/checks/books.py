"""The client's books: every link and click it asked for, and what PostgreSQL says of each."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from random import Random
from typing import Final

from benchmarks.client import Ended, Outcome, Request
from benchmarks.ledger import Entry, Ledger, Recovery, State, Verdict
from infra.lab.site import Site
from week04_shortener.checks.inside import superuser
from week04_shortener.checks.traffic import Link, follow, shorten
from week04_shortener.lab import postgres

EVERY: Final = 5
"""Of so many requests one makes a link, the others are clicks."""

CALM_S: Final = 1.0

AWAY: Final = frozenset({502, 503, 504})
"""Answers that say nothing about what was done."""

_LINKS = "SELECT url, array_agg(code) AS codes FROM links WHERE url LIKE $1 GROUP BY url"
_CLICKS = """
    SELECT referrer_host, count(*) AS copies FROM analytics.clicks
    WHERE referrer_host LIKE $1 GROUP BY referrer_host
"""
_MISCOUNTED = """
    SELECT coalesce(sum(abs(coalesce(t.clicks, 0) - coalesce(c.clicks, 0))), 0)::bigint
    FROM (SELECT code, clicks FROM analytics.click_totals WHERE code = ANY($1)) AS t
    FULL JOIN (
        SELECT code, count(*) AS clicks FROM analytics.clicks WHERE code = ANY($1) GROUP BY code
    ) AS c USING (code)
"""


@dataclass(frozen=True)
class Held:
    """The books held against the tables; `miscounted` is how far totals are from the rows."""

    links: Verdict
    clicks: Verdict
    miscounted: int


class Books:
    """Makes the requests of a run, and remembers each.

    A new link's key is its own target, a click's the host it says it comes from (the Referer),
    which the analytics table keeps: so the table can be asked for each one, answered or not.
    """

    def __init__(self, links: list[Link], random: Random) -> None:
        self._links, self._random = links, random
        self._run = secrets.token_hex(4)
        self._made: dict[str, str] = {}
        self._ended: list[tuple[bool, Entry]] = []
        self.wrong_answers = 0

    def request(self, number: int) -> Request | None:
        """The request with that number."""
        name = f"{number}.{self._run}.example"
        if number % EVERY == 0:
            return shorten(f"https://{name}/")
        referer = (("referer", f"https://{name}/"),)
        return follow(self._random.choice(self._links), referer, name)

    def note(self, ended: Ended) -> None:
        """What became of a request."""
        request, answer = ended.request, ended.answer
        assert request.key is not None
        is_link = request.method == "POST"
        state = _state(ended)
        if is_link and state is State.ACKNOWLEDGED and answer is not None:
            self._made[request.key] = json.loads(answer.body)["code"]
        if answer is not None and state is not State.ACKNOWLEDGED and answer.status not in AWAY:
            self.wrong_answers += 1
        self._ended.append((is_link, Entry(request.key, state, ended.due_s, ended.ended_s)))

    def recovered(self, fault_s: float, now_s: float) -> bool:
        """Whether links and clicks have been acknowledged for a while since the fault."""
        links, clicks = self._recovery(fault_s, now_s)
        # That a fault hurts nobody shows only by time.
        calm = now_s >= fault_s + CALM_S
        return calm and links.sustained_s is not None and clicks.sustained_s is not None

    def recoveries(self, faults_s: list[float]) -> list[tuple[Recovery, Recovery]]:
        """For each fault (in order) the recovery of links and of clicks, until the next fault."""
        ends_s = [*faults_s[1:], float("inf")]
        return [self._recovery(*one) for one in zip(faults_s, ends_s, strict=True)]

    async def held_against(self, site: Site) -> Held:
        """Ask PostgreSQL for each link and each click."""
        pattern = f"%.{self._run}.example"
        codes = [link.code for link in self._links]
        async with superuser(site, postgres.database) as database:
            links = await database.fetch(_LINKS, f"https:{pattern}/")
            clicks = await database.fetch(_CLICKS, pattern)
            miscounted = await database.fetchval(_MISCOUNTED, codes)
        # A link whose answer named another code than the table has is as good as lost.
        stored = {
            row["url"]: len(row["codes"])
            for row in links
            if self._made.get(row["url"], row["codes"][0]) in row["codes"]
        }
        counted = {row["referrer_host"]: row["copies"] for row in clicks}
        return Held(
            self.ledger(True).compare(stored), self.ledger(False).compare(counted), miscounted
        )

    def _recovery(self, fault_s: float, until_s: float) -> tuple[Recovery, Recovery]:
        links, clicks = (
            self.ledger(of_links, fault_s, until_s).recovery(fault_s) for of_links in (True, False)
        )
        return links, clicks

    def ledger(self, of_links: bool, from_s: float = 0.0, until_s: float = float("inf")) -> Ledger:
        """What became known between two moments."""
        ledger = Ledger()
        for is_link, entry in self._ended:
            if is_link != of_links or entry.ended_s is None:
                continue
            if from_s <= entry.ended_s < until_s:
                ledger.begin(entry.key, entry.started_s)
                ledger.end(entry.key, entry.state, entry.ended_s)
        return ledger


def _state(ended: Ended) -> State:
    """What the client knows: an answer that is right, a request that never left, or nothing."""
    if ended.outcome is Outcome.OK:
        return State.ACKNOWLEDGED
    if not ended.sent or ended.outcome is Outcome.REFUSED:
        return State.REFUSED
    return State.INDETERMINATE
