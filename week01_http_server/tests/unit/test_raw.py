"""Level 1's parsing and writing, without a socket."""

from __future__ import annotations

import h11
import pytest

from week01_http_server.raw import BadRequest, parse, response


def test_a_get_is_three_words_and_headers() -> None:
    head = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Two:\t words here \r\nEmpty:"
    assert parse(head) == (
        "GET",
        "/a?b=c",
        "HTTP/1.1",
        {"host": "x", "x-two": "words here", "empty": ""},
    )


def test_http_1_0_needs_no_host() -> None:
    assert parse(b"HEAD / HTTP/1.0") == ("HEAD", "/", "HTTP/1.0", {})


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1\r\nHost: x", 400),
        (b"GET x HTTP/1.1\r\nHost: x", 400),
        (b"GET / HTTP/2.0\r\nHost: x", 505),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost : x", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon", 400),
        (b"POST / HTTP/1.1\r\nHost: x", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked", 501),
    ],
)
def test_what_it_cannot_answer_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(head)
    assert refused.value.status == status


@pytest.mark.parametrize("keep", [True, False])
def test_another_implementation_reads_the_answer(keep: bool) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(response(200, "wörds\n", keep=keep))
    head, body, end = client.next_event(), client.next_event(), client.next_event()
    assert isinstance(head, h11.Response) and isinstance(body, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    assert (head.status_code, bytes(body.data)) == (200, "wörds\n".encode())
    assert (client.their_state is h11.DONE) is keep


def test_a_head_only_answer_names_the_length_and_has_no_body() -> None:
    whole = response(200, "1234", keep=True)
    assert response(200, "1234", keep=True, head_only=True) == whole.removesuffix(b"1234")
    assert b"Content-Length: 4\r\n" in whole
