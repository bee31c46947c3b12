"""Each vector gets its verdict, also when its bytes come one by one."""

from __future__ import annotations

import httptools
import pytest

from week01_http_server.tests.transcripts import one_by_one, record
from week01_http_server.tests.vectors import ACCEPTED, REFUSED, Accepted, Refused

PASSED_BY_HTTPTOOLS = {
    "no version",
    "two spaces before target",
    "two spaces before version",
    "another protocol",
    "yet another protocol",
    "version 2.0",
    "version 0.9",
    "fragment",
    "asterisk for GET",
    "URI with bad host",
    "no Host",
    "no field at all",
    "two Hosts",
    "Host twice the same",
    "Host with a list",
    "Host of no address",
    "bare LF first",
    "bare CR first",
    "five empty lines first",
    "too many fields",
    "a field too large",
    "request line too long",
    "length over the limit",
    "chunked in 1.0",
    "unknown coding, then chunked",
    "extension too long",
    "trailers too large",
    "unknown expectation",
}
"""Some of what this server refuses and bare httptools takes: why a core stands around it."""


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector.name)
def test_a_malformed_stream_is_refused_whole_and_byte_by_byte(vector: Refused) -> None:
    whole, connection = record([vector.data])
    assert whole.refusal is not None
    assert (whole.refusal.status, whole.ended) == (vector.status, vector.answered_before)
    assert connection.closed
    dribbled, _ = record(one_by_one(vector.data))
    assert dribbled.events == whole.events


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: vector.name)
def test_an_odd_but_valid_stream_is_accepted_whole_and_byte_by_byte(vector: Accepted) -> None:
    whole, connection = record([vector.data])
    assert (whole.refusal, whole.ended) == (None, vector.requests)
    assert connection.closed == vector.closes
    dribbled, _ = record(one_by_one(vector.data))
    assert dribbled.events == whole.events


def test_names_are_unique_and_rows_cite_their_section() -> None:
    vectors: list[Refused | Accepted] = [*REFUSED, *ACCEPTED]
    names = {vector.name for vector in vectors}
    assert len(names) == len(vectors)
    assert all(vector.section.startswith("RFC ") for vector in vectors)


def test_a_refusal_says_why_in_one_line_and_echoes_nothing() -> None:
    for vector in REFUSED:
        refusal = record([vector.data.replace(b"Host: a", b"Host: ECHO")])[0].refusal
        if refusal is not None:
            assert refusal.reason.isprintable()
            assert "ECHO" not in refusal.reason
            assert 10 < len(refusal.reason) < 100


@pytest.mark.parametrize("name", sorted(PASSED_BY_HTTPTOOLS))
def test_bare_httptools_takes_what_is_refused_here(name: str) -> None:
    (vector,) = [vector for vector in REFUSED if vector.name == name]
    httptools.HttpRequestParser(object()).feed_data(vector.data)  # raises what it refuses
