"""The page at /docs in a real browser: complete without the internet, under its own policy."""

from __future__ import annotations

import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from week04_shortener.tests.integration.conftest import FrontDoor

pytestmark = pytest.mark.integration

LONG_MS = 30_000


def test_a_link_is_made_on_the_page(door: FrontDoor) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for path in map(shutil.which, names) if path), None)
    if browser is None:
        pytest.skip(f"no browser on the PATH: {', '.join(names)} (Debian: apt install chromium)")
    door_url = str(door.http.base_url).rstrip("/")
    asked: list[str] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        page = playwright.chromium.launch(executable_path=browser, args=arguments).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        page.set_default_timeout(LONG_MS)
        page.goto(f"{door_url}/docs")
        operation = page.locator("[id='operations-links-create_api_v1_links_post']")
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        status = operation.locator(".live-responses-table tbody .response-col_status").first
        expect(status).to_contain_text("201", timeout=LONG_MS)
    assert errors == [], "the policy forbids nothing that the page does"
    assert [url for url in asked if not url.startswith((door_url, "data:"))] == []
