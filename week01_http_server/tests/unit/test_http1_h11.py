"""h11 as a second opinion: wherever the two differ, the difference is on a list and explained.

A stream is judged as a whole: refused or not, and the complete requests that came before that.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import h11
from hypothesis import given, settings

from week01_http_server.tests.streams import bent, streams
from week01_http_server.tests.transcripts import record
from week01_http_server.tests.vectors import ACCEPTED, REFUSED

EXAMPLES = int(os.environ.get("LAB_EXAMPLES", "200"))


CLOSES = "(closes)"
WAITS = "(waits)"
"""h11 wants more bytes before it judges: it reads a head as a whole, we read it line by line."""

REFUSED_HERE = {
    "a version of HTTP other than 1.0 and 1.1": "h11 leaves versions to its user",
    "the request line is too long": "h11 has one limit for all; here each part has its own",
    "the head is too large or has too many fields": "as above",
    "the announced body is too large": "h11 leaves the body's size to its user",
    "the body is too large": "as above",
    "Content-Length is larger than any body served here": "as above",
    "the trailers are too large or too many": "h11 has one limit for all",
    "too many chunk extensions": "h11 skips extensions unseen",
    "a chunk's size line is too long": "as above",
    "a chunk's size line is malformed": "h11 skips extensions unseen, takes spaces after a size, "
    "and up to 20 digits",
    "the request target has a fragment": "h11 leaves targets to its user",
    "the request target is neither a path nor an http URI": "as above",
    "the target * is for OPTIONS alone": "as above",
    "the host in the request target is not valid": "as above",
    "the request target has user information": "as above",
    "the target of CONNECT is not host:port": "as above",
    "CONNECT is not served here: this is no proxy": "as above",
    "the Host field is not valid": "h11 counts Host fields and does not read them",
    "a line ends in LF without CR": "h11 takes LF for CRLF, as RFC 9112, section 2.2, permits",
    "a field line begins with whitespace (obsolete line folding)": "h11 unfolds, as RFC 9112, "
    "section 5.2, permits",
    "a control character in a field value": "h11 refuses NUL, CR, LF and whitespace alone",
    "there is more than one Content-Length field": "h11 folds equal ones into one",
    "Content-Length is not a plain number": "h11 takes a list of equal numbers",
    "both Transfer-Encoding and Content-Length": "h11 lets Transfer-Encoding win, as RFC 9112, "
    "section 6.1, permits with a close afterwards",
    "Transfer-Encoding in HTTP/1.0": "h11 ignores the field there",
    "an expectation other than 100-continue": "h11 ignores others",
}
"""What is refused here and not by h11, by our reason, and why."""

REFUSED_THERE = {
    "no request line received": "h11 wants no empty line before a request; RFC 9112, section "
    "2.2, asks to ignore at least one",
    "illegal chunk header": "h11 wants no whitespace around an extension; RFC 9112, section "
    "7.1.1, asks to parse it",
}
"""What h11 refuses and we do not, by the beginning of its reason, and why."""


VECTORS = [*(vector.data for vector in REFUSED), *(vector.data for vector in ACCEPTED)]


class Verdict(NamedTuple):
    """What a parser says of a stream."""

    refused: bool
    requests: list[tuple[bytes, bytes, bytes]]  # method, target, body


def ours(data: bytes) -> tuple[Verdict, str]:
    recorder, connection = record([data])
    while connection.held:
        connection.resume()
    bodies = [b""] * len(recorder.requests)
    at = -1
    for kind, value in recorder.events:
        at += kind == "request"
        if kind == "body":
            assert isinstance(value, bytes)
            bodies[at] += value
    complete = [
        (request.method.encode(), request.target, body)
        for request, body in zip(recorder.requests, bodies, strict=True)
    ][: recorder.ended]
    reason = "" if recorder.refusal is None else recorder.refusal.reason
    return Verdict(bool(reason), complete), reason


def theirs(data: bytes) -> tuple[Verdict, str]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    complete: list[tuple[bytes, bytes, bytes]] = []
    request, body = None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return Verdict(True, complete), str(error)
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            complete.append((request.method, request.target, body))
            # 404 also declines CONNECT and upgrades, so that h11 reads on.
            connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return Verdict(False, complete), CLOSES
            connection.start_next_cycle()
        else:
            waits = connection.trailing_data[0] or connection.their_state is h11.SEND_BODY
            return Verdict(False, complete), WAITS if waits else ""


def test_the_vectors_differ_as_explained() -> None:
    for data in VECTORS:
        assert_explained(data)


@given(bent() | streams)
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_difference_is_explained(data: bytes) -> None:
    # A last CR may be half an empty line; h11 does not wait to see.
    assert_explained(data.rstrip(b"\r"))


def assert_explained(data: bytes) -> None:
    here, our_reason = ours(data)
    there, their_reason = theirs(data)
    common = min(len(here.requests), len(there.requests))
    assert here.requests[:common] == there.requests[:common], data
    if here.refused and their_reason == WAITS and len(here.requests) == common:
        return
    if our_reason in REFUSED_HERE and len(here.requests) == common:
        return
    if len(there.requests) == common and their_reason.startswith(tuple(REFUSED_THERE)):
        return
    if their_reason == CLOSES and len(there.requests) == common and b" HTTP/1.0\r\n" in data:
        return  # h11 never keeps an HTTP/1.0 connection alive
    assert here == there, (data, our_reason, their_reason)


def test_each_explanation_is_needed() -> None:
    """An explanation that no vector calls for could hide a fault."""
    needed = set()
    for data in VECTORS:
        (here, our_reason), (there, their_reason) = ours(data), theirs(data)
        if here != there:
            needed.add(our_reason)
            needed.update(each for each in REFUSED_THERE if their_reason.startswith(each))
    assert {*REFUSED_HERE, *REFUSED_THERE} <= needed
