"""A dead letter keeps every byte, says where it comes from, and can be sent again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_shortener.analytics import dead_letters
from week04_shortener.analytics.dead_letters import (
    MAX_REASON_CHARS,
    REPLAY_BATCH,
    SENT,
    BadLetter,
    DeadLetter,
    NoSuchLetter,
    Place,
    all_of,
    chosen,
    from_stored,
    newest,
    replay,
    to_record,
)
from week04_shortener.clicks.event import Click, encode
from week04_shortener.kafka import KafkaUnavailable, Record
from week04_shortener.topics import Stored

AT = datetime(2026, 1, 1, tzinfo=UTC)


def click(number: int) -> bytes:
    return encode(Click(f"{number:032x}", "abcdefg", AT, "api1"))


def letter(value: bytes | None, offset: int = 0, key: bytes | None = b"abcdefg") -> DeadLetter:
    return DeadLetter(Place("clicks", 1, offset), key, value, "not JSON", AT)


def stored(one: DeadLetter, offset: int, partition: int = 0) -> Stored:
    key, value, headers = to_record(one)
    return Stored(partition, offset, key, value, dict(headers))


class Shelf:
    """The topic of dead letters; `first` is the oldest offset that is still there."""

    def __init__(self, *values: bytes | None, first: int = 0) -> None:
        self.first = first
        self.letters = [stored(letter(v, offset=n), first + n) for n, v in enumerate(values)]

    async def bounds(self) -> dict[int, tuple[int, int]]:
        return {0: (self.first, self.first + len(self.letters))}

    async def read(self, partition: int, first: int, end: int) -> AsyncIterator[Stored]:
        for one in self.letters:
            if first <= one.offset < end:
                yield one


class Topic:
    """Takes what is replayed."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.away_after: int | None = None

    async def send(self, records: Sequence[Record]) -> None:
        if self.away_after is not None and len(self.sent) >= self.away_after:
            raise KafkaUnavailable("away")
        self.sent += records


async def _fates(shelf: Shelf, topic: Topic) -> list[tuple[int, str]]:
    fates = replay(all_of(shelf), topic.send)
    return [(one.offset, fate) async for one, fate in fates]


@given(
    st.one_of(st.none(), st.binary(max_size=50)),
    st.one_of(st.none(), st.binary(max_size=50)),
    st.text(max_size=400),
    st.integers(0, 2**60),
)
def test_a_letter_leads_back_to_its_message(
    key: bytes | None, value: bytes | None, reason: str, offset: int
) -> None:
    one = DeadLetter(Place("clicks", 2, offset), key, value, reason, AT)
    back = from_stored(stored(one, 7))
    assert (back.key, back.value, back.place, back.at) == (key, value, one.place, AT)
    expected = reason[:MAX_REASON_CHARS].encode("utf-8", "replace").decode()
    assert back.reason == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"reason": b"x", "topic": b"t", "partition": b"0", "offset": b"one", "at": b"2026-01-01"},
        {"reason": b"\xff", "topic": b"t", "partition": b"0", "offset": b"1", "at": b"2026-01-01"},
        {"reason": b"x", "topic": b"t", "partition": b"0", "offset": b"1", "at": b"yesterday"},
    ],
)
def test_a_message_that_nobody_of_us_put_there_is_told_apart(headers: dict[str, bytes]) -> None:
    with pytest.raises(BadLetter):
        from_stored(Stored(0, 0, None, b"", headers))


def test_the_newest_are_listed() -> None:
    shelf = Shelf(*(b"%d" % n for n in range(10)), first=100)

    async def offsets(limit: int) -> list[int]:
        return [one.offset async for one in newest(shelf, limit)]

    assert asyncio.run(offsets(3)) == [107, 108, 109]
    assert asyncio.run(offsets(50)) == list(range(100, 110))


def test_named_letters_are_found_or_missed_before_anything_is_sent() -> None:
    shelf = Shelf(b"a", b"b", b"c", first=5)
    assert [one.value for one in asyncio.run(chosen(shelf, [(0, 7), (0, 5)]))] == [b"c", b"a"]
    for missing in ((0, 4), (0, 8), (1, 5)):
        with pytest.raises(NoSuchLetter, match=f"{missing[0]}:{missing[1]}"):
            asyncio.run(chosen(shelf, [(0, 5), missing]))


def test_original_bytes_and_key_are_sent_again() -> None:
    topic = Topic()
    assert asyncio.run(_fates(Shelf(click(1), click(2)), topic)) == [(0, SENT), (1, SENT)]
    assert topic.sent == [Record(b"abcdefg", click(1)), Record(b"abcdefg", click(2))]


def test_what_is_no_click_even_now_is_left() -> None:
    topic = Topic()
    fates = dict(asyncio.run(_fates(Shelf(b"{", click(1), None), topic)))
    assert fates[1] == SENT
    assert fates[0] == fates[2] == "left, still no click: not JSON"
    assert len(topic.sent) == 1


def test_many_are_sent_in_batches_and_all_of_them() -> None:
    topic = Topic()
    count = 2 * REPLAY_BATCH + 3
    fates = asyncio.run(_fates(Shelf(*(click(n) for n in range(count))), topic))
    assert len(fates) == len(topic.sent) == count


def test_of_large_letters_few_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "REPLAY_BATCH_BYTES", 3 * len(click(0)))
    sizes: list[int] = []

    async def send(records: Sequence[Record]) -> None:
        sizes.append(len(records))

    async def scenario() -> int:
        letters = all_of(Shelf(*(click(n) for n in range(10))))
        return len([fate async for _, fate in replay(letters, send)])

    assert asyncio.run(scenario()) == 10
    assert sizes == [3, 3, 3, 1]


def test_nothing_is_called_sent_that_kafka_did_not_take() -> None:
    topic = Topic()
    topic.away_after = REPLAY_BATCH
    told: list[str] = []

    async def scenario() -> None:
        shelf = Shelf(*(click(n) for n in range(REPLAY_BATCH + 1)))
        async for _, fate in replay(all_of(shelf), topic.send):
            told.append(fate)

    with pytest.raises(KafkaUnavailable):
        asyncio.run(scenario())
    assert told == [SENT] * REPLAY_BATCH
