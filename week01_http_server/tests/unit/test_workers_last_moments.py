"""Who has connected just before a server drains is served: reloads lose no connection."""

from week01_http_server.handlers import Handlers
from week01_http_server.messages import Request, Response
from week01_http_server.tests.wires import Talk
from week01_http_server.transport.proxy_protocol import ProxyPreface

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
PREFACE = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n"


def hello(_request: Request) -> Response:
    return Response(200, body=b"hello")


def retire(talk: Talk) -> None:
    talk.state.draining = True
    for guest in tuple(talk.state.guests):
        guest.retire()


def test_a_client_that_has_just_connected_may_still_ask() -> None:
    talk = Talk(Handlers(plain=hello))
    retire(talk)
    assert not talk.transport.is_closing()
    talk.send(GET)
    answer = talk.answers
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_a_client_that_connected_long_ago_and_never_asked_is_let_go() -> None:
    talk = Talk(Handlers(plain=hello))
    talk.later(5)
    retire(talk)
    assert talk.transport.closed == "close"


def test_a_client_that_has_just_connected_and_does_not_ask_is_let_go_soon() -> None:
    talk = Talk(Handlers(plain=hello))
    retire(talk)
    talk.later(10)
    assert talk.transport.is_closing()


def test_a_proxy_that_has_just_connected_may_still_send_its_header_and_ask() -> None:
    talk = Talk(Handlers(plain=hello), preface=lambda peer: ProxyPreface())
    retire(talk)
    talk.send(PREFACE + GET)
    assert talk.statuses == [200]
    talk = Talk(Handlers(plain=hello), preface=lambda peer: ProxyPreface())
    retire(talk)
    talk.later(2)
    assert talk.transport.closed == "abort"
