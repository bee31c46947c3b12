"""Answers are read the same however the network cuts them. Bytes in, answers out: no sockets."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.client.answers import HEAD_MAX_BYTES, AnswerReader, BodyTooLarge, Malformed
from benchmarks.client.requests import Answer

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + LENGTH
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
NONE = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"

whole = st.sampled_from([LENGTH, CHUNKED, INTERIM, MOVED, NONE])


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % len(data) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def read(
    reader: AnswerReader, data: bytes, cuts: list[int], head_only: bool = False
) -> Answer | None:
    """The answer, which must be complete with the last byte and not before."""
    reader.expect(head_only=head_only, keep_body=True)
    parts = pieces(data, cuts)
    done = [reader.feed(part) for part in parts]
    assert not any(done[:-1])
    return reader.answer() if done[-1] else None


@given(st.lists(st.tuples(whole, st.lists(st.integers(0, 200), max_size=6)), max_size=5))
def test_any_cut_gives_the_same_answers_one_after_the_other(
    answers: list[tuple[bytes, list[int]]],
) -> None:
    reader = AnswerReader(1000)
    for data, cuts in answers:
        once = read(AnswerReader(1000), data, [])
        assert once is not None
        assert read(reader, data, cuts) == once
        assert reader.keep_alive


def test_what_an_answer_says() -> None:
    answer = read(AnswerReader(1000), INTERIM, [])
    assert answer == Answer(200, ((b"content-length", b"5"), (b"x-a", b"1")), b"hello", 5)
    moved = read(AnswerReader(1000), MOVED, [])
    assert moved is not None
    assert (moved.status, moved.header(b"location"), moved.header(b"x")) == (302, b"/there", None)


def test_a_connection_is_kept_only_where_the_server_keeps_it() -> None:
    for data, kept in ((LENGTH, True), (CLOSING, False), (OLD, False)):
        reader = AnswerReader(1000)
        assert read(reader, data, []) is not None
        assert reader.keep_alive is kept


@given(st.sampled_from([LENGTH, CHUNKED]), st.integers(1, 200))
def test_an_answer_that_is_cut_is_never_complete(data: bytes, cut: int) -> None:
    reader = AnswerReader(1000)
    reader.expect(head_only=False, keep_body=True)
    assert not reader.feed(data[: max(1, cut % len(data))])
    assert not reader.end()


def test_without_a_length_the_end_is_the_end() -> None:
    reader = AnswerReader(1000)
    reader.expect(head_only=False, keep_body=True)
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not reader.feed(b"lo")
    assert reader.end()
    assert reader.answer().body == b"hello"
    assert not reader.keep_alive


def test_answers_to_head_have_no_body_and_the_next_one_has() -> None:
    reader = AnswerReader(1000)
    head = LENGTH.removesuffix(b"hello")
    for _ in range(2):
        answer = read(reader, head, [7], head_only=True)
        assert answer is not None
        assert answer.body == b""
        assert reader.keep_alive
    again = read(reader, LENGTH, [3])
    assert again is not None
    assert again.body == b"hello"


def test_the_body_is_counted_also_where_it_is_not_kept() -> None:
    reader = AnswerReader(1000)
    reader.expect(head_only=False, keep_body=False)
    assert reader.feed(LENGTH)
    assert (reader.answer().body, reader.answer().body_bytes) == (b"", 5)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"220 mail ESMTP\r\n", Malformed),
        (LENGTH + b"and more", Malformed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Malformed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Malformed),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Malformed),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_MAX_BYTES, Malformed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1001, BodyTooLarge),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes, error: type[Exception]) -> None:
    reader = AnswerReader(1000)
    reader.expect(head_only=False, keep_body=True)
    with pytest.raises(error):
        reader.feed(data)
