"""Who has connected just before a server drains is served: reloads lose no connection."""

import socket
from typing import Any

from week01_http_server.handlers import Handlers
from week01_http_server.messages import Request, Response
from week01_http_server.protocol import HttpProtocol
from week01_http_server.tests.wires import FakeTransport, Talk
from week01_http_server.transport.proxy_protocol import ProxyPreface

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
PREFACE = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n"


def hello(_request: Request) -> Response:
    return Response(200, body=b"hello")


def retire(talk: Talk) -> None:
    talk.state.stop()
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


def test_a_client_that_has_just_connected_has_the_time_of_a_head_to_ask() -> None:
    talk = Talk(Handlers(plain=hello))
    talk.later(2)
    retire(talk)
    talk.later(5)
    talk.send(GET)
    assert talk.statuses == [200]
    talk = Talk(Handlers(plain=hello))
    retire(talk)
    talk.later(30)
    assert talk.transport.is_closing()


def test_a_client_accepted_in_the_last_turn_before_the_drain_may_ask() -> None:
    talk = Talk(Handlers(plain=hello))
    talk.state.stop()
    transport = FakeTransport()
    transport.protocol = HttpProtocol(talk.state)
    transport.protocol.connection_made(transport)
    retire(talk)
    assert not transport.is_closing()
    transport.protocol.data_received(GET)
    assert b"".join(transport.written).startswith(b"HTTP/1.1 200 ")


class Unread(FakeTransport):
    """The client's request has arrived, and the loop has not come to read it."""

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = socket.socketpair()
        self.theirs.sendall(GET)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.ours if name == "socket" else super().get_extra_info(name, default)

    def read(self) -> bytes:
        return self.ours.recv(4096)


def test_a_request_that_waits_to_be_read_is_not_cut_off() -> None:
    transport = Unread()
    with transport.ours, transport.theirs:
        talk = Talk(Handlers(plain=hello), transport=transport)
        talk.send(GET)
        assert talk.statuses == [200]
        talk.later(5)
        retire(talk)  # quiet for long, it seems
        talk.later(5)
        assert not transport.is_closing()
        talk.send(transport.read())
        answer = talk.answers
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer


def test_a_proxy_that_has_just_connected_may_still_send_its_header_and_ask() -> None:
    talk = Talk(Handlers(plain=hello), preface=lambda peer: ProxyPreface())
    retire(talk)
    talk.send(PREFACE + GET)
    assert talk.statuses == [200]
    talk = Talk(Handlers(plain=hello), preface=lambda peer: ProxyPreface())
    retire(talk)
    talk.later(2)
    assert talk.transport.closed == "abort"
