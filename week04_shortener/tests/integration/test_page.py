"""The page in a real browser, over the whole week: what a person does, sees and is told."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)

from infra.lab.engines.base import Engine
from week04_shortener.tests.integration.conftest import FrontDoor, eventually

pytestmark = pytest.mark.integration

LONG_MS = 30_000
PERSON = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36"
)
"""A browser without a screen says that it is one, and then counts as a bot."""

TARGET = "http://example.org/landed"


class _Landing(BaseHTTPRequestHandler):
    """What links lead to here: the browser is told to find example.org at this server."""

    def do_GET(self) -> None:
        body = b"<title>landed</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Nothing: the test says what went wrong."""


@pytest.fixture(scope="module")
def browser(lab: Engine) -> Iterator[Browser]:
    """Started after the lab: while it runs, its event loop is the only one of this thread."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"no browser on the PATH: {', '.join(names)} (Debian: apt install chromium)")
    landing = ThreadingHTTPServer(("127.0.0.1", 0), _Landing)
    threading.Thread(target=landing.serve_forever, daemon=True).start()
    rules = f"MAP example.org:80 127.0.0.1:{landing.server_port}, EXCLUDE 127.0.0.1"
    arguments = [f"--host-resolver-rules={rules}", "--no-proxy-server"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found, args=arguments)
            yield browser
            browser.close()
    finally:
        landing.shutdown()
        landing.server_close()


class Screen:
    """A page, and the words of a person for what stands on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )

    def shorten(self, url: str, **more: str) -> None:
        self.page.get_by_label("Long address").first.fill(url)
        if more and not self.page.locator("#more").evaluate("folded => folded.open"):
            self.page.locator("#more summary").click()
        for name, value in more.items():
            self.page.locator(f"#{name}").fill(value)
        self.page.get_by_role("button", name="Shorten").click()

    def made(self, url: str, **more: str) -> str:
        """The code of a new link."""
        rows = self.page.locator("#list > li")
        before = rows.count()
        self.shorten(url, **more)
        expect(rows).to_have_count(before + 1)
        return rows.first.get_attribute("data-code") or ""

    def row(self, code: str) -> Locator:
        return self.page.locator(f'#list > li[data-code="{code}"]')

    def act(self, name: str, code: str) -> Locator:
        """Press the button `name` of a link; the dialog that opens."""
        # Exactly: a code may have the letters of a button's name in it.
        self.row(code).get_by_role("button", name=f"{name}: {code}", exact=True).click()
        dialog = self.page.locator("dialog[open]")
        expect(dialog).to_be_visible()
        return dialog


@contextlib.contextmanager
def _context(browser: Browser, lab: Engine, width: int = 1280) -> Iterator[BrowserContext]:
    context = browser.new_context(
        base_url=lab.site.url("nginx"),
        viewport={"width": width, "height": 800},
        user_agent=PERSON,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(LONG_MS)
    expect.set_options(timeout=LONG_MS)
    try:
        yield context
    finally:
        context.close()


@pytest.fixture
def screen(browser: Browser, lab: Engine) -> Iterator[Screen]:
    with _context(browser, lab) as context:
        screen = Screen(context.new_page())
        screen.page.goto("/")
        yield screen


def test_the_life_of_a_link(screen: Screen, door: FrontDoor) -> None:
    """Made, copied, followed and counted before one's eyes, changed, deleted: without a reload."""
    page = screen.page
    expect(page.locator("#empty")).to_be_visible()
    code = screen.made("example.org/landed")  # without a scheme, as people write
    result = page.locator("#result")
    expect(result.locator(".short")).to_contain_text(f"/{code}")
    result.get_by_role("button", name="Copy").click()
    expect(result.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{door.http.base_url.copy_with(path='/')}{code}"

    expect(screen.row(code).locator(".clicks")).to_have_text("0 clicks")
    assert door.http.get(copied).headers["location"] == "https://example.org/landed"
    expect(screen.row(code).locator(".clicks")).to_have_text("1 click")
    expect(result.locator(".clicks")).to_have_text("1 click")
    door.follow(code)
    expect(screen.row(code).locator(".clicks")).to_have_text("2 clicks")

    dialog = screen.act("Edit", code)
    dialog.get_by_label("Long address").fill("https://example.org/moved")
    dialog.get_by_role("button", name="Save").click()
    expect(screen.row(code).locator(".target")).to_have_text("https://example.org/moved")
    eventually("the change shows", lambda: door.follows(code, "https://example.org/moved"))

    screen.act("Delete", code).get_by_role("button", name="Delete").click()
    expect(screen.row(code)).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()
    eventually("it is gone", lambda: door.follow(code).status_code == 410)
    assert screen.errors == []


def test_a_link_is_not_watched_while_it_is_deleted(screen: Screen) -> None:
    """A stream that is opened between the deletion and its answer would be refused."""
    page = screen.page
    code = screen.made("https://example.org/leaving")
    expect(screen.row(code).locator(".clicks")).to_have_text("0 clicks")
    settled_ms = 500  # after this the page has opened what it was going to

    def delete(route: Route) -> None:
        if route.request.method != "DELETE":
            route.continue_()
            return
        answer = route.fetch()
        page.evaluate("dispatchEvent(new Event('online'))")  # a moment to open streams anew
        page.wait_for_timeout(settled_ms)
        route.fulfill(response=answer)

    page.route(f"**/api/v1/links/{code}", delete)
    screen.act("Delete", code).get_by_role("button", name="Delete").click()
    expect(screen.row(code)).to_have_count(0)
    assert screen.errors == []


def test_links_are_there_again_after_a_reload_and_nobody_elses(
    screen: Screen, browser: Browser, lab: Engine
) -> None:
    code = screen.made(TARGET)
    screen.page.reload()
    expect(screen.row(code)).to_be_visible()
    with _context(browser, lab) as context:
        other = Screen(context.new_page())
        other.page.goto("/")
        mine = other.made(TARGET)
        other.page.reload()
        expect(other.row(mine)).to_be_visible()
        expect(other.row(code)).to_have_count(0)


def test_a_taken_alias_is_said_beside_its_field_and_nothing_is_lost(screen: Screen) -> None:
    alias = screen.made(TARGET, alias=f"page-{os.urandom(4).hex()}")
    screen.shorten("https://example.org/other", alias=alias, max_visits="3")
    field = screen.page.locator("#alias")
    expect(screen.page.locator("#alias-problem")).to_contain_text("taken")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value(alias)
    expect(screen.page.locator("#url")).to_have_value("https://example.org/other")
    expect(screen.page.locator("#max_visits")).to_have_value("3")
    field.fill(f"{alias}-2")
    screen.page.get_by_role("button", name="Shorten").click()
    expect(screen.row(f"{alias}-2")).to_be_visible()
    expect(screen.page.locator("#alias-problem")).to_be_empty()


def test_a_change_made_elsewhere_is_not_overwritten_unseen(screen: Screen, door: FrontDoor) -> None:
    code = screen.made(TARGET, password="sesame")
    key = screen.page.evaluate("localStorage.getItem('shortener.key')")
    dialog = screen.act("Edit", code)
    elsewhere = door.http.patch(
        f"/api/v1/links/{code}",
        json={"max_visits": 5},
        headers={"authorization": f"Bearer {key}"},
    )
    assert elsewhere.status_code == 200
    dialog.get_by_label("Take the password off").check()
    dialog.get_by_label("Visit limit").fill("9")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("changed elsewhere")
    dialog.get_by_role("button", name="Save").click()
    expect(screen.row(code).locator(".badges")).to_contain_text("0 of 9 visits")
    expect(screen.row(code).locator(".badges")).not_to_contain_text("password")


def test_an_address_that_is_refused_says_why(screen: Screen) -> None:
    for url in ("", "javascript:alert(1)", "http://127.0.0.1/"):
        screen.shorten(url)
        expect(screen.page.locator("#url-problem")).not_to_be_empty()
        expect(screen.page.locator("#url")).to_have_value(url)
        expect(screen.page.locator("#url")).to_be_focused()


def test_one_is_told_when_to_come_back_and_what_is_wrong(screen: Screen) -> None:
    problem = screen.page.locator("#shorten-problem")
    screen.made(TARGET)
    screen.page.route(
        "**/api/v1/links",
        lambda route: route.fulfill(status=429, headers={"Retry-After": "7"}, json={}),
    )
    screen.shorten("https://example.org/kept")
    expect(problem).to_contain_text("again in 7 s")
    screen.page.unroute("**/api/v1/links")
    screen.page.route("**/api/v1/links", lambda route: route.fulfill(status=502, body="<html>"))
    screen.page.get_by_role("button", name="Shorten").click()
    expect(problem).to_contain_text("The service has a problem")
    screen.page.unroute("**/api/v1/links")
    screen.page.context.set_offline(True)
    screen.page.get_by_role("button", name="Shorten").click()
    expect(problem).to_contain_text("offline")
    expect(screen.page.locator("#url")).to_have_value("https://example.org/kept")
    screen.page.context.set_offline(False)
    screen.page.get_by_role("button", name="Shorten").click()
    expect(screen.page.locator("#list .target").first).to_have_text("https://example.org/kept")
    expect(problem).to_be_empty()


def test_a_lost_answer_and_a_second_press_make_one_link(screen: Screen) -> None:
    screen.made(TARGET)
    once = iter([True])

    def lose_one(route: Route) -> None:
        if route.request.method == "POST" and next(once, False):
            route.fetch()  # it is made, and nobody hears of it
            route.abort()
        else:
            route.continue_()

    screen.page.route("**/api/v1/links", lose_one)
    screen.shorten("https://example.org/once")
    expect(screen.page.locator("#shorten-problem")).to_contain_text("does not answer")
    screen.page.get_by_role("button", name="Shorten").click()
    expect(screen.page.locator("#list > li")).to_have_count(2)
    screen.page.unroute("**/api/v1/links")
    screen.page.reload()
    expect(screen.page.locator("#list > li")).to_have_count(2)


def test_a_password_is_asked_for_and_the_right_one_leads_on(
    screen: Screen, browser: Browser, lab: Engine
) -> None:
    code = screen.made(TARGET, password="open sesame")
    expect(screen.row(code).locator(".badges")).to_contain_text("password")
    with _context(browser, lab, width=390) as context:
        visitor = Screen(context.new_page())
        visitor.page.goto(f"/{code}")
        assert "example.org" not in visitor.page.content()
        visitor.page.get_by_label("Password").fill("sesame")
        visitor.page.get_by_role("button").click()
        expect(visitor.page.get_by_role("alert")).to_contain_text("not the password")
        visitor.page.get_by_label("Password").fill("open sesame")
        visitor.page.get_by_role("button").click()
        expect(visitor.page).to_have_title("landed")
    expect(screen.row(code).locator(".clicks")).to_have_text("1 click")


def test_a_limited_link_is_used_up(screen: Screen, browser: Browser, lab: Engine) -> None:
    code = screen.made(TARGET, max_visits="1")
    with _context(browser, lab) as context:
        visitor = context.new_page()
        visitor.goto(f"/{code}")
        expect(visitor).to_have_title("landed")
        answer = visitor.goto(f"/{code}")
        assert answer is not None and answer.status == 410
        expect(visitor.get_by_role("heading")).to_have_text("This link is used up")


def test_a_link_that_never_was_is_said_to_be_none(screen: Screen) -> None:
    answer = screen.page.goto("/there-is-no-such-link")
    assert answer is not None and answer.status == 404
    expect(screen.page.get_by_role("heading")).to_have_text("No such link")


def test_statistics_and_the_qr_code_are_shown(screen: Screen, door: FrontDoor) -> None:
    code = screen.made(TARGET)
    agent = {"user-agent": PERSON, "referer": "https://news.example/today"}
    door.http.get(f"/{code}", headers=agent)
    expect(screen.row(code).locator(".clicks")).to_have_text("1 click")
    dialog = screen.act("Statistics", code)
    expect(dialog.get_by_role("img")).to_have_attribute(
        "aria-label", "1 click in 48 hours, at most 1 in one. The table below has them all."
    )
    expect(dialog.locator("rect.people")).to_have_count(1)
    expect(dialog.get_by_text("news.example")).to_be_visible()
    expect(dialog.get_by_text("Chrome")).to_be_visible()
    screen.page.keyboard.press("Escape")
    picture = screen.act("QR", code).get_by_role("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("async picture => (await picture.decode(), picture.naturalWidth)") > 0
    assert screen.errors == []


def test_a_file_of_links_goes_in_and_out(screen: Screen, tmp_path: Path) -> None:
    alias = f"file-{os.urandom(4).hex()}"
    rows = ["url,alias", f"{TARGET},{alias}", "ftp://example.org/,", f"{TARGET}?2,"]
    screen.page.locator("#file").set_input_files(
        {"name": "links.csv", "mimeType": "text/csv", "buffer": "\r\n".join(rows).encode()}
    )
    dialog = screen.page.locator("dialog[open]")
    expect(dialog).to_contain_text("2 links made, 1 row refused.")
    expect(dialog.locator(".refused li")).to_contain_text("Line 3")
    dialog.get_by_role("button", name="Close").click()
    expect(screen.page.locator("#list > li")).to_have_count(2)
    with screen.page.expect_download() as download:
        screen.page.get_by_role("button", name="Export CSV").click()
    download.value.save_as(tmp_path / "links.csv")
    assert f"{TARGET},{alias}" in (tmp_path / "links.csv").read_text()


def test_without_open_mode_the_page_asks_for_a_key(screen: Screen, door: FrontDoor) -> None:
    key = door.http.post("/api/v1/keys", json={"name": "given out"}).json()["key"]
    screen.page.route("**/api/v1/keys", lambda route: route.fulfill(status=403, json={}))
    screen.shorten(TARGET)
    dialog = screen.page.locator("dialog[open]")
    dialog.get_by_label("Key").fill(key)
    dialog.get_by_role("button", name="Use it").click()
    expect(screen.page.locator("#list > li")).to_have_count(1)
    headers = {"authorization": f"Bearer {key}"}
    assert len(door.http.get("/api/v1/links", headers=headers).json()["links"]) == 1


def test_a_key_that_is_not_known_any_more_is_replaced_and_the_wish_goes_on(screen: Screen) -> None:
    screen.page.evaluate("localStorage.setItem('shortener.key', 'sk_forgotten')")
    screen.page.reload()
    screen.made(TARGET)
    expect(screen.page.locator("#key-note")).to_contain_text("a new one is used")


def test_who_hears_later_that_the_key_is_not_known_takes_the_new_one(screen: Screen) -> None:
    screen.page.evaluate("localStorage.setItem('shortener.key', 'sk_forgotten')")

    def held_back(route: Route) -> None:
        """Sends a link on with its old key only once that has been replaced."""
        if route.request.method == "POST" and "sk_forgotten" in str(route.request.headers):
            waiting.append(route)
        else:
            route.continue_()

    waiting: list[Route] = []
    screen.page.route("**/api/v1/links", held_back)
    # The list's question, with the old key too, must not be answered before the link is sent.
    lists: list[Route] = []
    screen.page.route("**/api/v1/links?*", lambda route: lists.append(route))
    screen.page.reload()
    screen.shorten(TARGET)
    screen.page.wait_for_timeout(200)
    assert len(waiting) == len(lists) == 1
    screen.page.unroute("**/api/v1/links?*")
    lists[0].continue_()
    expect(screen.page.locator("#key-note")).to_contain_text("a new one is used")
    waiting[0].continue_()
    expect(screen.page.locator("#list > li")).to_have_count(1)


def test_events_are_read_in_whatever_pieces_they_come(screen: Screen) -> None:
    text = (
        "retry: 2000\n\n: nothing new\n\n"
        'event: clicks\ndata: {"code":"a"}\n\nevent: away\ndata: {}\n\n'
    )
    read = """async ([text, size]) => {
        const { EventReader } = await import("/static/live.js");
        const reader = new EventReader();
        const events = [];
        for (let at = 0; at < text.length; at += size)
            events.push(...reader.feed(text.slice(at, at + size)));
        return events.map(({ event, data, retry }) => [event, data, retry]);
    }"""
    expected = [["message", "", 2000], ["clicks", '{"code":"a"}', None], ["away", "{}", None]]
    for size in (1, 7, 1000):
        assert screen.page.evaluate(read, [text, size]) == expected


def test_nothing_is_wider_than_a_phone(browser: Browser, lab: Engine) -> None:
    """320 px is also what is left of 1280 at 400 % zoom (WCAG 2.2, 1.4.10)."""
    width = 320
    with _context(browser, lab, width) as context:
        screen = Screen(context.new_page())
        screen.page.goto("/")
        code = screen.made(
            "https://example.org/" + "long" * 100, alias=f"wide-{'w' * 18}-{os.urandom(3).hex()}",
            max_visits="10", expires_at="2031-02-03T04:05",
        )  # fmt: skip
        overflow = "document.documentElement.scrollWidth - innerWidth"
        assert screen.page.evaluate(overflow) <= 0
        for name in ("QR", "Statistics", "Edit", "Delete"):
            dialog = screen.act(name, code)
            inside = "dialog => dialog.scrollWidth - dialog.clientWidth"
            assert dialog.evaluate(inside) <= 0, name
            box = dialog.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width, name
            screen.page.keyboard.press("Escape")
            expect(dialog).to_have_count(0)


def test_the_keyboard_alone_is_enough(screen: Screen) -> None:
    press = screen.page.keyboard.press
    screen.page.locator("#url").focus()
    screen.page.keyboard.type(TARGET)
    press("Enter")
    # The next thing one wants is to copy it.
    expect(screen.page.locator("#result").get_by_role("button", name="Copy")).to_be_focused()
    press("Enter")
    expect(screen.page.locator("#result").get_by_role("button", name="Copied")).to_be_visible()
    edit = screen.page.locator("#list").get_by_role("button", name="Edit: ")
    edit.focus()
    press("Enter")
    expect(screen.page.locator("dialog[open]")).to_be_visible()
    press("Escape")
    expect(edit).to_be_focused()
    delete = screen.page.locator("#list").get_by_role("button", name="Delete: ")
    delete.focus()
    press("Enter")
    screen.page.locator("dialog[open]").get_by_role("button", name="Delete").focus()
    press("Enter")
    expect(screen.page.locator("#empty")).to_be_visible()


def test_the_policy_keeps_foreign_script_and_markup_out(screen: Screen) -> None:
    outcome = screen.page.evaluate(
        """() => {
            const said = [];
            const script = document.createElement("script");
            try { script.textContent = "window.ran = true"; document.body.append(script); }
            catch (error) { said.push(error.name); }
            try { document.body.innerHTML = "<b>x</b>"; }
            catch (error) { said.push(error.name); }
            return [said, window.ran === true];
        }"""
    )
    assert outcome == [["TypeError", "TypeError"], False]
