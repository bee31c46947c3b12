"""What anybody's shortener can be asked by its address alone: redirects, and targets refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from random import Random
from typing import Final

from benchmarks.client import Answer, Request
from infra.evidence import Figures, Lab, Mechanism, claim
from week04_shortener.checks.stands import CARELESS, door_of
from week04_shortener.checks.traffic import JSON, ask, try_links

LINKS: Final = 20
UNKNOWN: Final = 20
ANY: Final = frozenset(range(200, 600))
REFUSED: Final = frozenset({400, 403, 422})
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

TEMPORARY: Final = frozenset({302, 303, 307})
"""Not kept by a cache unless the answer says how long (RFC 9110, section 15.1)."""

PERMANENT: Final = frozenset({301, 308})
"""Kept unless the answer forbids it."""

HOSTILE: Final = (
    "javascript:alert(1)",
    "data:text/html,hello",
    "file:///etc/passwd",
    "ftp://example.org/a",
    "https://user:secret@example.org/",
    "https://example.org/a\nb",
    "https:///nowhere",
    "example.org",
    "",
)
PRIVATE: Final = (
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://localhost/",
)
"""Loopback, private and link-local hosts, each in a form that browsers understand."""

GOOD: Final = ("https://example.org/", "http://example.com:8080/a?b=c#d", "https://93.184.216.34/")


@claim(
    "w04.redirects",
    rows=[25],
    mechanism="redirects that nobody may keep",
    unit="wrong answers",
    needs={"url"},
    seeds=range(1, 6),
)
class Redirects:
    """A code redirects so that no cache keeps it; a code that nobody made is answered 404."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        door, random = door_of(lab, mechanism, CARELESS), Random(lab.seed)
        targets = [f"https://example.org/target/{lab.seed}/{number}" for number in range(LINKS)]
        links, failed = await try_links(door, targets)
        if failed and lab.site is not None:
            raise RuntimeError(failed)
        by_code = {link.code: link.url for link in links}
        unknown = ["".join(random.choices(LETTERS, k=7)) for _ in range(UNKNOWN)]
        answers = await _ask(door, [_get(code) for code in (*by_code, *unknown)])
        elsewhere = keepable = found = 0
        for code, answer in zip((*by_code, *unknown), answers, strict=True):
            if code in by_code:
                elsewhere += answer.header(b"location") != by_code[code].encode()
                keepable += may_be_kept(answer)
            else:
                found += answer.status != 404
        return Figures(
            unit="wrong answers",
            headline="wrong",
            samples={
                "wrong": [LINKS - len(links) + elsewhere + keepable + found],
                "missing_links": [LINKS - len(links)],
                "elsewhere_redirects": [elsewhere],
                "keepable_redirects": [keepable],
                "unknown_not_404_answers": [found],
            },
            attempts=len(answers),
            seed=lab.seed,
            notes=[failed or f"seen {dict(Counter(answer.status for answer in answers))}"],
        )

    def judge(self, figures: Figures) -> None:
        [keepable], seen = figures["keepable_redirects"], figures.notes[0]
        assert figures["missing_links"] == (0,), seen
        assert figures["elsewhere_redirects"] == (0,), f"links lead elsewhere; {seen}"
        assert figures["unknown_not_404_answers"] == (0,), f"an unknown code gets no 404; {seen}"
        assert keepable == 0, (
            f"{keepable:.0f} of {LINKS} redirects may be kept: clicks get lost; {seen}, "
            "expected 302 and nothing in Cache-Control that lets it be kept"
        )


@claim(
    "w04.safety",
    rows=[25],
    mechanism="targets are judged by what a browser would make of them",
    unit="targets that were judged wrong",
    needs={"url"},
    seeds=range(1, 3),
)
class Safety:
    """No link can be made to a private address in any form, nor to what is no web page."""

    async def measure(self, lab: Lab, mechanism: Mechanism) -> Figures:
        door = door_of(lab, mechanism, CARELESS)
        all_targets = (*GOOD, *HOSTILE, *PRIVATE)
        answers = await _ask(door, [_shorten(target) for target in all_targets])
        statuses = {
            target: answer.status for target, answer in zip(all_targets, answers, strict=True)
        }
        taken = [target for target in (*HOSTILE, *PRIVATE) if statuses[target] not in REFUSED]
        refused = [target for target in GOOD if statuses[target] not in (200, 201)]
        return Figures(
            unit="targets that were judged wrong",
            headline="wrong",
            samples={
                "wrong": [len(taken) + len(refused)],
                "hostile_targets": [sum(target in HOSTILE for target in taken)],
                "private_targets": [sum(target in PRIVATE for target in taken)],
                "refused_good_targets": [len(refused)],
            },
            attempts=len(answers),
            seed=lab.seed,
            notes=[f"{target!r}: {statuses[target]}" for target in (*refused, *taken)],
        )

    def judge(self, figures: Figures) -> None:
        [private] = figures["private_targets"]
        seen = f"POST /shorten with {next(iter(figures.notes), 'none of them')}"
        assert figures["refused_good_targets"] == (0,), f"expected 201 for web pages; {seen}"
        assert figures["hostile_targets"] == (0,), f"expected 422 for what is none; {seen}"
        assert private == 0, (
            f"{private:.0f} of {len(PRIVATE)} private addresses were taken, expected 422; {seen}"
        )


def may_be_kept(answer: Answer) -> bool:
    """Whether a cache may answer the next one itself (RFC 9111, sections 3 and 4.2)."""
    rules = (answer.header(b"cache-control") or b"").decode("latin-1").lower()
    ages = [int(age) for age in re.findall(r"(?:s-maxage|max-age)=\"?(\d+)", rules)]
    if "no-store" in rules or "no-cache" in rules or (ages and max(ages) == 0):
        return False
    if answer.status in TEMPORARY:
        return bool(ages) or answer.header(b"expires") is not None
    return answer.status in PERMANENT


def _get(code: str) -> Request:
    return Request(path=f"/{code}", status=ANY)


def _shorten(target: str) -> Request:
    body = json.dumps({"url": target}).encode()
    return Request("POST", "/shorten", (JSON,), body, ANY)


async def _ask(door: str, requests: list[Request]) -> list[Answer]:
    """Their answers in order. RuntimeError where one was not answered."""
    given = [one.answer for one in await ask(door, requests) if one.answer is not None]
    if len(given) != len(requests):
        raise RuntimeError(f"only {len(given)} of {len(requests)} requests were answered")
    return given
