"""Passwords and visit limits through nginx, over both replicas, on a real database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from week04_shortener.tests.integration.conftest import FrontDoor, eventually

pytestmark = pytest.mark.integration

TARGET = "https://example.org/guarded"
PERSON = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}
PREVIEW = {"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}


def _made(door: FrontDoor, **fields: object) -> str:
    answer = door.http.post("/api/v1/links", json={"url": TARGET, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["code"])


def test_a_limit_is_kept_exactly_by_both_replicas_together(door: FrontDoor) -> None:
    code = _made(door, max_visits=7)

    def visit(_number: int) -> tuple[int, str]:
        answer = door.http.get(f"/{code}", headers=PERSON)
        return answer.status_code, answer.headers["x-replica"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(visit, range(60)))
    assert {replica for _status, replica in answers} == {"api1", "api2"}
    assert sorted(status for status, _replica in answers) == [302] * 7 + [410] * 53
    assert door.http.get(f"/api/v1/links/{code}").json()["visits"] == 7


def test_previews_prefetches_and_head_spend_nothing(door: FrontDoor) -> None:
    code = _made(door, max_visits=1)
    for headers in (PREVIEW, {**PERSON, "sec-purpose": "prefetch"}):
        answer = door.http.get(f"/{code}", headers=headers)
        assert answer.status_code == 200
        assert "location" not in answer.headers and TARGET not in answer.text
    assert door.http.head(f"/{code}", headers=PERSON).status_code == 200
    assert door.http.get(f"/{code}", headers=PERSON).headers["location"] == TARGET


def test_a_password_lets_through_and_guessing_is_limited_for_both_replicas(door: FrontDoor) -> None:
    code = _made(door, password="sesame")
    page = door.http.get(f"/{code}", headers=PERSON)
    assert page.status_code == 200 and TARGET not in page.text
    statuses = [
        door.http.post(f"/{code}", data={"password": f"guess {n}"}).status_code for n in range(5)
    ]
    assert statuses == [403] * 5
    # Even the right one must wait now: or a guesser would learn which it is.
    answer = door.http.post(f"/{code}", data={"password": "sesame"})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_the_right_password_is_answered_with_a_redirect_to_get(door: FrontDoor) -> None:
    code = _made(door, password="sesame", max_visits=1)
    assert door.http.post(f"/{code}", data={"password": "wrong"}, headers=PERSON).status_code == 403
    answer = door.http.post(f"/{code}", data={"password": "sesame"}, headers=PERSON)
    assert (answer.status_code, answer.headers["location"]) == (303, TARGET)
    answer = door.http.post(f"/{code}", data={"password": "sesame"}, headers=PERSON)
    assert answer.status_code == 410


def test_a_guard_that_is_put_on_later_holds(door: FrontDoor) -> None:
    code = _made(door)
    assert door.http.get(f"/{code}").status_code == 302
    changed = door.http.patch(f"/api/v1/links/{code}", json={"password": "sesame"})
    assert changed.status_code == 200
    # A replica's own memory may lead on for its lifetime, and no longer.
    eventually(
        "both replicas ask for the password",
        lambda: {door.http.get(f"/{code}").status_code for _ in range(8)} == {403},
    )
