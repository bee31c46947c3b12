"""Requests and answers of one connection, without a socket."""

from __future__ import annotations

import logging

import pytest

from week01_http_server.answering import DISCARD_MAX_BYTES
from week01_http_server.handlers import Handlers
from week01_http_server.messages import Request, Response
from week01_http_server.phases import LINGER_MAX_BYTES, Lingering
from week01_http_server.settings import Limits, Settings
from week01_http_server.tests.wires import FakeTransport, Talk

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", *fields]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def path_of(request: Request) -> Response:
    return Response(200, [], request.path)


def answer(body: str, *fields: str) -> str:
    """An answer in the words of `heard`."""
    return " ".join(["200", body, *fields])


def heard(written: bytes) -> list[str]:
    """Status, body and Connection of each answer, whose lengths and ends have to be right."""
    answers = []
    while written:
        head, _, written = written.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        values = dict(field.split(": ") for field in fields)
        assert len(values) == len(fields) and values["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"
        length = int(values["content-length"])
        connection = [f"connection: {values['connection']}"] if "connection" in values else []
        answers.append(" ".join([status.split()[1], written[:length].decode(), *connection]))
        assert len(written) >= length
        written = written[length:]
    return answers


@pytest.fixture
def talk() -> Talk:
    return Talk(Handlers(plain=path_of))


def test_a_request_is_answered_in_one_write(talk: Talk) -> None:
    talk.send(get("/x"))
    assert len(talk.transport.written) == 1
    assert heard(talk.answers) == [answer("/x")]


def test_pipelined_answers_leave_in_order_and_in_one_write(talk: Talk) -> None:
    talk.send(get("/1") + get("/2") + get("/3"))
    assert len(talk.transport.written) == 1
    assert heard(talk.answers) == [answer("/1"), answer("/2"), answer("/3")]


def test_any_split_of_a_stream_gives_the_same_answers(talk: Talk) -> None:
    body = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    stream = get("/1") + body + get("/2")
    expected = [answer("/1"), answer("/b"), answer("/2")]
    for at in range(1, len(stream)):
        talk.send(stream[:at], stream[at:])
        assert heard(talk.answers) == expected
    talk.send(*(stream[i : i + 1] for i in range(len(stream))))
    assert heard(talk.answers) == expected


def test_a_thousand_pipelined_requests_in_one_read_are_all_answered(talk: Talk) -> None:
    talk.send(b"".join(get(f"/{i}") for i in range(1000)))
    assert heard(talk.answers) == [answer(f"/{i}") for i in range(1000)]


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/x", version="1.0"), answer("/x", "connection: close")),
        (get("/x", "Connection: close"), answer("/x", "connection: close")),
    ],
)
def test_a_client_that_asks_for_the_end_gets_a_plain_close(
    talk: Talk, request_bytes: bytes, expected: str
) -> None:
    talk.send(request_bytes)
    assert heard(talk.answers) == [expected]
    assert talk.transport.closed == "close" and not talk.transport.eof


def test_what_follows_the_last_request_is_not_answered(talk: Talk) -> None:
    talk.send(get("/1", "Connection: close") + get("/2"))
    assert heard(talk.answers) == [answer("/1", "connection: close")]


def test_the_last_request_of_a_connection_is_announced_and_lingered_for() -> None:
    talk = Talk(Handlers(plain=path_of), Settings(limits=Limits(requests_per_connection_max=2)))
    talk.send(get("/1"), get("/2"))
    assert heard(talk.answers) == [answer("/1"), answer("/2", "connection: close")]
    assert isinstance(talk.transport.protocol, Lingering)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", [200, 204, 304])
def test_bodies_that_must_not_be_sent_are_not(method: str, status: int) -> None:
    talk = Talk(Handlers(plain=lambda request: Response(status, [], b"body")))
    talk.send(get("/", method=method))
    head, _, body = talk.answers.partition(b"\r\n\r\n")
    assert body == (b"body" if (method, status) == ("GET", 200) else b"")
    assert (b"content-length" in head) == (status == 200)


def test_a_handler_that_raises_costs_a_500_and_nothing_more(
    talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Request) -> Response:
        if request.path == b"/bad":
            raise RuntimeError("secret detail")
        return path_of(request)

    talk = Talk(Handlers(plain=broken))
    with caplog.at_level(logging.ERROR):
        talk.send(get("/bad") + get("/good"))
    answers = talk.answers
    assert [text[:3] for text in heard(answers)] == ["500", "200"] and answers.endswith(b"/good")
    assert b"secret" not in answers
    assert "secret detail" in caplog.text and "Traceback" in caplog.text


def test_an_answer_that_would_split_is_a_500() -> None:
    fields = [(b"location", b"/a\r\nset-cookie: b=c")]
    talk = Talk(Handlers(plain=lambda request: Response(302, fields)))
    talk.send(GET)
    written = talk.answers
    assert written.startswith(b"HTTP/1.1 500 ") and b"set-cookie" not in written


def test_no_handler_for_a_request_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk(Handlers(plain=lambda request: None))
    talk.send(GET)
    assert talk.statuses == [500]


# ---- Bodies that nobody reads


def test_a_small_unread_body_is_dropped_and_the_connection_kept(talk: Talk) -> None:
    talk.send(get("/1", "Content-Length: 5", method="POST") + b"GET /" + get("/2"))
    assert heard(talk.answers) == [answer("/1"), answer("/2")]


def test_a_large_unread_body_ends_the_connection_after_its_answer(talk: Talk) -> None:
    talk.send(get("/1", f"Content-Length: {DISCARD_MAX_BYTES + 1}", method="POST") + b"x" * 10)
    assert heard(talk.answers) == [answer("/1", "connection: close")]
    assert talk.transport.eof and not talk.transport.is_closing()
    talk.send(b"x" * LINGER_MAX_BYTES)
    assert not talk.transport.is_closing()
    talk.send(b"x")
    assert talk.transport.closed == "abort"


def test_an_unread_chunked_body_is_dropped_up_to_a_bound(talk: Talk) -> None:
    talk.send(get("/1", "Transfer-Encoding: chunked", method="POST"))
    assert heard(talk.answers) == [answer("/1")]
    for _ in range(DISCARD_MAX_BYTES // 1024 + 1):
        talk.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert isinstance(talk.transport.protocol, Lingering)
    assert talk.answers == b""


def test_a_body_that_was_not_continued_ends_the_connection(talk: Talk) -> None:
    talk.send(get("/1", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    assert heard(talk.answers) == [answer("/1", "connection: close")]


# ---- Refusals


def test_a_refusal_comes_after_the_answers_before_it_and_nothing_after_it(talk: Talk) -> None:
    talk.send(get("/1") + b"GET /2 HTTP/1.1\r\n\r\n" + get("/3"))
    assert talk.statuses == [200, 400]
    assert talk.transport.eof and not talk.transport.is_closing()
    talk.send(get("/4"))
    assert talk.answers == b""
    talk.eof()
    talk.lose()
    assert not talk.state.guests


def test_a_refused_body_has_its_answer_already_and_gets_no_second_one(talk: Talk) -> None:
    talk.send(get("/1", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n")
    assert talk.statuses == [200]
    assert isinstance(talk.transport.protocol, Lingering)


def test_lingering_ends_with_the_client_or_with_time(talk: Talk) -> None:
    talk.send(b"bad\r\n\r\n")
    assert talk.statuses == [400]
    talk.later(4)
    assert not talk.transport.is_closing()
    talk.later(3)
    assert talk.transport.closed == "abort"


def test_where_a_half_close_cannot_be_lingering_only_reads() -> None:
    talk = Talk(Handlers(plain=path_of), transport=FakeTransport(can_write_eof=False))
    talk.send(b"bad\r\n\r\n")
    assert talk.statuses == [400]
    assert not talk.transport.eof and not talk.transport.is_closing()
    assert talk.eof() is False


# ---- Half-closed clients


def test_a_client_that_shuts_down_sending_is_done_once_it_is_answered(talk: Talk) -> None:
    talk.send(get("/1"))
    assert heard(talk.answers) == [answer("/1")]
    talk.eof()
    assert talk.transport.closed == "close"


def test_an_end_in_the_middle_of_a_head_is_refused(talk: Talk) -> None:
    talk.send(b"GET / HT")
    assert talk.eof() is False
    assert talk.statuses == [400]
    assert talk.transport.closed == "close"


# ---- The cap


def test_a_connection_beyond_the_cap_is_told_to_come_back() -> None:
    talk = Talk(Handlers(plain=path_of), Settings(limits=Limits(connections_max=0)))
    written = talk.answers
    assert written.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 1\r\n" in written
    assert talk.state.turned_away == 1 and talk.state.turning_away == 1
    talk.send(GET)
    assert talk.answers == b"" and talk.transport.eof
    talk.lose()
    assert talk.state.turning_away == 0 and not talk.state.guests


# ---- Whoever watches


def test_an_observer_hears_of_answers_and_refusals() -> None:
    told = []
    talk = Talk(
        Handlers(plain=path_of),
        observer=lambda request, peer, status, sent, took: told.append(
            (request and request.path, peer.client, status, sent, took >= 0)
        ),
    )
    talk.send(get("/1"))
    first = len(talk.answers)
    talk.send(b"bad\r\n\r\n")
    client = ("192.0.2.1", 1111)
    assert told == [
        (b"/1", client, 200, first, True),
        (None, client, 400, len(talk.answers), True),
    ]
