"""The page and its files as they are served."""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from infra.service.lifecycle import CannotStart
from infra.service.plumbing import install
from week04_shortener import pages

pytestmark = pytest.mark.anyio

GROUNDS = ("ground", "card")
STATIC = sorted(path.name for path in (pages.WEB / "static").iterdir())


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install(app, registry=CollectorRegistry())
    pages.add_pages(app, pages.load())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://short.example") as client:
        yield client


async def test_the_page_may_run_and_reach_nothing_but_this_service(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/robots.txt", *(f"/static/{name}" for name in STATIC)])
async def test_a_file_is_sent_once_and_then_only_asked_about(
    http: httpx.AsyncClient, path: str
) -> None:
    first = await http.get(path)
    assert first.status_code == 200 and first.content
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = await http.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    changed = await http.get(path, headers={"if-none-match": '"other"'})
    assert changed.status_code == 200
    head = await http.head(path)
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path", ["/static/", "/static/none.js", "/static/..%2Findex.html", "/static/%2Fetc%2Fpasswd"]
)
async def test_nothing_else_is_served(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_every_file_that_a_page_names_is_there(http: httpx.AsyncClient) -> None:
    texts = [path.read_text() for path in pages.WEB.rglob("*.html")]
    texts += [path.read_text() for path in pages.WEB.rglob("*.js")]
    named = {name for text in texts for name in re.findall(r'"(/static/[^"]+)"', text)}
    named |= {f"/static/{name}" for text in texts for name in re.findall(r'from "\./(.+?)"', text)}
    assert named
    for name in named:
        assert (await http.get(name)).status_code == 200, name


def test_no_page_has_markup_that_the_policy_forbids() -> None:
    for path in [*pages.WEB.rglob("*.html"), *pages.WEB.rglob("*.svg")]:
        text = path.read_text()
        assert not re.search(r"<style|<script(?![^>]*\ssrc=)|\s(style|on[a-z]+)=", text), path
        assert not re.search(r"(src|href)=\"(https?:)?//", text), path


def test_a_plain_page_says_what_it_is_given_as_text() -> None:
    answer = pages.load().notice_page(410, "<title>", "a & b", {"Retry-After": "1"})
    text = bytes(answer.body).decode()
    assert answer.status_code == 410
    assert "<h1>&lt;title&gt;</h1>" in text and "a &amp; b" in text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-robots-tag"] == "noindex"


def test_a_clone_without_the_pages_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"index\.html.*is the clone whole"):
        pages.load(tmp_path)
    web = tmp_path / "web"
    shutil.copytree(pages.WEB, web)
    (web / "static" / "movie.mp4").write_bytes(b"")
    with pytest.raises(CannotStart, match=r"unknown kind: movie\.mp4"):
        pages.load(web)


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("TEXT/HTML", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
    ],
)
def test_only_browsers_want_pages(accept: str, page: bool) -> None:
    assert pages.wants_page(accept) is page


def test_a_refusal_is_a_page_for_a_browser_and_a_problem_for_a_program() -> None:
    refuse = pages.load().refuse
    browser = {"type": "http", "headers": [(b"accept", b"text/html")]}
    page = refuse(browser, 410, "This link is gone", "It was deleted.", {"Retry-After": "1"})
    problem = refuse({"type": "http", "headers": []}, 410, "This link is gone", "It was deleted.")
    assert (page.status_code, page.headers["retry-after"]) == (410, "1")
    assert b"<h1>This link is gone</h1>" in bytes(page.body)
    assert problem.status_code == 410
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.headers["cache-control"] == "no-store"
    assert b"It was deleted." in bytes(problem.body)


TEXT, SHAPE = 4.5, 3.0
"""Contrast that WCAG 2.2 asks of text (1.4.3), and of the outline of what one acts on (1.4.11)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "behind", "least"),
    [
        *((name, ground, TEXT) for name in ("text", "soft", "accent") for ground in GROUNDS),
        *((name, "card", TEXT) for name in ("problem", "good")),
        ("problem", "ground", TEXT),
        ("on-accent", "accent", TEXT),
        ("card", "problem", TEXT),
        *((name, ground, SHAPE) for name in ("edge", "bots") for ground in GROUNDS),
    ],
)
def test_everything_can_be_read_in_both_colour_schemes(
    scheme: str, front: str, behind: str, least: float
) -> None:
    css = (pages.WEB / "static" / "page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", dark))
    lighter, darker = sorted((_luminance(colours[front]), _luminance(colours[behind])))[::-1]
    assert (lighter + 0.05) / (darker + 0.05) >= least


def _luminance(colour: str) -> float:
    """Relative luminance of six hex digits, as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
