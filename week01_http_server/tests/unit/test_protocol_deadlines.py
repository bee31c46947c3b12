"""Deadlines and drain, with a clock moved by hand and a transport that only remembers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from week01_http_server.deadlines import (
    NEVER,
    TICK_MAX_S,
    TICK_MIN_S,
    Clock,
    Timer,
    tick_of,
)
from week01_http_server.exchange import Exchange
from week01_http_server.handlers import Handlers
from week01_http_server.messages import Request, Response
from week01_http_server.phases import Lingering
from week01_http_server.server import Server
from week01_http_server.settings import Deadlines, Settings
from week01_http_server.tests.wires import WALL, Talk, turns
from week01_http_server.transport.proxy_protocol import ProxyPreface

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
DEADLINES = Deadlines(head_s=10, body_s=20, idle_s=40, write_s=30, preface_s=5)


def hello(request: Request) -> Response:
    return Response(200)


def plain_talk(deadlines: Deadlines = DEADLINES) -> Talk:
    return Talk(Handlers(plain=hello), Settings(deadlines=deadlines))


def streaming(
    handler: Callable[[Exchange], Awaitable[None]],
    conversation: Callable[[Talk], Awaitable[None]],
) -> None:
    async def main() -> None:
        talk = Talk(Handlers(stream=handler), Settings(deadlines=DEADLINES))
        await conversation(talk)
        talk.lose()
        await turns()
        assert not talk.state.exchanges and not talk.state.guests

    asyncio.run(main())


# ---- The clock


def test_a_deadline_never_strikes_early_and_at_most_two_ticks_late() -> None:
    clock = Clock(DEADLINES, 100.0, WALL)
    began_at = 100.0 + clock.tick_s  # the latest moment that is served by this tick
    assert began_at + DEADLINES.head_s <= clock.head_due <= 100.0 + DEADLINES.head_s + clock.tick_s


def test_deadlines_that_are_off_never_strike() -> None:
    clock = Clock(Deadlines(head_s=0, body_s=0, idle_s=0, write_s=0, preface_s=0), 0.0, WALL)
    assert {clock.head_due, clock.body_due, clock.idle_due, clock.write_due} == {NEVER}
    assert clock.tick_s == TICK_MAX_S


def test_ticks_are_as_fine_as_the_shortest_deadline_needs() -> None:
    assert tick_of(Deadlines()) == TICK_MAX_S
    assert tick_of(Deadlines(body_s=0.4)) == pytest.approx(0.05)
    assert tick_of(Deadlines(body_s=0.001)) == TICK_MIN_S


class HandLoop:
    """An event loop's clock and its one timer, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.timer = self.now + delay_s, callback

    def run(self, late_s: float = 0.0) -> None:
        assert self.timer is not None
        due_at, callback = self.timer
        self.now = due_at + late_s
        callback()


class Patient:
    """Counts how often it was told that it is due."""

    due_at = 1.0
    told = 0

    def expire(self) -> None:
        self.told += 1


def test_a_loop_that_was_held_up_reads_before_it_judges() -> None:
    loop, patient = HandLoop(), Patient()
    clock = Clock(DEADLINES, loop.now, WALL)
    timer = Timer(cast("asyncio.AbstractEventLoop", loop), clock, [patient])
    timer.start()
    loop.run(late_s=10)
    assert patient.told == 0 and clock.now > 10
    loop.run()
    assert patient.told == 1
    loop.run(late_s=10)
    loop.run(late_s=10)  # always late: deadlines must strike all the same
    assert patient.told == 2


# ---- Heads


def test_a_head_that_dribbles_in_is_refused_408_however_busy_the_client_looks() -> None:
    talk = plain_talk()
    for byte in b"GET / HT":
        talk.send(bytes([byte]))
        talk.later(1.2)
    assert talk.answers == b""
    talk.send(b"T")
    talk.later(2)
    assert talk.statuses == [408]
    assert isinstance(talk.transport.protocol, Lingering)


def test_a_client_that_never_sends_a_byte_is_told_408() -> None:
    talk = plain_talk()
    talk.later(9.9)
    assert talk.answers == b""
    talk.later(1.2)
    assert talk.statuses == [408]


def test_the_head_behind_an_answered_request_has_a_deadline_of_its_own() -> None:
    talk = plain_talk()
    talk.send(b"GET /")
    talk.later(8)
    talk.send(b" HTTP/1.1\r\nHost: a\r\n\r\nGET /")
    assert talk.statuses == [200]
    talk.later(8)
    assert talk.answers == b""
    talk.later(4)
    assert talk.statuses == [408]


def test_an_idle_connection_is_closed_without_a_word() -> None:
    talk = plain_talk()
    talk.send(GET)
    assert talk.statuses == [200]
    talk.later(39)
    talk.send(GET)
    assert talk.statuses == [200]
    talk.later(39)
    assert not talk.transport.is_closing()
    talk.later(3)
    assert talk.answers == b"" and talk.transport.closed == "close"


def test_without_deadlines_a_client_may_take_for_ever() -> None:
    talk = plain_talk(Deadlines(head_s=0, body_s=0, idle_s=0, write_s=0))
    talk.send(GET)
    talk.later(500)
    talk.send(b"G")
    talk.later(500)
    assert talk.statuses == [200] and not talk.transport.is_closing()


# ---- Bodies


def test_a_body_that_stalls_is_refused_408_and_its_handler_ended() -> None:
    async def read(exchange: Exchange) -> None:
        while await exchange.read():
            pass

    async def conversation(talk: Talk) -> None:
        talk.send(POST)
        await turns()
        talk.later(19)
        talk.send(b"a")  # a byte in time is enough
        await turns()
        talk.later(19)
        assert talk.answers == b""
        talk.later(2)
        assert talk.statuses == [408]
        await turns()
        assert not talk.state.exchanges

    streaming(read, conversation)


def test_a_body_that_stalls_behind_the_beginning_of_its_answer_costs_the_connection() -> None:
    async def begin(exchange: Exchange) -> None:
        exchange.start(200, [(b"connection", b"close")])
        await exchange.write(b"some")
        await exchange.read()

    async def conversation(talk: Talk) -> None:
        talk.send(POST)
        await turns()
        talk.later(19)
        assert not talk.transport.is_closing()
        talk.later(2)
        assert talk.transport.closed == "abort"

    streaming(begin, conversation)


def test_a_handler_may_take_its_time_before_it_reads() -> None:
    go = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await go.wait()
        exchange.start(200, [])
        exchange.end()

    async def conversation(talk: Talk) -> None:
        talk.send(POST)
        await turns()
        talk.later(1000)
        assert not talk.transport.is_closing() and talk.answers == b""
        go.set()
        await turns()
        assert talk.statuses == [200]

    streaming(wait, conversation)


def test_a_body_that_is_only_dropped_must_come_to_its_end_in_time() -> None:
    talk = plain_talk()
    talk.send(POST)
    assert talk.statuses == [200]
    for _ in range(5):
        talk.later(4.5)
        talk.send(b"x")
    assert isinstance(talk.transport.protocol, Lingering)


# ---- Clients that do not take their answers


def test_a_client_that_takes_nothing_is_reset() -> None:
    talk = plain_talk()
    talk.send(GET)
    talk.block(unsent=100_000)
    talk.later(29)
    assert not talk.transport.is_closing()
    talk.later(3)
    assert talk.transport.closed == "abort"


def test_a_client_that_takes_little_is_waited_for() -> None:
    talk = plain_talk()
    talk.send(GET)
    talk.block(unsent=100_000)
    for _ in range(10):
        talk.transport.unsent -= 1
        talk.later(31)
    assert not talk.transport.is_closing()
    talk.later(62)
    assert talk.transport.closed == "abort"


def test_an_idle_client_that_never_took_its_answer_is_reset() -> None:
    talk = plain_talk()
    talk.send(GET)
    talk.transport.unsent = 10
    talk.later(42)
    talk.transport.unsent = 9  # it takes a little
    talk.later(32)
    assert not talk.transport.is_closing()
    talk.send(GET)  # and even asks for more
    talk.later(60)
    assert not talk.transport.is_closing()
    talk.later(32)
    assert talk.transport.closed == "abort"


def test_a_close_that_cannot_be_completed_ends_in_a_reset() -> None:
    talk = plain_talk()
    talk.send(b"GET / HTTP/1.0\r\n\r\n")
    talk.transport.unsent = 10
    assert talk.transport.closed == "close"
    talk.later(70)
    assert talk.transport.closed == "abort"


# ---- The PROXY header


def test_a_proxy_header_is_taken_off_and_believed() -> None:
    talk = Talk(
        Handlers(plain=lambda request: Response(200)),
        Settings(deadlines=DEADLINES),
        preface=lambda peer: ProxyPreface(),
        observer=lambda request, peer, *rest: seen.append((peer.client, peer.server)),
    )
    seen: list[object] = []
    talk.send(b"PROXY TCP4 198.51.100.1 198.51.", b"100.2 1234 80\r\n" + GET[:5], GET[5:])
    assert talk.statuses == [200]
    assert seen == [(("198.51.100.1", 1234), ("198.51.100.2", 80))]


@pytest.mark.parametrize("sent", [b"PROXY TCP4 1", b""])
def test_a_proxy_header_that_does_not_come_costs_the_connection(sent: bytes) -> None:
    talk = Talk(
        Handlers(plain=hello), Settings(deadlines=DEADLINES), preface=lambda peer: ProxyPreface()
    )
    talk.send(sent)
    talk.later(4.9)
    assert not talk.transport.is_closing()
    talk.later(1)
    assert talk.transport.closed == "abort" and talk.answers == b""


def test_what_is_no_proxy_header_or_from_an_unknown_peer_is_cut() -> None:
    talk = Talk(Handlers(plain=hello), preface=lambda peer: ProxyPreface())
    talk.send(GET)
    assert talk.transport.closed == "abort" and talk.answers == b""
    talk = Talk(Handlers(plain=hello), preface=lambda peer: None)
    assert talk.transport.closed == "abort"


def test_a_proxy_header_before_tls_is_refused_at_the_start() -> None:
    server = Server(Settings(), Handlers(plain=hello), preface=lambda peer: ProxyPreface())
    with pytest.raises(ValueError, match="PROXY"):
        asyncio.run(server.start([], ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)))


# ---- Drain


def retire(talk: Talk) -> None:
    talk.state.stop()
    for guest in tuple(talk.state.guests):
        guest.retire()
    talk.clock.hurry()


def test_a_quiet_connection_is_let_go_at_once() -> None:
    talk = plain_talk()
    talk.send(GET)
    talk.later(5)
    retire(talk)
    assert talk.transport.closed == "close"


def test_a_client_that_was_just_served_may_send_what_is_on_its_way() -> None:
    talk = plain_talk()
    talk.send(GET)
    assert talk.statuses == [200]
    retire(talk)
    talk.send(GET)
    assert b"\r\nconnection: close\r\n" in talk.answers
    assert isinstance(talk.transport.protocol, Lingering)
    talk = plain_talk()
    talk.send(GET)
    retire(talk)
    talk.later(2)
    assert talk.transport.closed == "close"


def test_what_is_begun_is_finished_and_says_that_it_is_the_last() -> None:
    go = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await go.wait()
        exchange.start(200, [])
        exchange.end()

    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        retire(talk)
        assert not talk.transport.is_closing()
        go.set()
        await turns()
        assert b"\r\nconnection: close\r\n" in talk.answers
        assert isinstance(talk.transport.protocol, Lingering)

    streaming(wait, conversation)


def test_an_answer_that_promised_to_go_on_before_the_drain_does_not_hold_it_up() -> None:
    go = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(b"some")
        await go.wait()
        exchange.end()

    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        retire(talk)
        go.set()
        await turns()
        assert talk.answers.endswith(b"0\r\n\r\n") and not talk.transport.is_closing()
        talk.later(2)
        assert talk.transport.closed == "close"

    streaming(wait, conversation)


def test_a_head_that_has_begun_is_still_answered() -> None:
    talk = plain_talk()
    talk.send(GET[:5])
    talk.later(5)
    retire(talk)
    talk.send(GET[5:])
    assert b"\r\nconnection: close\r\n" in talk.answers
