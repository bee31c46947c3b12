"""What holds for every stream: the split does not matter, and what was sent is what comes out.

`LAB_EXAMPLES` raises the number of examples for a long hunt.
"""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from week01_http_server.settings import Limits
from week01_http_server.tests.streams import Sent, cut, cut_after, places, requests, streams
from week01_http_server.tests.transcripts import one_by_one, record

EXAMPLES = int(os.environ.get("LAB_EXAMPLES", "60"))

SMALL = Limits(
    request_line_max_bytes=60,
    head_max_bytes=160,
    headers_max=6,
    body_max_bytes=40,
    chunk_line_max_bytes=16,
    trailers_max_bytes=40,
    read_buffer_bytes=1 << 20,
)
"""Limits that short streams break."""


@given(st.lists(requests, min_size=1, max_size=4), places)
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_was_sent_comes_out_in_order(sent: list[Sent], where: list[int]) -> None:
    data = b"".join(each.encode() for each in sent)
    recorder, connection = record(cut(data, where))
    assert recorder.refusal is None and connection.idle
    assert recorder.ended == len(sent)
    for each, request in zip(sent, recorder.requests, strict=True):
        assert request.method.encode() == each.method
        assert (request.path, request.query) == (each.path, each.query.removeprefix(b"?")) or (
            b"?" in each.query or b"?" in each.path
        )
        assert request.headers[0] == (b"host", b"a.example")
        assert request.headers[1 : len(each.fields) + 1] == [
            (name.lower(), value) for name, value in each.fields
        ]
    bodies = [b"".join(each.pieces) if each.pieces is not None else each.body for each in sent]
    assert recorder.body == b"".join(body or b"" for body in bodies)
    assert [value for kind, value in recorder.events if kind == "end"] == [
        tuple((name.lower(), value) for name, value in each.trailers) if each.pieces is not None
        else ()
        for each in sent
    ]  # fmt: skip


@given(streams, places, st.sampled_from([Limits(), SMALL]))
@settings(max_examples=3 * EXAMPLES, deadline=None)
def test_the_split_does_not_matter(data: bytes, where: list[int], limits: Limits) -> None:
    whole, connection = record([data], limits)
    ends = cut_after(data, b"\r"), cut_after(data, b"\r\n\r\n")
    for pieces in (one_by_one(data), cut(data, where), *ends):
        again, same = record(pieces, limits)
        assert again.events == whole.events
        assert (same.idle, same.in_head, same.in_body) == (
            connection.idle,
            connection.in_head,
            connection.in_body,
        )
        assert same.held == connection.held
        assert same.eof() == record([data], limits)[1].eof()


@given(st.lists(st.binary(max_size=40), max_size=4))
@settings(max_examples=EXAMPLES, deadline=None)
def test_noise_is_refused_or_waited_for_but_breaks_nothing(pieces: list[bytes]) -> None:
    recorder, connection = record(pieces)
    connection.eof()
    assert connection.closed
    assert [kind for kind, _ in recorder.events[:-1]].count("refusal") == 0
