"""Exercises, starter and claims agree: what a learner is told to build is what is judged."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest

from benchmarks.client import Answer, Ended, Outcome, Request
from infra.evidence import Figures, Lab, Mechanism
from infra.evidence.claims import Declaration, declaration
from week04_shortener.checks import once
from week04_shortener.checks.cache_aside import LINKS, REDIRECTS, CacheAside
from week04_shortener.checks.outside import is_unhelpful, policy_of
from week04_shortener.checks.traffic import Followed, said, text_in

WEEK = Path(__file__).parents[2]
EXERCISES = (WEEK / "EXERCISES.md").read_text()
STARTER = (WEEK / "starter" / "service.py").read_text()
SECTIONS = re.split(r"^## (?=\d+\. )", EXERCISES, flags=re.M)[1:]


def _claims() -> list[Declaration]:
    modules = [
        importlib.import_module(f"week04_shortener.checks.{path.stem}")
        for path in sorted((WEEK / "checks").glob("*.py"))
        if path.stem not in ("conftest", "__init__")
    ]
    own = [
        declaration(cls)
        for module in modules
        for cls in vars(module).values()
        if inspect.isclass(cls) and cls.__module__ == module.__name__
    ]
    return [one for one in own if one is not None]


def test_each_claim_on_a_target_solves_an_exercise_and_each_exercise_has_one() -> None:
    on_target = {one.id for one in _claims() if "engine" not in one.needs}
    named = [set(re.findall(r"`(w04\.[a-z.-]+[a-z])`", _solved(section))) for section in SECTIONS]
    assert all(named)
    assert set.union(*named) == on_target
    assert sum(map(len, named)) == len(on_target), "a claim solves two exercises"


def _solved(section: str) -> str:
    return section.split("**Solved when**")[1].split("<details>")[0]


def test_each_exercise_has_its_parts() -> None:
    assert 5 <= len(SECTIONS) <= 8
    for number, section in enumerate(SECTIONS, 1):
        assert section.startswith(f"{number}. ")
        assert 2 <= section.count("<details>") == section.count("</details>") <= 3
        for part in ("**Question.**", "**Build.**", "**Solved when**", "**Then read**"):
            assert section.count(part) == 1, (number, part)


def test_what_is_to_be_read_afterwards_is_there() -> None:
    for section in SECTIONS:
        files = re.findall(r"`([a-z_/]+\.py)`", section.split("**Then read**")[1].split("##")[0])
        assert files
        assert [name for name in files if not (WEEK / name).is_file()] == []


def test_handlers_name_exercises_that_there_are() -> None:
    numbers = {int(number) for number in re.findall(r"return not_built\((\d+)\)", STARTER)}
    assert numbers and max(numbers) <= len(SECTIONS)


def test_no_module_of_the_week_imports_the_starter() -> None:
    for path in WEEK.rglob("*.py"):
        if "starter" not in path.parts and path != Path(__file__):
            assert "week04_shortener.starter" not in path.read_text(), path


# ---- What claims make of a target's answers


def _ended(status: int, body: bytes = b"", outcome: Outcome = Outcome.OK, **headers: str) -> Ended:
    fields = tuple((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items())
    answer = Answer(status, fields, body, len(body))
    return Ended(0, Request(), outcome, True, answer, 1, 0.0, 0.0)


def test_a_policy_is_the_strictest_of_those_that_a_field_names() -> None:
    assert policy_of('"key";q=20;w=10') == (20, 10)
    assert policy_of('"writes";q=2000;w=10, "key-writes";q=600;w=60') == (600, 60)
    assert policy_of('"key"; q=20; qu="requests"; w=10') == (20, 10)
    assert policy_of("") is None
    assert policy_of('"key";q=20') is None
    assert policy_of('"one";q=20, "other";w=10') is None


def test_a_refusal_says_when_to_come_back() -> None:
    assert not is_unhelpful(_ended(429, retry_after="3"))
    assert not is_unhelpful(_ended(201))
    for value in ("0", "-1", "1.5", "soon", ""):
        assert is_unhelpful(_ended(429, retry_after=value)), value
    assert is_unhelpful(_ended(429))


def test_an_answer_is_told_in_a_few_words() -> None:
    assert said(_ended(501, b'{"detail": "exercise 1"}')) == "501: exercise 1"
    assert said(_ended(500, b"<html>")) == "500"
    assert said(_ended(500, b"[1]")) == "500"
    assert said(_ended(302, b"", Outcome.WRONG_BODY, location="https://x/")) == "302: to https://x/"
    assert len(said(_ended(500, b'{"detail": "' + b"x" * 10_000 + b'"}'))) < 100
    gone = Ended(0, Request(), Outcome.REFUSED, False, None, 1, 0.0, 0.0)
    assert said(gone) == "refused"


def test_a_code_is_a_text_that_says_something() -> None:
    assert text_in(_ended(201, b'{"code": "abc"}'), "code") == "abc"
    for body in (b'{"code": ""}', b'{"code": 7}', b"{}", b"[]", b"no json", b"\xff"):
        assert text_in(_ended(201, body), "code") is None, body


def test_many_kinds_of_answers_are_one_short_line() -> None:
    followed = Followed()
    followed.note(_ended(302, x_replica="api1"))
    for status in (500, 500, 404, 410, 307):
        followed.note(_ended(status, outcome=Outcome.WRONG_STATUS))
    line = str(followed)
    assert line.startswith("302 to its target: 1, by api1: 1; 500 (2 times); ")
    assert line.endswith("; 1 other kinds")


@pytest.mark.parametrize(("queries", "fault"), [(0, "no query"), (LINKS, ""), (LINKS + 1, "51")])
def test_links_that_no_cache_knew_cost_a_query_each_and_not_none(queries: int, fault: str) -> None:
    figures = Figures(
        unit="database queries",
        headline="queries",
        samples={"queries": [queries], "right_redirects": [REDIRECTS]},
        attempts=REDIRECTS,
        seed=1,
    )
    if not fault:
        CacheAside().judge(figures)
        return
    with pytest.raises(AssertionError, match=fault):
        CacheAside().judge(figures)


@pytest.mark.parametrize(
    ("bodies", "fault"),
    [
        ([b'{"code": "abc"}'], ""),
        ([b'{"code": "abc"}', b'{"code": "xyz"}'], "seen codes"),
        ([b"{}"], "for everybody"),
        ([b'{"code": "abc"}', b"{}"], "for everybody"),
    ],
)
def test_answers_that_name_no_link_are_not_one_link(
    monkeypatch: pytest.MonkeyPatch, bodies: list[bytes], fault: str
) -> None:
    async def ask(_door: str, requests: Sequence[Request], *_: object, **__: object) -> list[Ended]:
        return [_ended(201, body) for _, body in zip(requests, cycle(bodies), strict=False)]

    monkeypatch.setattr(once, "ask", ask)
    figures = asyncio.run(once.OneLink().measure(Lab(url="http://127.0.0.1:1"), Mechanism.ON))
    if not fault:
        once.OneLink().judge(figures)
        return
    with pytest.raises(AssertionError, match=fault):
        once.OneLink().judge(figures)
