"""Browsers are people, whatever else there is are bots, and no header is too strange."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.clicks.agents import MAX_JUDGED, MAX_USER_AGENT_BYTES, Agents
from week04_shortener.clicks.event import is_browser

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

AGENTS = Agents()


def judge(user_agent: str, **headers: bytes) -> tuple[str | None, str]:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return AGENTS.judge({b"user-agent": user_agent.encode("utf-8"), **named})


@pytest.mark.parametrize(
    ("user_agent", "browser"),
    [
        (FIREFOX, "Firefox"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/126.0.0.0 Safari/537.36", "Chrome"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/126.0 Safari/537.36 Edg/126", "Edge"),
        (f"{MAC} Version/17.4 Safari/605.1.15", "Safari"),
        (f"{PHONE} (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", "Mobile Safari"),
        (f"{PHONE} (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/420.0]", "Facebook"),
        ("Opera/9.80 (Windows NT 6.1) Presto/2.12.388 Version/12.16", "Opera"),
        (
            f"Mozilla/5.0 (Linux; Android 10; CUBOT X30) {WEBKIT} "
            "Chrome/80.0.3987.99 Mobile Safari/537.36",
            "Chrome Mobile",
        ),
        ("Mozilla/5.0 (compatible; Nobody has heard of it/1.0)", None),
    ],
)
def test_people(user_agent: str, browser: str | None) -> None:
    assert judge(user_agent) == (browser, "person")


@pytest.mark.parametrize(
    "user_agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/126.0 Mobile Safari/537.36 (compatible; Googlebot/2.1)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "Twitterbot/1.0", "WhatsApp/2.23.20.0 A", "TelegramBot (like TwitterBot)",
        "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
        "LinkedInBot/1.0 (compatible; Mozilla/5.0; +http://www.linkedin.com)",
        f"{MAC} Version/17.4 Safari/605.1.15 Skype URI Preview Preview/0.5",
        f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/126.0 Safari/537.36",
        "curl/8.5.0", "Wget/1.21.4", "python-requests/2.32", "python-httpx/0.28", "okhttp/4.12",
        "aiohttp/3.9", "Go-http-client/1.1", "node", "HTTPie/3.2.2", "Java/21", "", "-",
    ],
)  # fmt: skip
def test_bots(user_agent: str) -> None:
    assert judge(user_agent)[1] == "bot"


def test_no_user_agent_is_a_bot() -> None:
    assert AGENTS.judge({}) == (None, "bot")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec_purpose", b"prefetch"), ("sec_purpose", b"Prefetch;prerender"),
        ("purpose", b"prefetch"), ("x_purpose", b"preview"), ("x_moz", b"prefetch"),
    ],
)  # fmt: skip
def test_what_is_fetched_ahead_of_a_click_is_no_person(name: str, value: bytes) -> None:
    assert judge(FIREFOX, **{name: value}) == ("Firefox", "bot")
    assert judge(FIREFOX, **{name: b"something else"}) == ("Firefox", "person")


def test_tools_have_names_too() -> None:
    assert judge("curl/8.5.0") == ("curl", "bot")


def test_only_the_beginning_of_a_long_header_is_judged() -> None:
    assert judge(FIREFOX + "x" * MAX_USER_AGENT_BYTES + " Googlebot/2.1") == ("Firefox", "person")


@given(st.binary(max_size=600))
def test_any_bytes_are_judged(user_agent: bytes) -> None:
    browser, agent = AGENTS.judge({b"user-agent": user_agent, b"purpose": user_agent})
    assert browser is None or is_browser(browser)
    assert agent in ("person", "bot")


def test_a_flood_of_agents_is_forgotten() -> None:
    agents = Agents()
    for number in range(MAX_JUDGED + 100):
        agents.judge({b"user-agent": b"Made up/%d" % number})
    assert agents.remembered() == MAX_JUDGED
