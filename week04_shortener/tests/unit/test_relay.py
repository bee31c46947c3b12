"""What is owed is told: whatever dies, and in the order in which it happened."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from infra.service.lifecycle import Stopped
from infra.service.retry import Pace
from week04_shortener.cache.aside import CacheUnavailable
from week04_shortener.kafka import KafkaUnavailable, Record
from week04_shortener.links import Entry, Kind, encode
from week04_shortener.relay import Relay, RelayMetrics, Turn, Watch, to_cache, to_topic
from week04_shortener.storage.database import DatabaseUnavailable
from week04_shortener.storage.outbox import Destination
from week04_shortener.storage.outbox_reader import Backlog, Owed

CACHE, TOPIC = Destination.CACHE, Destination.TOPIC

POINTS = ("read", "told the first", "told all", "removed", "committed")
"""Where a relay may die: after this was done, and nothing more."""


class Died(Exception):
    """The process ended here."""


class OneTurn:
    """A turn over rows in memory; what it removes counts when its transaction is committed."""

    def __init__(self, outbox: "MemoryOutbox", destination: Destination) -> None:
        self.outbox = outbox
        self.destination = destination
        self.removed: set[int] = set()

    async def oldest(self, limit: int) -> list[Owed]:
        rows = self.outbox.rows[self.destination][:limit]
        self.outbox.passed("read")
        return rows

    async def remove(self, told: Sequence[Owed]) -> None:
        self.removed = {row.id for row in told}
        self.outbox.passed("removed")


class MemoryOutbox:
    """The outbox with one lock for each destination, and a point at which who uses it dies."""

    def __init__(self) -> None:
        self.rows: dict[Destination, list[Owed]] = {CACHE: [], TOPIC: []}
        self.taken: set[Destination] = set()
        self.dies_after: str | None = None
        self.away = False
        self._last_id = 0

    def owe(self, code: str, version: int, at: int | None = None) -> None:
        """A change of `code`; `at` lets it become visible before rows that have lower ids."""
        self._last_id += 1
        entry = Entry(version, Kind.OPEN, f"https://example.org/{version}")
        payloads = {CACHE: encode(entry), TOPIC: f"{code} {version}".encode()}
        for destination, payload in payloads.items():
            rows = self.rows[destination]
            rows.append(Owed(at or self._last_id, code, version, payload))
            rows.sort(key=lambda row: row.id)

    def passed(self, point: str) -> None:
        if self.dies_after == point:
            raise Died(point)

    @contextlib.asynccontextmanager
    async def turn(self, destination: Destination) -> AsyncIterator[Turn | None]:
        if self.away:
            raise DatabaseUnavailable("away")
        if destination in self.taken:
            yield None
            return
        self.taken.add(destination)
        turn = OneTurn(self, destination)
        try:
            yield turn
            rows = self.rows[destination]
            rows[:] = [row for row in rows if row.id not in turn.removed]
            self.passed("committed")
        finally:
            self.taken.discard(destination)

    async def backlog(self) -> dict[Destination, Backlog]:
        if self.away:
            raise DatabaseUnavailable("away")
        return {one: Backlog(len(rows), 2.5 * len(rows)) for one, rows in self.rows.items()}


class World:
    """An outbox, those who are told, and a relay for each destination."""

    def __init__(self, batch: int = 3) -> None:
        self.outbox = MemoryOutbox()
        self.cache: dict[str, Entry] = {}
        self.heard: list[tuple[str, int]] = []
        self.cache_away = self.kafka_away = False
        self.registry = CollectorRegistry()
        self.metrics = RelayMetrics(self.registry)
        self.batch = batch
        self.relays = {
            CACHE: self.relay(CACHE, to_cache(self.put, self.metrics)),
            TOPIC: self.relay(TOPIC, to_topic(self.send)),
        }

    def relay(
        self, destination: Destination, tell: Callable[[Sequence[Owed]], Awaitable[None]]
    ) -> Relay:
        return Relay(
            destination, self.outbox, tell, self.metrics,
            batch=self.batch, poll_s=0.001, pace=Pace(0.001, 0.01),
        )  # fmt: skip

    async def put(self, code: str, entry: Entry) -> Entry:
        if self.cache_away:
            raise CacheUnavailable("away")
        there = self.cache.get(code)
        if there is None or entry.version >= there.version:
            self.cache[code] = entry
        self.outbox.passed("told the first")
        return self.cache[code]

    async def send(self, records: Sequence[Record]) -> None:
        if self.kafka_away:
            raise KafkaUnavailable("away")
        for key, value, _ in records:
            assert key is not None and value is not None
            code, version = value.decode().split()
            assert key == code.encode()
            self.heard.append((code, int(version)))
            self.outbox.passed("told the first")
        self.outbox.passed("told all")

    def step(self, destination: Destination) -> int:
        return asyncio.run(self.relays[destination].step(asyncio.Event()))

    def finish(self) -> None:
        self.outbox.dies_after = None
        for destination in self.relays:
            while self.outbox.rows[destination]:
                self.step(destination)

    def value(self, name: str, destination: Destination | None = None) -> float | None:
        labels = {} if destination is None else {"destination": destination.value}
        return self.registry.get_sample_value(f"shortener_outbox_{name}", labels)


def in_order(heard: list[tuple[str, int]]) -> bool:
    """Whether each code's versions came without a gap before them; repetitions do no harm."""
    seen: dict[str, int] = {}
    for code, version in heard:
        if version > seen.get(code, 0) + 1:
            return False
        seen[code] = max(seen.get(code, 0), version)
    return True


def test_changes_are_told_once_when_nothing_dies() -> None:
    world = World()
    for version in (1, 2, 3, 4):
        world.outbox.owe("one", version)
    assert [world.step(TOPIC) for _ in range(3)] == [3, 1, 0]
    assert world.heard == [("one", n) for n in (1, 2, 3, 4)]
    assert world.value("told_total", TOPIC) == 4
    assert world.outbox.rows[TOPIC] == [] and len(world.outbox.rows[CACHE]) == 4
    world.finish()
    assert world.cache["one"].version == 4


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("destination", [CACHE, TOPIC])
def test_a_relay_that_dies_loses_nothing(destination: Destination, point: str) -> None:
    world = World()
    for version in (1, 2, 3):
        world.outbox.owe("one", version)
        world.outbox.owe("two", version)
    world.outbox.dies_after = point
    with contextlib.suppress(Died):
        world.step(destination)
    world.finish()
    assert in_order(world.heard)
    assert set(world.heard) == {(code, n) for code in ("one", "two") for n in (1, 2, 3)}
    assert {code: entry.version for code, entry in world.cache.items()} == {"one": 3, "two": 3}


def test_what_was_told_is_removed_only_with_the_end_of_the_turn() -> None:
    world = World()
    world.outbox.owe("one", 1)
    world.outbox.dies_after = "removed"
    with pytest.raises(Died):
        world.step(TOPIC)
    assert len(world.outbox.rows[TOPIC]) == 1
    world.finish()
    assert world.heard == [("one", 1), ("one", 1)]


def test_a_row_that_becomes_visible_late_is_not_passed_by() -> None:
    world = World()
    world.outbox.owe("two", 1, at=20)
    world.step(TOPIC)
    world.outbox.owe("one", 1, at=10)  # its transaction began earlier and was committed later
    world.finish()
    assert world.heard == [("two", 1), ("one", 1)]


def test_of_two_relays_one_has_the_turn() -> None:
    world = World()
    world.outbox.owe("one", 1)
    other = world.relay(TOPIC, to_topic(world.send))

    async def scenario() -> tuple[int, int]:
        telling, go_on = asyncio.Event(), asyncio.Event()

        async def slow(rows: Sequence[Owed]) -> None:
            telling.set()
            await go_on.wait()
            await to_topic(world.send)(rows)

        first = asyncio.create_task(world.relay(TOPIC, slow).step(asyncio.Event()))
        await telling.wait()
        meanwhile = await other.step(asyncio.Event())
        go_on.set()
        return meanwhile, await first

    assert asyncio.run(scenario()) == (0, 1)
    assert world.heard == [("one", 1)]


def test_who_hangs_does_not_keep_the_relay_from_stopping() -> None:
    world = World()
    world.outbox.owe("one", 1)

    async def scenario() -> None:
        stop, telling = asyncio.Event(), asyncio.Event()

        async def hang(_rows: Sequence[Owed]) -> None:
            telling.set()
            await asyncio.Event().wait()

        running = asyncio.create_task(world.relay(TOPIC, hang).run(stop))
        await telling.wait()
        stop.set()
        async with asyncio.timeout(10):
            with contextlib.suppress(Stopped):
                await running

    asyncio.run(scenario())
    assert len(world.outbox.rows[TOPIC]) == 1
    world.finish()
    assert world.heard == [("one", 1)]


def test_of_many_changes_the_cache_is_told_the_last() -> None:
    world = World(batch=10)
    for version in (1, 2, 3):
        world.outbox.owe("one", version)
    told: list[int] = []

    async def put(_code: str, entry: Entry) -> None:
        told.append(entry.version)

    asyncio.run(world.relay(CACHE, to_cache(put, world.metrics)).step(asyncio.Event()))
    assert told == [3]
    assert world.outbox.rows[CACHE] == []


def test_a_change_that_is_no_entry_holds_up_nobody() -> None:
    world = World()
    world.outbox.rows[CACHE].append(Owed(1, "bad", 1, b"\xff no entry"))
    world.outbox.owe("good", 1)
    world.finish()
    assert world.cache.keys() == {"good"}
    assert world.value("unreadable_total") == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["one", "two", "three"]),
            st.tuples(st.sampled_from([CACHE, TOPIC]), st.sampled_from([*POINTS, None])),
            st.sampled_from(["cache away", "kafka away", "all there"]),
        ),
        max_size=40,
    )
)
def test_no_schedule_of_deaths_loses_or_reorders_a_change(
    schedule: list[str | tuple[Destination, str | None]],
) -> None:
    world = World(batch=2)
    versions: dict[str, int] = {}
    for what in schedule:
        if isinstance(what, tuple):
            destination, world.outbox.dies_after = what
            with contextlib.suppress(Died, CacheUnavailable, KafkaUnavailable):
                world.step(destination)
        elif what.endswith(("away", "there")):
            world.cache_away, world.kafka_away = what == "cache away", what == "kafka away"
        else:
            versions[what] = versions.get(what, 0) + 1
            world.outbox.owe(what, versions[what])
    world.cache_away = world.kafka_away = False
    world.finish()
    assert in_order(world.heard)
    assert set(world.heard) == {
        (code, n + 1) for code, last in versions.items() for n in range(last)
    }
    assert {code: entry.version for code, entry in world.cache.items()} == versions


def test_kafka_away_does_not_hold_up_the_cache() -> None:
    world = World()
    world.kafka_away = True
    for number in range(10):
        world.outbox.owe(f"code{number}", 1)

    async def scenario() -> None:
        stop = asyncio.Event()
        tasks = [asyncio.create_task(relay.run(stop)) for relay in world.relays.values()]
        async with asyncio.timeout(10):
            while world.outbox.rows[CACHE] or not world.value("failures_total", TOPIC):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert len(world.outbox.rows[TOPIC]) == 10
        world.kafka_away = False
        async with asyncio.timeout(10):
            while world.outbox.rows[TOPIC]:  # noqa: ASYNC110  (what is waited for has no event)
                await asyncio.sleep(0.002)
        stop.set()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, Stopped)

    asyncio.run(scenario())
    assert len(world.cache) == 10
    assert len(world.heard) == 10
    assert world.value("failures_total", CACHE) == 0


def test_the_backlog_is_shown_also_while_nobody_can_be_told() -> None:
    world = World()
    world.outbox.owe("one", 1)
    world.outbox.owe("two", 1)
    asyncio.run(Watch(world.outbox, world.metrics, Pace()).look())
    assert world.value("rows", TOPIC) == 2
    assert world.value("oldest_seconds", CACHE) == 5.0
