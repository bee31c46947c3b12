"""Answers as bytes: framing, persistence, chunks, and no way to split one."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from week01_http_server.http1 import responses
from week01_http_server.http1.ready import ReadyAnswers
from week01_http_server.http1.responses import CHUNKED, NO_BODY, UNTIL_CLOSE
from week01_http_server.messages import Headers, Refusal

DATE = b"Sat, 21 Nov 2026 10:00:00 GMT"


def head(
    status: int = 200,
    headers: Headers = (),
    *,
    request_version: str = "1.1",
    keep_alive: bool = True,
    framing: int = 0,
) -> bytes:
    return responses.head_bytes(
        status,
        headers,
        request_version=request_version,
        keep_alive=keep_alive,
        framing=framing,
        date=DATE,
        server=b"lab",
    )


def plan(
    status: int = 200,
    headers: Headers = (),
    *,
    method: str = "GET",
    request_version: str = "1.1",
    keep_alive: bool = True,
    body_length: int | None = None,
) -> tuple[int, bool]:
    return responses.plan(
        status,
        headers,
        method=method,
        request_version=request_version,
        keep_alive=keep_alive,
        body_length=body_length,
    )


def test_a_head_has_everything_once() -> None:
    assert head(200, [(b"content-type", b"text/plain")], framing=5) == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n"
        b"date: " + DATE + b"\r\nserver: lab\r\n\r\n"
    )


def test_a_handler_may_replace_date_and_server() -> None:
    made = head(headers=[(b"date", b"then"), (b"Server", b"mine")])
    assert made.lower().count(b"\r\ndate:") == made.lower().count(b"\r\nserver:") == 1
    assert b"date: then\r\n" in made and b"Server: mine\r\n" in made


@pytest.mark.parametrize(
    ("framing", "line"),
    [
        (0, b"content-length: 0"),
        (7, b"content-length: 7"),
        (CHUNKED, b"transfer-encoding: chunked"),
    ],
)
def test_framing_is_written_here_alone(framing: int, line: bytes) -> None:
    own = [(b"content-length", b"9"), (b"Transfer-Encoding", b"gzip"), (b"Content-Length", b"1")]
    lines = head(headers=own, framing=framing).split(b"\r\n")
    framed = [each for each in lines if each.lower().startswith((b"content-l", b"transfer-e"))]
    assert framed == [line]


@pytest.mark.parametrize("framing", [NO_BODY, UNTIL_CLOSE])
def test_without_a_length_none_is_written(framing: int) -> None:
    made = head(framing=framing)
    assert b"content-length" not in made and b"transfer-encoding" not in made


@pytest.mark.parametrize(
    ("version", "keep_alive", "line"),
    [
        ("1.1", True, b""),
        ("1.1", False, b"connection: close\r\n"),
        ("1.0", True, b"connection: keep-alive\r\n"),
        ("1.0", False, b"connection: close\r\n"),
    ],
)
def test_connection_says_what_will_happen(version: str, keep_alive: bool, line: bytes) -> None:
    made = head(request_version=version, keep_alive=keep_alive)
    assert made.endswith(b"server: lab\r\n" + line + b"\r\n")


def test_a_body_until_close_says_close() -> None:
    assert b"connection: close\r\n" in head(request_version="1.0", framing=UNTIL_CLOSE)


def test_other_connection_options_are_kept() -> None:
    made = head(101, [(b"connection", b"Upgrade, keep-alive"), (b"upgrade", b"websocket")])
    assert b"connection: upgrade\r\nupgrade: websocket\r\n" in made
    assert b"connection" not in head(headers=[(b"connection", b"close")])


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, b"200 OK"), (404, b"404 Not Found"), (431, b"431 Request Header Fields Too Large"),
     (299, b"299 "), (999, b"999 ")],
)  # fmt: skip
def test_a_status_without_a_phrase_keeps_its_space(status: int, line: bytes) -> None:
    assert head(status).startswith(b"HTTP/1.1 " + line + b"\r\n")


@pytest.mark.parametrize("status", [-1, 0, 99, 1000])
def test_an_impossible_status_is_an_error(status: int) -> None:
    with pytest.raises(ValueError, match="100 to 999"):
        head(status)


BROKEN: list[tuple[bytes, bytes]] = [
    (b"x", b"a\r\nset-cookie: b=c"),
    (b"x", b"a\nb"),
    (b"x", b"a\rb"),
    (b"x", b"a\0b"),
    (b"content-type", b"text/html\r\n\r\n<html>"),
    (b"content-type", b"\x7f"),
    (b"location", b"/\r\nx: y"),
    (b"content-length", b"1\r\nx: y"),
    (b"connection", b"close\r\nx: y"),
    (b"x\r\ny", b"z"),
    (b"x: y\r\nz", b"z"),
    (b"x y", b"z"),
    (b"x:", b"z"),
    (b"", b"z"),
]


@pytest.mark.parametrize("field", BROKEN)
def test_a_field_that_would_split_the_answer_is_an_error(field: tuple[bytes, bytes]) -> None:
    for _ in range(2):  # also once something could have been remembered
        with pytest.raises(ValueError, match="field"):
            head(headers=[(b"content-type", b"text/plain"), field])
        with pytest.raises(ValueError, match="field"):
            responses.interim_bytes(103, [field])
        with pytest.raises(ValueError, match="field"):
            responses.last_chunk([field])


@given(
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4),
    st.sampled_from([0, 5, CHUNKED, NO_BODY]),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_fields_a_head_is_one_head_or_an_error(
    headers: list[tuple[bytes, bytes]], framing: int
) -> None:
    try:
        made = head(200, headers, framing=framing)
    except ValueError:
        return
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(made)
    answer = client.next_event()
    assert isinstance(answer, h11.Response) and answer.status_code == 200
    assert made.find(b"\r\n\r\n") == len(made) - 4
    assert made.count(b"\n") == made.count(b"\r") == made.count(b"\r\n")


@pytest.mark.parametrize(
    ("arguments", "planned"),
    [
        ({"body_length": 5}, (5, True)),
        ({"body_length": 5, "headers": [(b"content-length", b"5")]}, (5, True)),
        ({"headers": [(b"content-length", b"5")]}, (5, True)),
        ({}, (CHUNKED, True)),
        ({"keep_alive": False}, (CHUNKED, False)),
        ({"request_version": "1.0"}, (UNTIL_CLOSE, False)),
        ({"request_version": "1.0", "body_length": 5}, (5, True)),
        ({"body_length": 5, "headers": [(b"connection", b"x, Close")]}, (5, False)),
        ({"status": 204, "body_length": 0}, (NO_BODY, True)),
        ({"status": 204, "headers": [(b"content-length", b"5")]}, (NO_BODY, True)),
        ({"status": 101}, (NO_BODY, True)),
        ({"status": 304}, (NO_BODY, True)),
        ({"status": 304, "body_length": 0}, (NO_BODY, True)),
        ({"status": 304, "headers": [(b"content-length", b"5")]}, (5, True)),
        ({"method": "HEAD"}, (NO_BODY, True)),
        ({"method": "HEAD", "request_version": "1.0"}, (NO_BODY, True)),
        ({"method": "HEAD", "body_length": 5}, (5, True)),
        ({"method": "HEAD", "body_length": 0, "headers": [(b"content-length", b"5")]}, (5, True)),
    ],
)
def test_framing_follows_method_status_and_length(
    arguments: dict[str, object], planned: tuple[int, bool]
) -> None:
    assert plan(**arguments) == planned  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"4")],
        [(b"content-length", b"5"), (b"content-length", b"5")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"5 ")],
        [(b"content-length", b"")],
    ],
)
def test_a_length_that_is_not_the_bodys_is_an_error(headers: Headers) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        plan(headers=headers, body_length=5)


def test_who_has_no_body() -> None:
    assert responses.is_bodiless("HEAD", 200)
    assert all(responses.is_bodiless("GET", status) for status in (100, 101, 103, 204, 304))
    assert not any(responses.is_bodiless("GET", status) for status in (200, 205, 302, 404, 500))


def test_chunks_and_trailers_are_read_back_by_h11() -> None:
    made = (
        head(framing=CHUNKED)
        + responses.chunk(b"a" * 26)
        + responses.chunk(b"")
        + responses.chunk(b"b")
        + responses.last_chunk([(b"x-sum", b"1")])
    )
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(made)
    assert isinstance(client.next_event(), h11.Response)
    body, event = b"", client.next_event()
    while isinstance(event, h11.Data):
        body += bytes(event.data)
        event = client.next_event()
    assert body == b"a" * 26 + b"b"
    assert isinstance(event, h11.EndOfMessage)
    assert list(event.headers) == [(b"x-sum", b"1")]


def test_an_empty_chunk_does_not_end_the_body() -> None:
    assert responses.chunk(b"") == b""
    assert responses.last_chunk() == b"0\r\n\r\n"


@pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding", b"host", b"set-cookie"])
def test_a_forbidden_trailer_is_an_error(name: bytes) -> None:
    with pytest.raises(ValueError, match="trailer"):
        responses.last_chunk([(name, b"1")])


def test_a_refusal_is_a_whole_answer_that_closes() -> None:
    made = responses.refusal_bytes(
        Refusal(503, "no room"), date=DATE, headers=[(b"retry-after", b"1")]
    )
    start, _, body = made.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert body == b"no room\n"
    assert b"content-length: 8" in start and b"retry-after: 1" in start
    assert b"connection: close" in start and b"content-type: text/plain" in start


def test_interim_answers_have_no_framing() -> None:
    assert responses.interim_bytes(103, [(b"link", b"</a>")]) == (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    )
    assert responses.CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"
    for status in (101, 200):
        with pytest.raises(ValueError, match="interim"):
            responses.interim_bytes(status, [])


def test_many_different_fields_are_all_written_right() -> None:
    for number in range(1000):
        value = b"text/x-%d" % number
        assert b"content-type: " + value + b"\r\n" in head(headers=[(b"content-type", value)])


def ready(status: int, headers: Headers, body: bytes = b"hello") -> bytes | None:
    return ReadyAnswers(b"lab").write(status, headers, body, DATE)


def parts(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status line, sorted field lines and body."""
    start, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = start.split(b"\r\n")
    return line, sorted(lines), body


@pytest.mark.parametrize("status", [200, 201, 206, 302, 404, 500, 299])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"a/b")],
        [(b"x", b"1"), (b"y", b"2"), (b"x", b"3")],
        [(b"content-length", b"5"), (b"content-type", b"a/b")],
    ],
)
def test_a_ready_answer_says_what_a_planned_one_does(status: int, headers: Headers) -> None:
    for _ in range(2):
        made = ready(status, headers)
        assert made is not None
        assert parts(made) == parts(head(status, headers, framing=5) + b"hello")


@pytest.mark.parametrize("status", [100, 101, 103, 204, 304, 99, 1000, -1])
def test_a_status_without_body_is_never_ready(status: int) -> None:
    assert ready(status, [], b"") is None


@pytest.mark.parametrize(
    "name", [b"connection", b"Content-Length", b"date", b"SERVER", b"transfer-encoding"]
)
def test_a_field_that_decides_is_never_ready(name: bytes) -> None:
    assert ready(200, [(b"x", b"y"), (name, b"1")]) is None


@pytest.mark.parametrize("field", [each for each in BROKEN if each[0] != b"content-length"])
def test_a_ready_answer_cannot_be_split_either(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="field"):
        ready(200, [field])


def test_a_wrong_length_is_never_ready() -> None:
    for value in (b"4", b"05", b"+5", b"5\r\nx: y", b""):
        assert ready(200, [(b"content-length", value)]) is None


def test_a_new_second_has_a_new_date() -> None:
    answers = ReadyAnswers(b"lab")
    for date in (DATE, DATE.replace(b":00 ", b":01 ")):
        made = answers.write(200, [], b"", date)
        assert made is not None and b"date: " + date + b"\r\n" in made
