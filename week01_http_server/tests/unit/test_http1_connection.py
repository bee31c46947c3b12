"""One connection: persistence, bodies, upgrades, limits and what deadlines need to know."""

from __future__ import annotations

import pytest

from week01_http_server.http1.connection import Connection
from week01_http_server.messages import Request
from week01_http_server.settings import Limits
from week01_http_server.tests.transcripts import Recorder, one_by_one, record
from week01_http_server.tests.vectors import GOOD, chunked, head, post

UPGRADE = head(b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket")


def request_of(data: bytes) -> Request:
    recorder, _ = record([data])
    slowly, _ = record(one_by_one(data))
    assert slowly.events == recorder.events
    (request,) = recorder.requests
    return request


def test_a_request_is_handed_over_with_all_its_parts() -> None:
    request = request_of(
        b"GET /a/%2e?b=c?d HTTP/1.1\r\nHOST: Example.org:80\r\nX-One:  1\t\r\nx-one: 2\r\n\r\n"
    )
    assert request == Request(
        method="GET",
        target=b"/a/%2e?b=c?d",
        path=b"/a/%2e",
        query=b"b=c?d",
        authority=b"Example.org:80",
        version="1.1",
        headers=[(b"host", b"Example.org:80"), (b"x-one", b"1"), (b"x-one", b"2")],
        keep_alive=True,
        has_body=False,
        content_length=None,
        expects_continue=False,
        upgrade=None,
    )


def test_a_body_with_a_length_says_so() -> None:
    request = request_of(post(b"Content-Length: 3", b"Expect: 100-Continue", body=b"abc"))
    assert (request.method, request.has_body, request.content_length) == ("POST", True, 3)
    assert request.expects_continue


def test_a_chunked_body_has_no_length() -> None:
    request = request_of(chunked(b"0\r\n\r\n"))
    assert (request.has_body, request.content_length) == (True, None)


@pytest.mark.parametrize(
    ("line", "path", "query", "authority"),
    [
        (b"GET http://b:81/x?y HTTP/1.1", b"/x", b"y", b"b:81"),
        (b"GET http://b?y HTTP/1.1", b"/", b"y", b"b"),
        (b"GET HTTP://b HTTP/1.1", b"/", b"", b"b"),
        (b"GET http://[::1]/ HTTP/1.1", b"/", b"", b"[::1]"),
        (b"OPTIONS * HTTP/1.1", b"*", b"", b"a"),
        (b"OPTIONS http://b HTTP/1.1", b"*", b"", b"b"),
        (b"OPTIONS http://b/ HTTP/1.1", b"/", b"", b"b"),
        (b"GET //evil.example/x HTTP/1.1", b"//evil.example/x", b"", b"a"),
        (b"GET /? HTTP/1.1", b"/", b"", b"a"),
    ],
)
def test_each_form_of_target_is_split(
    line: bytes, path: bytes, query: bytes, authority: bytes
) -> None:
    request = request_of(head(start=line))
    assert (request.path, request.query, request.authority) == (path, query, authority)
    assert request.target == line.split(b" ")[1]


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.1", b"x, CLOSE", False),
        (b"1.1", b"closed", True),
        (b"1.1", b"keep-alive, close", False),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
        (b"1.2", b"", True),
    ],
)
def test_persistence_follows_version_and_connection(
    version: bytes, connection: bytes, keep_alive: bool
) -> None:
    lines = [b"Connection: " + connection] if connection else []
    assert request_of(head(*lines, start=b"GET / HTTP/" + version)).keep_alive is keep_alive


def test_a_body_and_an_expectation_leave_persistence_alone() -> None:
    for lines in ([b"Expect: 100-continue"], [b"Connection: Keep-Alive"], []):
        request = request_of(post(b"Content-Length: 1", *lines, body=b"a"))
        assert request.keep_alive
        assert request.expects_continue is bool(lines and b"Expect" in lines[0])
    without_host = b"POST / HTTP/1.0\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na"
    assert request_of(without_host).keep_alive


def test_pipelined_requests_come_in_order_whatever_carries_them() -> None:
    stream = (
        GOOD
        + post(b"Content-Length: 5", body=b"first")
        + chunked(b"3\r\nsec\r\n3\r\nond\r\n0\r\nA: b\r\n\r\n")
        + head(start=b"DELETE /x HTTP/1.1")
    )
    recorder, connection = record([stream])
    assert [request.method for request in recorder.requests] == ["GET", "POST", "POST", "DELETE"]
    assert (recorder.body, recorder.ended) == (b"firstsecond", 4)
    assert ("end", ((b"a", b"b"),)) in recorder.events
    assert connection.idle


def test_forbidden_trailers_are_dropped_and_others_kept() -> None:
    recorder, _ = record(
        [chunked(b"0\r\nHost: x\r\nX-Sum: 1\r\nTransfer-Encoding: x\r\nx-sum: 2\r\n\r\n")]
    )
    assert recorder.events[-1] == ("end", ((b"x-sum", b"1"), (b"x-sum", b"2")))


def test_what_follows_an_upgrade_is_held_until_someone_takes_it() -> None:
    recorder, connection = record([UPGRADE + b"\x81\x00", b"more"])
    assert recorder.requests[0].upgrade == b"websocket"
    assert recorder.events[-1] == ("end", ())
    assert connection.held
    assert connection.detach() == b"\x81\x00more"
    connection.feed(GOOD)
    assert (recorder.ended, connection.closed) == (1, True)


def test_an_upgrade_that_is_not_wanted_goes_on_as_http() -> None:
    recorder, connection = record([UPGRADE + GOOD, GOOD + UPGRADE, GOOD])
    assert recorder.ended == 1
    connection.resume()
    assert (recorder.ended, connection.held) == (4, True)
    connection.resume()
    assert (recorder.ended, connection.idle) == (5, True)


def test_an_upgrade_can_be_taken_within_its_end() -> None:
    class Taker(Recorder):
        rest = b""

        def on_end(self, trailers: object) -> None:
            self.rest = connection.detach()

    taker = Taker()
    connection = Connection(Limits(), taker)
    connection.feed(UPGRADE + b"frames")
    assert taker.rest == b"frames"


def test_too_much_before_the_upgrade_is_answered_is_refused() -> None:
    recorder, _ = record([UPGRADE, b"a" * 9, b"b" * 2], Limits(read_buffer_bytes=10))
    assert recorder.refusal is not None and recorder.refusal.status == 400


def test_a_sink_that_closes_hears_nothing_more() -> None:
    class Closer(Recorder):
        def on_request(self, request: Request) -> None:
            super().on_request(request)
            connection.close()

    for data in (
        GOOD * 2,
        post(b"Content-Length: 3", body=b"abc"),
        chunked(b"1\r\na\r\n0\r\n\r\n"),
    ):
        closer = Closer()
        connection = Connection(Limits(), closer)
        connection.feed(data)
        connection.feed(data)
        assert [kind for kind, _ in closer.events] == ["request"]


def test_a_sink_that_closes_within_a_body_hears_nothing_more() -> None:
    class Closer(Recorder):
        def on_body(self, data: bytes) -> None:
            super().on_body(data)
            connection.close()

    for data in (
        post(b"Content-Length: 3", body=b"abc"),
        chunked(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
    ):
        closer = Closer()
        connection = Connection(Limits(), closer)
        connection.feed(data + GOOD)
        assert [kind for kind, _ in closer.events] == ["request", "body"]


def test_the_phase_is_known_at_each_byte() -> None:
    connection = Connection(Limits(), Recorder())

    def phases(data: bytes) -> list[tuple[bool, bool, bool]]:
        seen = []
        for byte in one_by_one(data):
            connection.feed(byte)
            seen.append((connection.idle, connection.in_head, connection.in_body))
        return seen

    idle, in_head, in_body = (True, False, False), (False, True, False), (False, False, True)
    assert connection.idle
    assert phases(b"\r\n") == [idle, idle]
    data = post(b"Content-Length: 3")
    assert phases(data) == [in_head] * (len(data) - 1) + [in_body]
    assert phases(b"abc") == [in_body, in_body, idle]
    data = chunked(b"")
    assert phases(data) == [in_head] * (len(data) - 1) + [in_body]
    assert phases(b"0\r\nA: b\r\n\r\n")[-2:] == [in_body, idle]


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"", False),
        (b"\r\n\r", False),
        (GOOD, False),
        (head(b"Connection: close"), False),
        (UPGRADE + b"rest", False),
        (b"G", True),
        (GOOD[:-1], True),
        (post(b"Content-Length: 3", body=b"ab"), True),
        (chunked(b"3\r\nabc\r\n0\r\n"), True),
    ],
)
def test_an_end_of_input_is_a_fault_only_within_a_request(data: bytes, cut: bool) -> None:
    recorder, connection = record([data])
    refusal = connection.eof()
    assert (refusal is not None and refusal.status == 400) is cut
    assert recorder.refusal is None
    assert connection.closed


def test_the_last_request_of_a_connection_says_close() -> None:
    recorder, connection = record([GOOD, GOOD * 2], Limits(requests_per_connection_max=2))
    assert [request.keep_alive for request in recorder.requests] == [True, False]
    assert connection.closed


def test_empty_lines_are_counted_for_each_request_alone() -> None:
    lines = b"\r\n" * 3
    for pieces in ([lines, GOOD] * 3, [lines + GOOD] * 3, one_by_one((lines + GOOD) * 3)):
        assert record(pieces)[0].ended == 3


def test_a_cr_before_a_whole_head_is_not_forgotten() -> None:
    for start in (b"\r", GOOD + b"\r", GOOD + b"\r\n\r"):
        recorder, _ = record([start, GOOD])
        assert recorder.refusal is not None and recorder.ended == start.count(GOOD)


def bytes_until_refusal(stream: bytes, limits: Limits) -> tuple[int, int]:
    """After how many bytes, coming one by one, which status."""
    recorder = Recorder()
    connection = Connection(limits, recorder)
    for count, byte in enumerate(one_by_one(stream), 1):
        connection.feed(byte)
        if recorder.refusal is not None:
            return count, recorder.refusal.status
    raise AssertionError("not refused")


def test_a_limit_is_found_at_the_first_byte_above_it() -> None:
    small = Limits(
        request_line_max_bytes=40,
        head_max_bytes=60,
        headers_max=3,
        body_max_bytes=10,
        chunk_line_max_bytes=8,
        trailers_max_bytes=12,
    )
    assert bytes_until_refusal(b"GET /" + b"a" * 99, small) == (40, 414)
    assert bytes_until_refusal(GOOD[:-2] + b"A: " + b"b" * 99, small) == (60, 431)
    assert bytes_until_refusal(b"GET / HTTP/1.1\r\n" + b"A:\r\n" * 9, small) == (16 + 4 * 4, 431)
    too_long = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"
    assert bytes_until_refusal(too_long, small) == (len(too_long), 413)
    roomy = Limits(body_max_bytes=10, chunk_line_max_bytes=8, trailers_max_bytes=12)
    start = len(chunked(b""))
    assert bytes_until_refusal(chunked(b"5\r\nabcde\r\n6\r\n"), roomy) == (start + 13, 413)
    assert bytes_until_refusal(chunked(b"0" * 99), roomy) == (start + 8, 400)
    assert bytes_until_refusal(chunked(b"0\r\nA: " + b"b" * 99), roomy) == (start + 3 + 12, 431)


def test_what_just_fits_a_limit_is_accepted() -> None:
    line, fields = b"GET /aaaa HTTP/1.1\r\n", b"Host: a\r\nA: b\r\n\r\n"
    limits = Limits(
        request_line_max_bytes=len(line), head_max_bytes=len(line + fields), headers_max=2
    )
    for pieces in ([line + fields], one_by_one(line + fields)):
        assert record(pieces, limits)[0].ended == 1
    body = chunked(b"0a\r\n0123456789\r\n0\r\nA: b\r\n\r\n")
    exact = Limits(body_max_bytes=10, chunk_line_max_bytes=4, trailers_max_bytes=8)
    for pieces in ([body], one_by_one(body)):
        assert record(pieces, exact)[0].ended == 1


def test_no_body_limit_means_none() -> None:
    recorder, connection = record([post(b"Content-Length: 999999999999")], Limits(body_max_bytes=0))
    assert (recorder.refusal, connection.in_body) == (None, True)


def test_a_flood_of_names_and_hosts_leaves_the_verdicts_alone() -> None:
    recorder, connection = record([])
    for number in range(3000):
        connection.feed(
            b"GET / HTTP/1.1\r\nHost: h%d\r\nX-%d: y\r\nConnection: keep-alive\r\n\r\n"
            % (number, number)
        )
    assert recorder.ended == 3000
    assert recorder.requests[-1].headers[:2] == [(b"host", b"h2999"), (b"x-2999", b"y")]
    connection.feed(head(b"hOsT: b"))
    assert recorder.refusal is not None
