"""Handlers that wait and stream, on a connection without a socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from week01_http_server.exchange import AnswerBroken, Exchange
from week01_http_server.handlers import Handlers, StreamHandler
from week01_http_server.messages import ClientGone, Response
from week01_http_server.phases import Lingering
from week01_http_server.settings import Limits, Settings
from week01_http_server.tests.wires import Talk, turns

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_10 = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"


def talking(
    handler: StreamHandler, settings: Settings | None = None
) -> Callable[[Callable[[Talk], Awaitable[None]]], None]:
    """Run a conversation with a server of this handler."""

    def run(conversation: Callable[[Talk], Awaitable[None]]) -> None:
        async def main() -> None:
            talk = Talk(Handlers(stream=handler), settings)
            await conversation(talk)
            talk.lose()
            await turns()
            assert not talk.state.exchanges and not talk.state.guests

        asyncio.run(main())

    return run


async def echo(exchange: Exchange) -> None:
    """The body as it came, after all of it was read."""
    parts = []
    while piece := await exchange.read():
        parts.append(piece)
    exchange.start(200, [])
    await exchange.write(b"".join(parts), end=True)


def split(answers: bytes) -> tuple[bytes, bytes]:
    head, _, body = answers.partition(b"\r\n\r\n")
    return head + b"\r\n", body


# ---- Framing


def test_a_body_written_at_once_gets_its_length() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(b"hello", end=True)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert len(talk.transport.written) == 1
        head, body = split(talk.answers)
        assert b"\r\ncontent-length: 5\r\n" in head and body == b"hello"


def test_a_body_in_pieces_is_chunked_and_may_have_trailers() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(b"one")
        await exchange.write(b"")  # no chunk, which would end the body
        await exchange.write(b"x" * 17)
        exchange.end([(b"checksum", b"1")])

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET + GET)
        await turns()
        head, body = split(talk.answers)
        assert b"\r\ntransfer-encoding: chunked\r\n" in head
        chunks = b"3\r\none\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\nchecksum: 1\r\n\r\n"
        assert body == chunks + head + b"\r\n" + chunks


def test_trailers_alone_make_an_answer_chunked() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        exchange.end([(b"checksum", b"1")])

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert split(talk.answers)[1] == b"0\r\nchecksum: 1\r\n\r\n"


def test_for_http_10_a_body_of_unknown_length_ends_with_the_connection() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(b"one")
        await exchange.write(b"two", end=True)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET_10)
        await turns()
        head, body = split(talk.answers)
        assert b"content-length" not in head and b"transfer-encoding" not in head
        assert b"\r\nconnection: close\r\n" in head and body == b"onetwo"
        assert talk.transport.eof or talk.transport.closed == "close"


@pytest.mark.parametrize("length", [None, b"5"])
def test_head_gets_the_head_alone(length: bytes | None) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [] if length is None else [(b"content-length", length)])
        await exchange.write(b"he")
        await exchange.write(b"llo", end=True)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(HEAD + GET)
        await turns()
        head, rest = split(talk.answers)
        assert rest.startswith(b"HTTP/1.1 200")
        assert (b"\r\ncontent-length: 5\r\n" in head) == (length is not None)


def test_an_empty_write_sends_the_head_alone() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(b"")
        await exchange.gone()

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert split(talk.answers)[0].startswith(b"HTTP/1.1 200")


# ---- Broken answers


@pytest.mark.parametrize("pieces", [[b"1234"], [b"123", b"456"], [b"123456"], [b""]])
def test_an_answer_of_another_length_than_announced_cuts_the_connection(
    pieces: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"5")])
        for piece in pieces:
            await exchange.write(piece)
        exchange.end()

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert talk.transport.closed == "abort"
        assert len(split(talk.answers)[1]) <= 5
        assert "Content-Length" in caplog.text


@pytest.mark.parametrize("begin", [False, True])
def test_a_handler_that_raises_or_returns_early(
    begin: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(exchange: Exchange) -> None:
        if begin:
            exchange.start(200, [])
            await exchange.write(b"some")
        raise RuntimeError("secret detail")

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        written = talk.answers
        assert b"secret" not in written and "secret detail" in caplog.text
        if begin:
            assert talk.transport.closed == "abort"
        else:
            assert written.startswith(b"HTTP/1.1 500 ") and not talk.transport.is_closing()
            talk.send(GET)
            await turns()
            assert talk.statuses == [500]


def test_a_handler_without_an_answer_is_a_500() -> None:
    async def handler(exchange: Exchange) -> None:
        """Forgets to answer."""

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert talk.statuses == [500]


def test_answers_out_of_order_are_errors_of_the_handler() -> None:
    async def handler(exchange: Exchange) -> None:
        with pytest.raises(AnswerBroken):
            exchange.write_now(b"early")
        with pytest.raises(AnswerBroken):
            exchange.end([(b"a", b"b")])
        exchange.start(200, [])
        with pytest.raises(AnswerBroken):
            exchange.start(200, [])
        exchange.end()
        with pytest.raises(AnswerBroken):
            exchange.end()

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert talk.statuses == [200] and not talk.transport.is_closing()


# ---- The request's body


@pytest.mark.parametrize(
    "request_bytes", [POST + b"abcdef", CHUNKED + b"3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\nt: 1\r\n\r\n"]
)
def test_a_body_arrives_whole_in_any_pieces(request_bytes: bytes) -> None:
    @talking(echo)
    async def conversation(talk: Talk) -> None:
        for at in range(1, len(request_bytes)):
            talk.send(request_bytes[:at])
            await turns(3)
            talk.send(request_bytes[at:])
            await turns(5)
            assert split(talk.answers)[1] == b"abcdef"


def test_trailers_of_a_request_are_there_after_its_end() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handler(exchange: Exchange) -> None:
        await echo(exchange)
        seen.extend(exchange.trailers)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(CHUNKED + b"0\r\nt: 1\r\n\r\n")
        await turns()
        assert seen == [(b"t", b"1")]


def test_100_continue_is_sent_when_the_body_is_wanted_and_only_then() -> None:
    go = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await go.wait()
        await echo(exchange)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(EXPECT)
        await turns()
        assert talk.answers == b""
        go.set()
        await turns()
        assert talk.answers == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.send(b"abc", b"def")
        await turns()
        head, body = split(talk.answers)
        assert body == b"abcdef" and b"connection: close" not in head
        go.clear()
        talk.send(EXPECT + b"abcdef")  # it did not wait: no 100 is due
        go.set()
        await turns()
        assert talk.answers.startswith(b"HTTP/1.1 200 ")


def test_a_final_answer_instead_of_100_ends_the_connection() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(417, [])
        exchange.end()

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(EXPECT)
        await turns()
        assert b"connection: close" in talk.answers
        assert isinstance(talk.transport.protocol, Lingering)


def test_a_body_that_the_handler_does_not_read_stops_the_client() -> None:
    go = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await go.wait()
        await echo(exchange)

    limits = Limits(read_buffer_bytes=1000)

    @talking(handler, Settings(limits=limits))
    async def conversation(talk: Talk) -> None:
        talk.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n", b"x" * 1000)
        assert talk.transport.reading
        talk.send(b"x")
        assert not talk.transport.reading
        go.set()
        await turns()
        assert talk.transport.reading
        talk.send(b"x" * 1999)
        await turns()
        assert split(talk.answers)[1] == b"x" * 3000


def test_a_refused_body_ends_the_handler_and_is_answered() -> None:
    raised = []

    async def handler(exchange: Exchange) -> None:
        try:
            await echo(exchange)
        except ClientGone as error:
            raised.append(error)
            raise

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(CHUNKED + b"3\r\nabc\r\n")
        await turns()
        talk.send(b"nonsense\r\n")
        assert talk.statuses == [400]
        await turns()
        assert len(raised) == 1 and isinstance(talk.transport.protocol, Lingering)
        assert talk.answers == b""


def test_a_body_refused_after_the_answer_began_cuts_the_connection() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        await exchange.write(b"some")
        await exchange.read()
        await exchange.read()

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(CHUNKED + b"3\r\nabc\r\n")
        await turns()
        talk.send(b"nonsense\r\n")
        assert talk.transport.closed == "abort"


def test_the_rest_of_a_body_that_was_not_read_is_dropped() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        exchange.end()

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(POST + b"abc")
        await turns()
        talk.send(b"def" + GET)
        await turns()
        assert talk.statuses == [200, 200]


# ---- Order and pipelining


def test_requests_run_one_after_the_other_in_their_order() -> None:
    running: list[bytes] = []
    most = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal most
        running.append(exchange.request.path)
        most = max(most, len(running))
        await turns(3)
        running.remove(exchange.request.path)
        exchange.start(200, [])
        await exchange.write(exchange.request.path, end=True)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(b"".join(GET.replace(b"/ ", b"/%d " % number) for number in range(5)))
        await turns(40)
        bodies = [part.rsplit(b"\r\n", 1)[-1] for part in talk.answers.split(b"HTTP/1.1 200 OK")]
        assert bodies[1:] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
        assert most == 1


def test_reading_stops_at_pipeline_max_and_goes_on_below_it() -> None:
    go = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await go.wait()
        exchange.start(200, [])
        exchange.end()

    @talking(handler, Settings(limits=Limits(pipeline_max=2)))
    async def conversation(talk: Talk) -> None:
        talk.send(GET, GET)
        assert talk.transport.reading
        talk.send(GET)
        assert not talk.transport.reading
        go.set()
        await turns(30)
        assert talk.transport.reading and talk.statuses == [200] * 3


def test_one_read_full_of_requests_makes_few_exchanges_at_once() -> None:
    made = 0
    ended = 0

    class Counted(Exchange):
        def __init__(self, *args: object) -> None:
            nonlocal made
            made += 1
            super().__init__(*args)  # type: ignore[arg-type]

    async def handler(exchange: Exchange) -> None:
        nonlocal ended
        await turns(1)
        exchange.start(200, [])
        exchange.end()
        ended += 1
        assert made - ended < 1000

    async def main() -> None:
        talk = Talk(Handlers(stream=handler, exchange_type=Counted))
        talk.send(GET * 9000)
        assert made < 1000 and not talk.transport.reading
        while ended < 9000:
            await turns()
        assert talk.statuses == [200] * 9000 and talk.transport.reading

    asyncio.run(main())


def test_a_plain_handler_may_leave_a_request_to_the_stream_handler() -> None:
    async def main() -> None:
        talk = Talk(
            Handlers(
                plain=lambda request: Response(204) if request.path == b"/plain" else None,
                stream=echo,
            )
        )
        plain = GET.replace(b"/ ", b"/plain ")
        talk.send(plain + GET + plain + POST + b"abcdef" + plain)
        await turns(20)
        assert talk.statuses == [204, 200, 204, 200, 204]

    asyncio.run(main())


# ---- Clients that do not read, or leave


def test_a_handler_waits_while_the_client_takes_nothing() -> None:
    written = []

    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [])
        for number in range(3):
            await exchange.write(b"x")
            written.append(number)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        talk.block()
        await turns()
        assert written == []
        talk.unblock()
        await turns()
        assert written == [0, 1, 2]


def test_a_plain_handler_is_not_asked_while_the_client_takes_nothing() -> None:
    asked = []
    talk = Talk(
        Handlers(plain=lambda request: asked.append(request) or Response(200)),  # type: ignore[func-returns-value]
        Settings(limits=Limits(pipeline_max=4)),
    )
    talk.block()
    talk.send(GET * 3)
    assert asked == [] and talk.transport.reading
    talk.send(GET)
    assert not talk.transport.reading
    talk.unblock()
    assert len(asked) == 4 and talk.statuses == [200] * 4 and talk.transport.reading


@pytest.mark.parametrize("doing", ["read", "write", "gone"])
def test_a_handler_hears_that_the_client_is_gone(doing: str) -> None:
    heard = []

    async def handler(exchange: Exchange) -> None:
        try:
            if doing == "read":
                await exchange.read()
            elif doing == "gone":
                await exchange.gone()
                heard.append("gone")
            else:
                exchange.start(200, [])
                while True:
                    await exchange.write(b"x")
        except ClientGone:
            heard.append("gone")
            raise

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(POST)
        if doing == "write":
            talk.block()
        await turns()
        assert heard == []
        talk.lose()
        await turns()
        assert heard == ["gone"]


def test_a_half_closed_client_still_gets_its_answer() -> None:
    go = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await go.wait()
        await echo(exchange)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(POST + b"abcdef" + GET)
        assert talk.eof() is True
        await turns()
        assert not talk.transport.is_closing()
        go.set()
        await turns(20)
        answers = talk.answers
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        assert answers.count(b"connection: close") == 1
        assert talk.transport.closed == "close"


def test_an_end_in_the_middle_of_a_body_ends_the_handler() -> None:
    @talking(echo)
    async def conversation(talk: Talk) -> None:
        talk.send(POST + b"abc")
        await turns()
        talk.eof()
        await turns()
        assert talk.statuses == [400] and talk.transport.closed == "close"


# ---- Files, upgrades


def test_a_part_of_a_file_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 50_000)

    async def handler(exchange: Exchange) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            exchange.start(200, [(b"content-length", b"400000")])
            await exchange.send_file(descriptor, 5, 400_000)
            exchange.end()
        finally:
            os.close(descriptor)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert split(talk.answers)[1] == (b"0123456789" * 50_000)[5:400_005]


def test_a_file_that_shrinks_cuts_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")

    async def handler(exchange: Exchange) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            exchange.start(200, [(b"content-length", b"10")])
            await exchange.send_file(descriptor, 0, 10)
            exchange.end()
        finally:
            os.close(descriptor)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(GET)
        await turns()
        assert talk.transport.closed == "abort"


class Raw(asyncio.Protocol):
    """A protocol that says what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.heard.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost")

    def drain(self) -> None:
        self.heard.append("drain")


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


def test_an_upgraded_connection_belongs_to_the_new_protocol() -> None:
    raw = Raw()

    async def handler(exchange: Exchange) -> None:
        transport, rest = exchange.upgrade(lambda: raw)
        transport.write(b"101" + rest)

    @talking(handler)
    async def conversation(talk: Talk) -> None:
        talk.send(UPGRADE + b"first")
        await turns()
        talk.send(b"second")
        for guest in talk.state.guests:
            guest.retire()
        talk.lose()
        assert talk.answers == b"101first"
        assert raw.heard == ["made", b"second", "drain", "lost"]


def test_an_upgrade_that_is_declined_changes_nothing() -> None:
    @talking(echo)
    async def conversation(talk: Talk) -> None:
        talk.send(UPGRADE + GET)
        await turns(20)
        assert talk.statuses == [200, 200]


def test_an_upgrade_that_a_plain_handler_declines_changes_nothing() -> None:
    talk = Talk(Handlers(plain=lambda request: Response(200)))
    talk.send(UPGRADE + GET + UPGRADE + GET)
    talk.send(GET)
    assert talk.statuses == [200] * 5
