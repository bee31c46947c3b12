"""The API on real servers, through nginx, over both replicas."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from schemathesis import openapi

from infra.lab.engines.base import Engine
from week04_shortener.tests.integration.conftest import FrontDoor, eventually
from week04_shortener.tests.unit.schema_runner import CONFIG, nonconformities

pytestmark = pytest.mark.integration

LINKS = "/api/v1/links"
URL = "https://example.org/a"
TRIES_AT_ONCE = 12
EXAMPLES = 2
MEBIBYTE = 1024 * 1024


def new_alias(word: str) -> str:
    """An alias nobody has: links are kept for ever, and the instance may be shared."""
    return f"{word}-{secrets.token_hex(4)}"


@pytest.fixture
def own(door: FrontDoor) -> Iterator[httpx.Client]:
    """A client with a key of its own."""
    made = door.http.post("/api/v1/keys", json={"name": "tests"})
    assert made.status_code == 201, made.text
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    with httpx.Client(
        base_url=door.http.base_url, headers=headers, timeout=10, trust_env=False
    ) as client:
        yield client


def make(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = http.post(LINKS, json={"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_the_life_of_a_link(door: FrontDoor) -> None:
    alias = new_alias("spring-sale")
    made = door.http.post(LINKS, json={"url": URL, "alias": alias})
    assert made.status_code == 201
    path = f"{LINKS}/{alias}"
    assert made.headers["location"].endswith(path)
    assert door.follow(alias).headers["location"] == URL

    changed = door.http.patch(
        path, json={"url": f"{URL}b"}, headers={"If-Match": made.headers["etag"]}
    )
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert door.http.patch(path, json={}, headers={"If-Match": '"1"'}).status_code == 412
    eventually("both replicas know the new target", lambda: follows(door, alias, f"{URL}b"))

    assert door.http.delete(path).status_code == 204
    eventually("both replicas know that it is gone", lambda: is_gone(door, alias))
    assert door.http.get(path).status_code == 410
    assert door.http.post(LINKS, json={"url": URL, "alias": alias}).status_code == 409


def follows(door: FrontDoor, code: str, url: str) -> bool:
    """Whether neither replica leads elsewhere: each is asked several times."""
    return all(door.follow(code).headers.get("location") == url for _ in range(6))


def is_gone(door: FrontDoor, code: str) -> bool:
    return all(door.follow(code).status_code == 410 for _ in range(6))


def test_the_same_key_many_times_at_once_makes_one_link(own: httpx.Client) -> None:
    """nginx sends them to both replicas: what decides is in PostgreSQL."""
    headers = {**own.headers, "Idempotency-Key": f'"{secrets.token_hex(8)}"'}
    body = {"url": URL, "max_visits": 3}

    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(
            base_url=own.base_url, headers=headers, timeout=10, trust_env=False
        ) as client:
            return await asyncio.gather(
                *(client.post(LINKS, json=body) for _ in range(TRIES_AT_ONCE))
            )

    answers = asyncio.run(send())
    assert {answer.status_code for answer in answers} == {201}
    assert {answer.headers["x-replica"] for answer in answers} == {"api1", "api2"}
    assert len({answer.text for answer in answers}) == 1
    first = [answer for answer in answers if "idempotency-replayed" not in answer.headers]
    assert len(first) == 1
    assert len(own.get(LINKS).json()["links"]) == 1
    assert own.post(LINKS, json={"url": URL}, headers=dict(headers)).status_code == 422


def test_links_go_out_and_in_as_csv(door: FrontDoor, own: httpx.Client) -> None:
    alias = new_alias("to")
    rows = "".join(f"{URL}/{'x' * 40}/{row},,,\n" for row in range(300))
    file = f"url,alias,expires_at,max_visits\n{URL}?a=1,{alias},2100-01-01T00:00:00Z,\nftp://x,,,\n"
    headers = {"Content-Type": "text/csv"}
    answer = own.post(f"{LINKS}/import", content=file + rows, headers=headers)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["made"], answer.json()["refused"]) == (301, 1)
    assert door.follow(alias).headers["location"] == f"{URL}?a=1"
    assert door.follow(answer.json()["results"][-1]["code"]).headers["location"].endswith("/299")

    seen, path = 0, f"{LINKS}?limit=100"
    while path:
        page = own.get(path)
        seen += len(page.json()["links"])
        path = page.links.get("next", {}).get("url", "")
    assert seen == 301

    export = own.get(f"{LINKS}/export")
    assert export.text.count("\n") == 302
    # Elsewhere, that is to say for somebody else, and with the one alias taken by then.
    again = door.http.post(f"{LINKS}/import", content=export.content, headers=headers)
    assert (again.json()["made"], again.json()["refused"]) == (300, 1)


def test_a_password_is_kept_as_a_slow_hash_and_never_told(own: httpx.Client, dsn: str) -> None:
    made = own.post(LINKS, json={"url": URL, "password": "open sesame"})
    code = made.json()["code"]
    told = [made, own.get(f"{LINKS}/{code}"), own.get(LINKS), own.get(f"{LINKS}/export")]
    assert made.json()["has_password"]

    async def stored() -> str:
        connection = await asyncpg.connect(dsn, ssl=False)
        try:
            row = await connection.fetchrow("SELECT * FROM links WHERE code = $1", code)
            return str(row)
        finally:
            await connection.close()

    row = asyncio.run(stored())
    assert "$scrypt$" in row and "sesame" not in row
    for answer in told:
        assert "scrypt" not in answer.text and "sesame" not in answer.text


def test_links_and_statistics_are_their_owners(door: FrontDoor, own: httpx.Client) -> None:
    code = make(own)["code"]
    door.follow(code)
    path = f"{LINKS}/{code}"
    eventually("the click is counted", lambda: own.get(f"{path}/stats").json()["clicks"] == 1)
    assert own.get(f"/stats/{code}").json()["clicks"] == 1
    for method, hidden in (
        ("GET", path), ("GET", f"{path}/stats"), ("GET", f"/stats/{code}"), ("DELETE", path),
    ):  # fmt: skip
        assert door.http.request(method, hidden).status_code == 404
    assert door.http.get(f"{path}/qr.svg").text.startswith("<svg")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", LINKS, {}, b"x" * 10_000_000, 413),
        ("POST", f"{LINKS}/import", {"content-type": "text/csv"}, b"x" * 10_000_000, 413),
        ("POST", LINKS, {}, b'{"url": "https://example.org/' + b"a" * 100_000 + b'"}', 413),
        ("POST", f"{LINKS}/bulk", {}, b"[" * 500_000, 413),
        ("POST", f"{LINKS}/bulk", {}, b"[" * 250_000, 400),
        ("POST", f"{LINKS}/bulk", {}, b'{"links": [{"a": ' + b"9" * 250_000 + b"}]}", 400),
        ("POST", f"{LINKS}/bulk", {}, b'{"links":[' + b"{}," * 80_000 + b"{}]}", 422),
        ("POST", f"{LINKS}/import", {"content-type": "text/csv"}, b"url\n" + b'"' * 999_999, 200),
        ("POST", f"{LINKS}/import", {"content-type": "text/csv"}, b"url\n" + b"a\n" * 400_000, 422),
        ("POST", LINKS, {}, b'{"url": "\xff"}', 400),
        ("POST", LINKS, {}, b'{"url": "a", "url": "b"}', 400),
        ("POST", LINKS, {}, b'{"url": "https://example.org/", "alias": "%2e%2e"}', 422),
        ("GET", f"{LINKS}/" + "a" * 5000, {}, b"", 404),
        ("GET", f"{LINKS}?cursor=" + "a" * 5000, {}, b"", 422),
        ("GET", LINKS, {"authorization": "Bearer " + "a" * 7000}, b"", 401),
        ("GET", LINKS, {"x-flood": "a" * 70_000}, b"", 431),
        ("PATCH", f"{LINKS}/abc-def", {"if-match": '"1",' * 1000}, b"{}", 400),
    ],
)  # fmt: skip
def test_hostile_requests_get_a_clear_refusal(
    door: FrontDoor, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = door.http.request(
        method, path, content=body, headers={"content-type": "application/json", **headers}
    )
    assert answer.status_code == status, answer.text[:500]
    if status >= 400:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.json()["detail"]
    else:
        assert answer.json()["made"] == 0


def test_memory_is_bounded_under_large_bodies(lab: Engine) -> None:
    """Straight to a replica: nginx in front would keep them away."""
    address = lab.site.address("api1")
    process = listener(int(address.rpartition(":")[2]))
    before = process.memory_info().rss
    headers = {"content-type": "text/csv"}
    with httpx.Client(base_url=f"http://{address}", timeout=20, trust_env=False) as client:
        for _ in range(5):
            flood = (b"x" * MEBIBYTE for _ in range(20))
            try:
                answer = client.post(f"{LINKS}/import", content=flood, headers=headers)
                assert answer.status_code == 413
            except (httpx.WriteError, httpx.ReadError):
                pass  # refused, and the connection closed, while most was still to be sent
        assert client.get("/health/live").status_code == 200
    assert process.memory_info().rss - before < 32 * MEBIBYTE


def listener(port: int) -> psutil.Process:
    """The process that listens on `port` of 127.0.0.1."""
    (pid,) = {
        entry.pid
        for entry in psutil.net_connections("tcp4")
        if entry.status == psutil.CONN_LISTEN and tuple(entry.laddr) == ("127.0.0.1", port)
    }
    return psutil.Process(pid)


def test_the_real_service_answers_as_documented(door: FrontDoor, own: httpx.Client) -> None:
    document = openapi.from_url(f"{door.http.base_url}/openapi.json", config=CONFIG)
    schema = document.exclude(path_regex="/live$")  # streams have no end
    sent, found = nonconformities(schema, examples=EXAMPLES)
    assert found == []
    code = make(own, max_visits=5)["code"]
    headers = dict(own.headers)
    sent_of_one, found = nonconformities(schema, examples=EXAMPLES, code=code, headers=headers)
    assert found == []
    assert sent > EXAMPLES * 20 and sent_of_one > EXAMPLES * 5
