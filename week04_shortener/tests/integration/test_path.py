"""From POST /shorten to a row in the analytics table, on real servers, through nginx."""

from __future__ import annotations

import json
from typing import Any

import anyio
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.lab.engines.base import Engine, State
from week04_shortener.lab import postgres, topology
from week04_shortener.tests.integration.conftest import FrontDoor, eventually

pytestmark = pytest.mark.integration

URL = "https://example.org/a?b=c#d"


def test_a_link_is_made_and_redirects(door: FrontDoor, lab: Engine) -> None:
    made = door.shorten(URL)
    assert made.status_code == 201
    code = made.json()["code"]
    assert made.json()["short_url"] == f"{lab.site.url('nginx')}/{code}"

    found = door.follow(code)
    assert found.status_code == 302
    assert found.headers["location"] == URL
    assert "no-store" in found.headers["cache-control"]


def test_a_click_goes_through_kafka_into_the_analytics_table(door: FrontDoor, lab: Engine) -> None:
    code = door.new_code(URL)
    answer = door.http.get(f"/{code}", headers={"referer": "https://news.example/today"})
    eventually("the click is counted", lambda: door.clicks(code) == 1)

    row = anyio.run(_analytics_row, lab, code)
    assert row["event_id"].hex == answer.headers["x-request-id"]
    assert row["replica"] == answer.headers["x-replica"]
    assert row["referrer_host"] == "news.example"

    event = anyio.run(_event, lab, row["topic"], row["partition"], row["message_offset"])
    assert event["code"] == code
    assert event["event_id"].replace("-", "") == answer.headers["x-request-id"]


def test_the_client_cannot_choose_the_event_id(door: FrontDoor) -> None:
    """Two clicks with one id of the client's choice are two clicks: nginx makes the ids."""
    code = door.new_code(URL)
    chosen = {"x-request-id": "0" * 32}
    ids = {door.http.get(f"/{code}", headers=chosen).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert "0" * 32 not in ids
    eventually("both clicks are counted", lambda: door.clicks(code) == 2)


def test_looking_is_not_clicking(door: FrontDoor) -> None:
    code = door.new_code(URL)
    assert door.http.head(f"/{code}").status_code == 302
    door.follow(code)
    eventually("the one click is counted", lambda: door.clicks(code) >= 1)
    assert door.clicks(code) == 1


def test_both_replicas_answer(door: FrontDoor) -> None:
    """nginx leaves a replica that failed it alone for a second (`fail_timeout`): this may wait."""
    code = door.new_code(URL)
    seen: set[str] = set()

    def both() -> bool:
        seen.add(door.follow(code).headers["x-replica"])
        return seen == {"api1", "api2"}

    eventually("both replicas have answered", both)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/0000000", None, 404),
        ("GET", "/no/such/path", None, 404),
        ("GET", "/%00", None, 400),
        ("GET", "/" + "a" * 5000, None, 404),
        ("GET", "/" + "a" * 20_000, None, 414),
        ("DELETE", "/shorten", None, 405),
        ("POST", "/shorten", b"{", 400),
        ("POST", "/shorten", b"\xff\xfe", 400),
        ("POST", "/shorten", b"[]", 422),
        ("POST", "/shorten", b'{"url": "javascript:alert(1)"}', 422),
        ("POST", "/shorten", b'{"url": "https://user:secret@example.org/"}', 422),
        ("POST", "/shorten", b'{"url": "https://example.org/\\u0000"}', 422),
        ("POST", "/shorten", json.dumps({"url": "https://e.org/" + "a" * 100_000}).encode(), 413),
        ("POST", "/shorten", None, 422),
        ("GET", "/metrics", None, 404),
        ("GET", "/health/ready", None, 404),
    ],
)
def test_a_bad_request_gets_a_clear_problem(
    door: FrontDoor, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = door.http.request(
        method, path, content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"] and problem["detail"]
    assert "Traceback" not in answer.text


def test_a_body_that_is_not_said_to_be_json_is_told_what_to_send(door: FrontDoor) -> None:
    """The mistake of every first curl: `-d` without `-H content-type`."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = door.http.post("/shorten", content=b'{"url": "https://example.org/"}', headers=form)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def test_status_shows_every_service_and_where_the_clicks_are(door: FrontDoor, lab: Engine) -> None:
    code = door.new_code(URL)
    door.follow(code)
    eventually("the click is counted", lambda: door.clicks(code) == 1)
    rows = {row.name: row for row in lab.status()}
    assert set(rows) == set(topology.names)
    for name, row in rows.items():
        assert row.state == (State.DONE if name == "setup" else State.RUNNING), row
        assert row.version and row.version != "missing"
    figures = {label: anyio.run(fact, lab.site) for label, fact in topology.facts.items()}
    assert int(figures["links"].split()[0]) >= 1
    assert figures["clicks logged"].startswith("0 bytes wait")
    assert figures["clicks queued"].endswith("not read yet: 0")
    assert int(figures["clicks counted"].split()[-1]) >= 1
    assert "2 of 2 replicas" in figures["cache"]
    assert figures["dead letters"].split()[0].isdecimal()
    assert figures["changes"].startswith("not told yet: ")


async def _analytics_row(lab: Engine, code: str) -> asyncpg.Record:
    connection = await asyncpg.connect(postgres.dsn(lab.site), ssl=False)
    try:
        rows = await connection.fetch("SELECT * FROM analytics.clicks WHERE code = $1", code)
    finally:
        await connection.close()
    assert len(rows) == 1
    return rows[0]


async def _event(lab: Engine, topic: str, partition: int, offset: int) -> dict[str, Any]:
    """The message at one place in Kafka."""
    consumer = AIOKafkaConsumer(bootstrap_servers=lab.site.address("kafka"))
    place = TopicPartition(topic, partition)
    await consumer.start()
    try:
        consumer.assign([place])
        consumer.seek(place, offset)
        message = await consumer.getone()
        return dict(json.loads(message.value))
    finally:
        await consumer.stop()
