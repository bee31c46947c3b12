"""Exactly once in effect, whatever happens between a poll and a commit."""

import asyncio
import contextlib
import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infra.service.lifecycle import Stopped
from infra.service.retry import Pace
from week04_shortener.analytics.batches import Batch, Message
from week04_shortener.analytics.consumer import Consumer, ConsumerMetrics
from week04_shortener.analytics.tables import OffsetMoved, Refused
from week04_shortener.clicks.event import Click, encode
from week04_shortener.kafka import KafkaUnavailable, Record
from week04_shortener.storage.database import DatabaseUnavailable

AT = datetime(2026, 1, 1, tzinfo=UTC)
LONG_S = 30.0


def value(number: int) -> bytes:
    return encode(Click(f"{number:032x}", "abcdefg", AT, "api1"))


class Topic:
    """Partitions as lists of values; `beginning` is the first offset still there."""

    def __init__(self, *partitions: list[bytes]) -> None:
        self.partitions = list(partitions)
        self.beginning = 0


class Member:
    """One member of the group: a source whose assignment the test changes."""

    def __init__(self, topic: Topic, assigned: set[int]) -> None:
        self.topic = topic
        self.partitions = assigned
        self.generation = 1
        self.reading: dict[int, int] = {}
        self.failing: set[str] = set()
        self.seeks: list[tuple[int, int]] = []

    def assign(self, assigned: set[int]) -> None:
        self.partitions = assigned
        self.generation += 1
        # What the library does on its own until it is told better: from the earliest message.
        self.reading = dict.fromkeys(assigned, self.topic.beginning)

    async def start(self) -> None:
        self._answer("start")

    async def bounds(self, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        self._answer("bounds")
        return {p: (self.topic.beginning, len(self.topic.partitions[p])) for p in partitions}

    async def seek(self, partition: int, offset: int) -> None:
        self._answer("seek")
        self.reading[partition] = offset
        self.seeks.append((partition, offset))

    async def poll(
        self, partitions: Collection[int], *, timeout_s: float, max_messages: int
    ) -> dict[int, list[Message]]:
        self._answer("poll")
        found = {}
        for partition in self.partitions:
            at = self.reading.get(partition, self.topic.beginning)
            values = self.topic.partitions[partition][at : at + max_messages]
            if values:
                found[partition] = [Message(at + i, v) for i, v in enumerate(values)]
                self.reading[partition] = at + len(values)
        return found

    def end_of(self, partition: int) -> int | None:
        return len(self.topic.partitions[partition])

    def _answer(self, call: str) -> None:
        if call in self.failing:
            raise KafkaUnavailable(call)


class Tables:
    """The analytics tables, with the two ways a transaction can fail."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.rows: dict[str, tuple[int, int]] = {}
        self.away = False
        self.loses_commit_answer = False
        self.refused: set[str] = set()
        self.transactions = 0

    async def offset(self, partition: int, *, beginning: int) -> int:
        self._answer()
        return self.offsets.setdefault(partition, beginning)

    async def move(self, partition: int, *, position: int, offset: int) -> None:
        self._answer()
        if self.offsets[partition] != position:
            raise OffsetMoved
        self.offsets[partition] = offset

    async def write(self, batch: Batch) -> int:
        self.transactions += 1
        if any(click.event_id in self.refused for _, click in batch.clicks):
            self._answer()
            raise Refused("value out of range")
        await self.move(batch.partition, position=batch.position, offset=batch.next_offset)
        fresh = 0
        for offset, click in batch.clicks:
            if click.event_id not in self.rows:
                self.rows[click.event_id] = (batch.partition, offset)
                fresh += 1
        if self.loses_commit_answer:
            self.loses_commit_answer = False
            raise DatabaseUnavailable("connection lost in commit")
        return fresh

    def _answer(self) -> None:
        if self.away:
            raise DatabaseUnavailable("away")


class Box:
    """Where dead letters go; `order` is told of each, and of what the tables were then."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.letters: list[Record] = []
        self.offsets_then: list[dict[int, int]] = []
        self.away = False

    async def send(self, records: Sequence[Record]) -> None:
        if self.away:
            raise KafkaUnavailable("dead letters")
        self.letters += records
        self.offsets_then += [dict(self.tables.offsets)] * len(records)

    def header(self, name: str) -> list[str]:
        return [dict(letter.headers)[name].decode() for letter in self.letters]


class Group:
    """A topic, the tables and one consumer for each member."""

    def __init__(self, topic: Topic, *assigned: set[int], batch: int = 2) -> None:
        self.topic, self.tables = topic, Tables()
        self.box = Box(self.tables)
        self.members = [Member(topic, partitions) for partitions in assigned]
        self.registries = [CollectorRegistry() for _ in assigned]
        self.consumers = [
            Consumer(
                member,
                self.tables,
                self.box,
                ConsumerMetrics(registry),
                topic="clicks",
                batch=batch,
                pace=Pace(0.001, 0.01),
                now=lambda: AT,
            )
            for member, registry in zip(self.members, self.registries, strict=True)
        ]

    def step(self, number: int = 0, times: int = 1) -> None:
        async def steps() -> None:
            for _ in range(times):
                await self.consumers[number].step(asyncio.Event())

        asyncio.run(steps())

    def count(self, name: str, number: int = 0, **labels: Any) -> float | None:
        full = f"shortener_consumer_{name}"
        return self.registries[number].get_sample_value(full, labels)


def test_reads_everything_once() -> None:
    group = Group(Topic([value(n) for n in range(5)], [value(n) for n in range(10, 13)]), {0, 1})
    group.step(times=5)
    assert len(group.tables.rows) == 8
    assert group.tables.offsets == {0: 5, 1: 3}
    assert group.count("clicks_total") == 8
    assert group.count("lag_messages", partition="0") == 0


def test_goes_on_at_the_stored_offset() -> None:
    group = Group(Topic([value(n) for n in range(5)]), {0})
    group.tables.offsets[0] = 3
    group.step(times=3)
    assert sorted(offset for _, offset in group.tables.rows.values()) == [3, 4]


def test_an_event_sent_twice_is_written_once() -> None:
    group = Group(Topic([value(1), value(1), value(2), value(1)]), {0})
    group.step(times=3)
    assert len(group.tables.rows) == 2
    assert group.count("duplicates_total") == 2
    assert group.tables.offsets[0] == 4


def test_what_is_no_click_goes_to_the_dead_letters_and_its_neighbours_are_counted() -> None:
    group = Group(Topic([b"{", value(1), b"", value(2)]), {0})
    group.step(times=3)
    assert len(group.tables.rows) == 2
    assert group.count("malformed_total") == group.count("dead_letters_total") == 2
    assert group.tables.offsets[0] == 4
    assert [letter.value for letter in group.box.letters] == [b"{", b""]
    assert group.box.header("reason") == ["not JSON", "not JSON"]
    assert group.box.header("topic") == ["clicks", "clicks"]
    assert group.box.header("partition") == ["0", "0"]
    assert group.box.header("offset") == ["0", "2"]
    assert group.box.header("at") == ["2026-01-01T00:00:00.000+00:00"] * 2


@pytest.mark.parametrize("poison", [{0}, {7}, {3}, {2, 3}, {0, 5, 7}, set(range(8))])
def test_a_click_that_postgresql_refuses_costs_only_itself(poison: set[int]) -> None:
    group = Group(Topic([value(n) for n in range(8)]), {0}, batch=8)
    group.tables.refused = {f"{number:032x}" for number in poison}
    group.step()
    assert {offset for _, offset in group.tables.rows.values()} == set(range(8)) - poison
    assert [letter.value for letter in group.box.letters] == [value(n) for n in sorted(poison)]
    assert group.tables.offsets[0] == 8
    assert group.count("refused_total") == group.count("dead_letters_total") == len(poison)
    assert group.count("clicks_total") == 8 - len(poison)


def test_one_poison_message_among_many_costs_few_transactions() -> None:
    group = Group(Topic([value(n) for n in range(512)]), {0}, batch=512)
    group.tables.refused = {f"{300:032x}"}
    group.step()
    assert len(group.tables.rows) == 511
    assert group.tables.transactions <= 2 * 9 + 2


def test_the_offset_moves_only_after_the_dead_letter_is_safe() -> None:
    group = Group(Topic([value(0), value(1), b"{", value(3)]), {0}, batch=4)
    group.tables.refused = {f"{1:032x}"}
    group.step()
    letters = zip(group.box.header("offset"), group.box.offsets_then, strict=True)
    for offset, then in letters:
        assert then[0] <= int(offset)


def test_while_dead_letters_cannot_be_kept_nothing_is_passed_by() -> None:
    group = Group(Topic([value(0), value(1), value(2), b"{"]), {0}, batch=3)
    group.tables.refused = {f"{1:032x}"}
    group.box.away = True
    for _ in range(3):
        with pytest.raises(KafkaUnavailable):
            group.step()
    assert group.tables.offsets[0] <= 1
    group.box.away = False
    group.step(times=3)
    assert sorted(offset for _, offset in group.tables.rows.values()) == [0, 2]
    assert sorted(group.box.header("offset")) == ["1", "3"]


def test_a_consumer_that_dies_after_the_dead_letter_repeats_it_and_loses_nothing() -> None:
    group = Group(Topic([value(0), b"{", value(2)]), {0}, batch=3)
    group.tables.loses_commit_answer = True
    with pytest.raises(DatabaseUnavailable):
        group.step()
    group.tables.offsets[0], group.tables.rows = 0, {}  # and the commit had not arrived either
    group.step(times=2)
    assert len(group.tables.rows) == 2
    assert group.box.header("offset") == ["1", "1"]


def test_the_request_id_of_each_click_is_in_the_log() -> None:
    group = Group(Topic([value(n) for n in range(250)]), {0}, batch=250)
    with capture_logs() as lines:
        group.step()
    written = [line for line in lines if line["event"] == "clicks written"]
    assert len(written) == 3
    assert [id_ for line in written for id_ in line["request_ids"]] == [
        f"{number:032x}" for number in range(250)
    ]
    assert all(len(json.dumps(line)) < 4096 for line in written)


def test_messages_polled_while_the_database_is_away_are_read_again() -> None:
    group = Group(Topic([value(n) for n in range(4)]), {0})
    group.step()
    group.tables.away = True
    with pytest.raises(DatabaseUnavailable):
        group.step()
    group.tables.away = False
    group.step(times=2)
    assert len(group.tables.rows) == 4


def test_a_commit_without_an_answer_is_not_repeated() -> None:
    group = Group(Topic([value(n) for n in range(4)]), {0})
    group.tables.loses_commit_answer = True
    with pytest.raises(DatabaseUnavailable):
        group.step()
    group.step(times=2)
    assert len(group.tables.rows) == 4
    assert group.count("duplicates_total") == 0
    assert group.members[0].seeks == [(0, 0), (0, 2)]


@pytest.mark.parametrize("call", ["start", "bounds", "seek", "poll"])
def test_kafka_away_at_any_call(call: str) -> None:
    group = Group(Topic([value(n) for n in range(3)]), {0})
    group.members[0].failing = {call}
    with pytest.raises(KafkaUnavailable):
        group.step()
    group.members[0].failing = set()
    group.step(times=3)
    assert len(group.tables.rows) == 3


def test_a_stale_owner_moves_nothing_back() -> None:
    """Both members believe in partition 0; one has fallen asleep with an old position."""
    group = Group(Topic([value(n) for n in range(6)]), {0}, {0})
    group.step(0)
    group.step(1, times=2)
    assert group.tables.offsets[0] == 6
    group.step(0, times=2)
    assert group.tables.offsets[0] == 6
    assert len(group.tables.rows) == 6
    assert group.count("overtaken_total", 0) == 1
    assert group.count("duplicates_total", 0) == 0


def test_a_partition_assigned_anew_is_looked_up_anew() -> None:
    group = Group(Topic([value(n) for n in range(6)]), {0}, set())
    group.step(0)
    group.members[0].assign(set())
    group.members[1].assign({0})
    group.step(1)
    group.members[1].assign(set())
    group.members[0].assign({0})
    group.step(0)
    assert group.tables.offsets[0] == 6
    assert group.members[0].seeks == [(0, 0), (0, 4)]
    assert group.count("overtaken_total", 0) == group.count("duplicates_total", 0) == 0


def test_messages_that_expired_unread_are_counted() -> None:
    group = Group(Topic([value(n) for n in range(6)]), {0})
    group.tables.offsets[0] = 1
    group.topic.beginning = 4
    group.step(times=2)
    assert sorted(offset for _, offset in group.tables.rows.values()) == [4, 5]
    assert group.count("missing_total") == 3
    assert group.tables.offsets[0] == 6


def test_a_topic_made_anew_is_read_from_its_beginning() -> None:
    group = Group(Topic([value(n) for n in range(6)]), {0})
    group.step(times=3)
    group.topic.partitions[0] = [value(5), value(7)]
    group.members[0].assign({0})
    group.step(times=2)
    assert len(group.tables.rows) == 7
    assert group.tables.offsets[0] == 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=20),
    st.sets(st.integers(0, 20), max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from(["step", "rebalance", "away", "lost answer", "kafka", "no letters"]),
            st.integers(0, 1),
        ),
        max_size=30,
    ),
)
def test_no_schedule_of_failures_loses_or_repeats_a_click(
    events: list[int], poison: set[int], schedule: list[tuple[str, int]]
) -> None:
    group = Group(
        Topic([value(n) for n in events[::2]], [value(n) for n in events[1::2]]), {0}, {1}
    )
    group.tables.refused = {f"{number:032x}" for number in poison}
    group.members[0].assign({0, 1})
    reached = {0: 0, 1: 0}
    for what, who in schedule:
        if what == "rebalance":
            group.members[who].assign({0, 1})  # the other may not have noticed: both own all
            continue
        group.tables.away = what == "away"
        group.tables.loses_commit_answer = what == "lost answer"
        group.members[who].failing = {"poll"} if what == "kafka" else set()
        group.box.away = what == "no letters"
        with contextlib.suppress(DatabaseUnavailable, KafkaUnavailable):
            group.step(who)
        assert all(group.tables.offsets.get(p, 0) >= at for p, at in reached.items())
        reached |= group.tables.offsets
    group.tables.away = group.tables.loses_commit_answer = group.box.away = False
    group.members[0].failing = set()
    group.members[0].assign({0, 1})
    group.step(0, times=30)
    assert set(group.tables.rows) == {f"{number:032x}" for number in events if number not in poison}
    assert {letter.value for letter in group.box.letters} == {
        value(number) for number in events if number in poison
    }
    assert group.tables.offsets == {0: len(events[::2]), 1: len(events[1::2])}


def test_runs_through_outages_until_it_is_stopped() -> None:
    group = Group(Topic([value(n) for n in range(4)]), {0})
    group.tables.away = True

    async def scenario() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(group.consumers[0].run(stop))
        async with asyncio.timeout(LONG_S):
            while not group.count("failures_total"):  # noqa: ASYNC110  (what is waited for has no event)
                await asyncio.sleep(0.005)
            group.tables.away = False
            while len(group.tables.rows) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            stop.set()
            with contextlib.suppress(Stopped):
                await running

    asyncio.run(scenario())
