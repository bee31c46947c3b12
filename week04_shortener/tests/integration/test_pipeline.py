"""Dead letters, the relay, housekeeping and statistics on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import anyio
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from infra.lab.engines.base import Engine
from infra.lab.handing_over import run_own
from infra.service.retry import Pace
from week04_shortener import commands
from week04_shortener.__main__ import FOR_PEOPLE, NICE
from week04_shortener.analytics.batches import Message, plan
from week04_shortener.analytics.statistics import Statistics
from week04_shortener.analytics.tables import Analytics, Refused
from week04_shortener.cache.aside import key_of
from week04_shortener.clicks.event import Click, encode
from week04_shortener.kafka import KafkaUnavailable
from week04_shortener.lab import on_the_way, postgres, topology
from week04_shortener.links import Entry, Kind
from week04_shortener.links import encode as encode_entry
from week04_shortener.settings import Settings
from week04_shortener.storage.database import Database, open_database
from week04_shortener.storage.housekeeping import Housekeeping, HousekeepingMetrics, OldRows, rules
from week04_shortener.storage.outbox import Destination
from week04_shortener.storage.outbox_reader import OutboxReader
from week04_shortener.tests.integration.conftest import FrontDoor, eventually

pytestmark = pytest.mark.integration

T = TypeVar("T")
Run = Callable[..., list[str]]

URL = "https://example.org/pipeline"


def new_code() -> str:
    """A code that no link has: it has a hyphen."""
    return f"t-{secrets.token_hex(6)}"


@contextlib.asynccontextmanager
async def tables(lab: Engine) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(postgres.dsn(lab.site), ssl=False)
    try:
        yield connection
    finally:
        await connection.close()


def ask(lab: Engine, sql: str, *values: object) -> Any:
    """The first value that PostgreSQL answers."""

    async def main() -> Any:
        async with tables(lab) as connection:
            return await connection.fetchval(sql, *values)

    return anyio.run(main)


def in_database(lab: Engine, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """Do `work` with a pool of its own."""

    async def main() -> T:
        opened = open_database(
            postgres.dsn(lab.site),
            name="test-pipeline",
            pool_size=4,
            connect_timeout_s=10,
            timeout_s=20,
        )
        async with opened as database:
            return await work(database)

    return asyncio.run(main())


def all_read(lab: Engine) -> bool:
    """Whether nothing is on its way to the analytics tables."""
    now = anyio.run(on_the_way, lab.site)
    return now.waiting_bytes == now.unread == 0


@pytest.fixture
def run(lab: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call it with a command's words: the lines that it says.

    In this process, which is quicker; that `lab run` comes to the same has a test of its own.
    """
    assert topology.command is not None
    for name, value in topology.command.environment(lab.site).items():
        monkeypatch.setenv(name, value)
    settings = Settings()

    def call(name: str, *words: str) -> list[str]:
        parser = commands.Parser(prog=name)
        FOR_PEOPLE[name](parser)
        capsys.readouterr()
        asyncio.run(commands.run(settings, parser.parse_args(words)))
        return capsys.readouterr().out.splitlines()

    return call


# ---- Dead letters


NICEST = 19
"""Further than this nobody gives way: the whole lab may run at a low priority already."""


def test_who_carries_clicks_gives_way_to_who_redirects(lab: Engine) -> None:
    nice = {row.name: os.getpriority(os.PRIO_PROCESS, row.pid) for row in lab.status() if row.pid}
    behind = {nice[name] for name in ("forwarder1", "forwarder2", "consumer")}
    assert behind == {min(NICE + nice["relay"], NICEST)}
    assert nice["relay"] == nice["api1"] == nice["api2"]


def test_a_poison_message_costs_only_itself_and_is_counted_once_it_can_be(
    door: FrontDoor, lab: Engine, run: Run
) -> None:
    """PostgreSQL refuses some clicks by a constraint, which is taken away in the end."""
    code = door.new_code(URL)
    poison = f"{secrets.token_hex(4)}.example"
    constraint = f"no_{poison.partition('.')[0]}"
    ask(
        lab,
        f"ALTER TABLE analytics.clicks ADD CONSTRAINT {constraint} "
        f"CHECK (referrer_host IS DISTINCT FROM '{poison}')",
    )
    try:
        # While the consumer sleeps all of them gather, so that they come in one batch.
        anyio.run(lab.pause, "consumer")
        ids = []
        for number in range(9):
            host = poison if number in (3, 4, 8) else "fine.example"
            answer = door.http.get(f"/{code}", headers={"referer": f"https://{host}/"})
            assert answer.status_code == 302
            ids.append(answer.headers["x-request-id"])
        not_a_click = secrets.token_hex(8).encode()
        asyncio.run(_send(lab, "clicks", code.encode(), not_a_click))
        anyio.run(lab.resume, "consumer")
        eventually("the neighbours are counted", lambda: door.clicks(code) == 6)
        eventually("nothing is held up", lambda: all_read(lab))
        assert door.clicks(code) == 6
        listed = run("dead-letters", "list", "--limit", "1000")
        assert sum(constraint in line for line in listed) == 3
        [place] = [line.split()[0] for line in listed if "not JSON" in line][-1:]
        shown = run("dead-letters", "show", place)
        assert shown[-1] == not_a_click.decode()
    finally:
        anyio.run(lab.resume, "consumer")
        ask(lab, f"ALTER TABLE analytics.clicks DROP CONSTRAINT {constraint}")

    for _ in range(2):  # the second time changes nothing
        done = run("dead-letters", "replay", "--all")
        assert any(line.endswith("sent again") for line in done)
        assert any("still no click" in line for line in done)
        eventually("they are counted", lambda: door.clicks(code) == 9)
        eventually("nothing is on its way", lambda: all_read(lab))
        assert door.clicks(code) == 9
    left = run("dead-letters", "replay", place)
    assert left[1].endswith("left, still no click: not JSON")
    # The request's id has come all the way, into the log of the last process.
    log = lab.site.log_file("consumer").read_text()
    assert all(request_id in log for request_id in ids)


def test_what_postgresql_refuses_is_told_apart_from_postgresql_away(lab: Engine) -> None:
    """Each click alone passes what `clicks` checks; class 22 and 23 of SQLSTATE are `Refused`."""
    topic = f"test-{secrets.token_hex(4)}"
    late = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    good = Click(uuid.uuid4().hex, new_code(), late, "api1")
    bad = [
        good._replace(event_id="not a uuid"),
        good._replace(code="nul \0"),
        good._replace(agent="robot"),  # type: ignore[arg-type]
        good._replace(code=None),  # type: ignore[arg-type]
    ]

    async def work(database: Database) -> None:
        sink = Analytics(database, topic)
        assert await sink.offset(0, beginning=0) == 0
        batch = plan(0, 0, [Message(0, encode(good))])
        assert batch is not None
        for click in bad:
            with pytest.raises(Refused):
                await sink.write(type(batch)(0, 0, 1, ((0, click),), (), 0))
        assert await sink.offset(0, beginning=0) == 0, "a refused batch moves nothing"
        assert await sink.write(batch) == 1

    in_database(lab, work)


# ---- Statistics


def test_clicks_are_summed_by_hour_referrer_browser_and_agent(lab: Engine) -> None:
    code, topic = new_code(), f"test-{secrets.token_hex(4)}"
    now = datetime.now(UTC).replace(hour=12, minute=30, second=0, microsecond=0)
    first = Click(uuid.uuid4().hex, code, now, "api1", "a.example", "Firefox", "person", "0" * 16)
    clicks = [
        first,
        first._replace(event_id=uuid.uuid4().hex, visitor="1" * 16),
        first._replace(event_id=uuid.uuid4().hex, browser="Chrome", referrer_host=None),
        first._replace(event_id=uuid.uuid4().hex, agent="bot", browser=None, visitor="2" * 16),
        first._replace(event_id=uuid.uuid4().hex, at=now - timedelta(hours=3)),
        first._replace(event_id=uuid.uuid4().hex, at=now - timedelta(days=9)),
        first,
    ]
    old = json.dumps(  # version 1 is still read
        {"v": 1, "event_id": uuid.uuid4().hex, "code": code, "at": now.isoformat(),
         "replica": "api2", "referrer_host": None}
    ).encode()  # fmt: skip
    messages = [Message(n, value) for n, value in enumerate([*map(encode, clicks), old])]

    async def work(database: Database) -> None:
        sink = Analytics(database, topic)
        await sink.offset(0, beginning=0)
        for one in range(len(messages)):  # one by one, so that sums are added to sums
            batch = plan(0, one, [messages[one]])
            assert batch is not None
            await sink.write(batch)
        found = await Statistics(database, now=lambda: now).of(code, hours=24)
        assert (found.clicks, found.people, found.bots) == (7, 6, 1)
        assert found.last_click_at == now
        assert found.visitors_today == 2
        by_hour = [(one.begins.hour, one.clicks, one.bots) for one in found.hours if one.clicks]
        assert by_hour == [(9, 1, 0), (12, 5, 1)]
        assert len(found.hours) == 24
        assert [(one.name, one.clicks) for one in found.referrers] == [("a.example", 3), ("", 2)]
        browsers = [(one.name, one.clicks) for one in found.browsers]
        assert browsers == [("Firefox", 3), ("", 1), ("Chrome", 1)]
        totals = await Statistics(database).totals([code, "t-nobody"])
        assert totals == {code: 7, "t-nobody": 0}
        nobody = await Statistics(database, now=lambda: now).of("t-nobody")
        assert (nobody.clicks, nobody.last_click_at, len(nobody.hours)) == (0, None, 48)

    in_database(lab, work)


# ---- The relay


def test_a_change_is_told_to_valkey_and_to_kafka(lab: Engine) -> None:
    code = new_code()
    asyncio.run(_owe(lab, [code], 1, 2))
    eventually("all is told", lambda: _owed(lab, code) == 0)
    assert asyncio.run(_cached(lab, code))
    assert asyncio.run(_events(lab, code)) == [1, 2]


def test_kafka_that_hangs_does_not_keep_valkey_from_being_told(lab: Engine) -> None:
    code = new_code()
    anyio.run(lab.pause, "kafka")
    try:
        asyncio.run(_owe(lab, [code], 1))
        eventually("Valkey knows", lambda: asyncio.run(_cached(lab, code)) != b"")
        assert _owed(lab, code, "topic") == 1
        backlog = in_database(lab, lambda database: OutboxReader(database).backlog())
        assert backlog[Destination.TOPIC].rows >= 1
        assert backlog[Destination.TOPIC].oldest_s > 0
    finally:
        anyio.run(lab.resume, "kafka")
    eventually("Kafka knows too", lambda: _owed(lab, code) == 0)
    assert asyncio.run(_events(lab, code)) == [1]


def test_a_relay_killed_in_mid_work_loses_nothing(lab: Engine) -> None:
    """It wakes up to several batches of work, and dies in one of them."""
    codes = [new_code() for _ in range(4)]
    changes = 150
    restarts = _restarts(lab)
    anyio.run(lab.pause, "relay")
    try:
        asyncio.run(_owe(lab, codes, *range(1, changes + 1)))
    finally:
        anyio.run(lab.resume, "relay")
    anyio.run(lab.crash, "relay")
    eventually("it is back", lambda: _restarts(lab) > restarts)
    eventually("all is told", lambda: all(_owed(lab, code) == 0 for code in codes))
    for code in codes:
        heard = asyncio.run(_events(lab, code))
        newest = 0
        for version in heard:
            assert version <= newest + 1, "none is told before its predecessor"
            newest = max(newest, version)
        assert set(heard) == set(range(1, changes + 1))
        assert asyncio.run(_cached(lab, code)).startswith(f"{changes} ".encode())


def test_of_two_relays_one_has_the_turn_and_undone_turns_leave_everything(
    lab: Engine,
) -> None:
    code = new_code()
    anyio.run(lab.pause, "relay")
    asyncio.run(_owe(lab, [code], 1, 2))

    async def work(database: Database) -> None:
        outbox = OutboxReader(database)
        async with outbox.turn(Destination.TOPIC) as turn:
            assert turn is not None
            async with outbox.turn(Destination.TOPIC) as second:
                assert second is None
            async with outbox.turn(Destination.CACHE) as other:
                assert other is not None, "each destination has a turn of its own"
            mine = [row for row in await turn.oldest(5000) if row.code == code]
            assert [row.version for row in mine] == [1, 2]
            await turn.remove(mine)
            raise KafkaUnavailable("in mid-turn")

    try:
        with pytest.raises(KafkaUnavailable):
            in_database(lab, work)
        assert _owed(lab, code, "topic") == 2
    finally:
        anyio.run(lab.resume, "relay")
    eventually("the relay tells of it", lambda: _owed(lab, code) == 0)


# ---- Housekeeping


def test_ids_that_need_not_be_known_any_more_go_and_sums_stay(lab: Engine) -> None:
    code, topic = new_code(), f"test-{secrets.token_hex(4)}"
    clicks = [Click(uuid.uuid4().hex, code, datetime.now(UTC), "api1") for _ in range(5)]

    async def work(database: Database) -> None:
        sink = Analytics(database, topic)
        await sink.offset(0, beginning=0)
        batch = plan(0, 0, [Message(n, encode(click)) for n, click in enumerate(clicks)])
        assert batch is not None
        await sink.write(batch)
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE analytics.clicks SET recorded_at = now() - interval '8 days 1 minute' "
                "WHERE code = $1 AND message_offset < 3",
                code,
            )
        keeper = Housekeeping(
            OldRows(database),
            rules(dedupe_days=8, idempotency_hours=24),
            HousekeepingMetrics(CollectorRegistry()),
            every_s=60,
            pace=Pace(),
        )
        await keeper.round(asyncio.Event())
        async with database.connection() as connection:
            left = await connection.fetchval(
                "SELECT count(*) FROM analytics.clicks WHERE code = $1", code
            )
        assert left == 2
        assert (await Statistics(database).of(code)).clicks == 5

    in_database(lab, work)


# ---- Keys


def test_keys_are_made_listed_and_revoked(run: Run) -> None:
    name = f"a person's {secrets.token_hex(4)}"
    [plain] = run("keys", "create", name)
    listed = run("keys", "list")
    [line] = [line for line in listed if line.endswith(name)]
    assert plain not in "".join(listed)
    key_id = line.split()[0]
    assert run("keys", "revoke", key_id) == [f"key {key_id} is revoked"]
    with pytest.raises(commands.Failed, match=f"there is no key {key_id}"):
        run("keys", "revoke", key_id)


def test_the_lab_runs_the_weeks_own_commands(
    lab: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_own(topology, lab, ["dead-letters", "show", "999999999"]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == (
        "dead-letters: there is no dead letter 0:999999999: "
        "`dead-letters list` shows those there are\n"
    )


# ---- What Kafka, Valkey and the outbox hold


async def _send(lab: Engine, topic: str, key: bytes, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=lab.site.address("kafka"), acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key=key)
    finally:
        await producer.stop()


async def _owe(lab: Engine, codes: list[str], *versions: int) -> None:
    async with tables(lab) as connection:
        for version in versions:
            for code in codes:
                await _owe_one(connection, code, version)


async def _owe_one(connection: asyncpg.Connection[asyncpg.Record], code: str, version: int) -> None:
    """As the store writes them: both rows of a change in one transaction."""
    entry = encode_entry(Entry(version, Kind.OPEN, URL))
    rows = [("cache", entry), ("topic", json.dumps({"version": version}).encode())]
    async with connection.transaction():
        await connection.executemany(
            "INSERT INTO outbox (destination, code, version, payload) VALUES ($1, $2, $3, $4)",
            [(destination, code, version, payload) for destination, payload in rows],
        )


def _restarts(lab: Engine) -> int:
    [row] = [row for row in lab.status() if row.name == "relay"]
    return row.restarts


def _owed(lab: Engine, code: str, destination: str = "") -> int:
    sql = "SELECT count(*) FROM outbox WHERE code = $1 AND starts_with(destination, $2)"
    return int(ask(lab, sql, code, destination))


async def _cached(lab: Engine, code: str) -> bytes:
    """The entry in Valkey, empty when there is none."""
    client = Redis.from_url(f"redis://{lab.site.address('valkey')}/0")
    try:
        found = await client.get(key_of(code)) or b""
        assert isinstance(found, bytes)
        return found
    finally:
        await client.aclose()


async def _events(lab: Engine, code: str) -> list[int]:
    """The versions in the topic of links with this key, in their order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=lab.site.address("kafka"), auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        places = [TopicPartition("links", number) for number in range(3)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found = []
        for place, end in ends.items():
            while await consumer.position(place) < end:
                for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, []):
                    if record.key == code.encode():
                        found.append(json.loads(record.value)["version"])
        return found
    finally:
        await consumer.stop()
