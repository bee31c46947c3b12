"""What must happen a stated number of times although many ask for it at once."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Final

from benchmarks.client import Ended, Outcome, Request
from infra.evidence import Figures, Lab, Mechanism, claim
from week04_shortener.checks.stands import CARELESS, door_of
from week04_shortener.checks.traffic import JSON, ask, said, text_in

BROWSER: Final = (
    "user-agent",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)
"""Whoever looks like a program spends no visits."""

ANY: Final = frozenset(range(200, 600))
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_VISITS: Final = 10
VISITORS: Final = 100
LINKS: Final = 3
SAME: Final = 40


@claim(
    "w04.visits",
    rows=[25],
    mechanism="a visit is spent by one statement",
    unit="redirects of a link with 10 visits",
    needs={"url"},
    seeds=range(1, 6),
    repetitions=2,
)
class Visits:
    """Of 100 concurrent visitors of a link with max_visits 10 exactly 10 are redirected."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        door = door_of(lab, mechanism, CARELESS)
        redirected: list[int] = []
        refused: list[int] = []
        notes: list[str] = []
        attempts = 0
        for number in range(LINKS):
            body = {"url": f"https://example.org/v/{lab.seed}/{number}", "max_visits": MAX_VISITS}
            [made] = await _ask(door, [_create(body)], 1)
            if lab.site is None and made.outcome is not Outcome.OK:
                return _no_link(lab, made)
            code = json.loads(_body(made))["code"]
            visit = Request(path=f"/{code}", headers=(BROWSER,), status=ANY)
            ended = await _ask(door, [visit] * VISITORS, VISITORS)
            statuses = Counter(one.answer.status for one in ended if one.answer is not None)
            notes.append(f"{VISITORS} visitors with a browser's User-Agent saw {dict(statuses)}")
            redirected.append(sum(statuses[status] for status in REDIRECTS))
            refused.append(statuses[410])
            attempts += len(ended)
        return Figures(
            unit="redirects of a link with 10 visits",
            headline="redirected",
            samples={"redirected": redirected, "refused_visits": refused},
            summary="highest",
            attempts=attempts,
            seed=lab.seed,
            notes=notes,
        )

    def judge(self, figures: Figures) -> None:
        seen = figures.notes[0]
        assert set(figures["redirected"]) == {MAX_VISITS}, (
            f"{MAX_VISITS} of each link are expected, redirected: {figures['redirected']}; {seen}"
        )
        assert set(figures["refused_visits"]) == {VISITORS - MAX_VISITS}, (
            f"the others got no 410; {seen}"
        )


@claim(
    "w04.idempotency",
    rows=[143],
    mechanism="the Idempotency-Key in the transaction that makes the link",
    unit="links made by one request that was sent 40 times",
    needs={"url"},
    seeds=range(1, 6),
    repetitions=2,
)
class OneLink:
    """A request sent 40 times at once with one Idempotency-Key makes one link."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        door = door_of(lab, mechanism, CARELESS)
        made: list[int] = []
        answered: list[int] = []
        seen = Counter[str]()
        for number in range(LINKS):
            body = {"url": f"https://example.org/i/{lab.seed}/{number}"}
            request = _create(body, ("idempotency-key", f'"{secrets.token_hex(8)}"'))
            ended = await _ask(door, [request] * SAME, SAME)
            seen.update(map(said, ended))
            codes = [text_in(one, "code") for one in ended if one.outcome is Outcome.OK]
            # An answer that names no link is none, or 40 of them would be one link.
            named = [code for code in codes if code is not None]
            answered.append(len(named))
            made.append(len(set(named)))
        return Figures(
            unit="links made by one request that was sent 40 times",
            headline="links",
            samples={"links": made, "right_answers": answered},
            summary="highest",
            attempts=LINKS * SAME,
            seed=lab.seed,
            notes=[f"POST /api/v1/links: seen {dict(seen)}"],
        )

    def judge(self, figures: Figures) -> None:
        assert set(figures["right_answers"]) == {SAME}, (
            f"expected 201 or 200 with the link for everybody; {figures.notes[0]}"
        )
        assert set(figures["links"]) == {1}, f"expected one link, seen codes: {figures['links']}"


def _no_link(lab: Lab, made: Ended) -> Figures:
    """A target on which nobody could be a visitor."""
    return Figures(
        unit="redirects of a link with 10 visits",
        headline="redirected",
        samples={"redirected": [0], "refused_visits": [0]},
        attempts=1,
        seed=lab.seed,
        notes=[f"POST /api/v1/links with max_visits: expected 201, seen {said(made)}"],
    )


def _create(body: Mapping[str, object], *headers: tuple[str, str]) -> Request:
    return Request(
        "POST",
        "/api/v1/links",
        (JSON, *headers),
        json.dumps(body).encode(),
        frozenset({200, 201}),
    )


async def _ask(door: str, requests: list[Request], connections: int) -> list[Ended]:
    """Send them, so many at once; what became of each. RuntimeError where one was not answered."""
    ended = await ask(door, requests, connections, timeout_s=15.0)
    unanswered = Counter(str(one.outcome) for one in ended if one.answer is None)
    if unanswered:
        raise RuntimeError(f"no answer: {dict(unanswered)}")
    return ended


def _body(ended: Ended) -> bytes:
    if ended.outcome is not Outcome.OK or ended.answer is None:
        status = ended.answer.status if ended.answer else None
        raise RuntimeError(f"the link could not be made: {ended.outcome} {status}")
    return ended.answer.body
