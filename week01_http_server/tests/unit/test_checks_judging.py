"""How the claims read what they saw: answers, and packets."""

from __future__ import annotations

import struct

import pytest

from week01_http_server.checks.handshakes import begins
from week01_http_server.checks.malformed import Heard, fault, statuses
from week01_http_server.tests.vectors import Refused

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
BAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
STREAM = Refused("a stream", b"", 400, "RFC 9112", answered_before=1)


def test_final_answers_are_told_apart_by_their_lengths() -> None:
    assert statuses(b"") == ()
    assert statuses(GOOD + GOOD + BAD) == (200, 200, 400)
    assert statuses(b"HTTP/1.1 100 Continue\r\n\r\n" + BAD) == (400,)
    assert statuses(b"nonsense") == ()


@pytest.mark.parametrize(
    ("heard", "says"),
    [
        (Heard((200, 400), True), ""),
        (Heard((), True), "no answer"),
        (Heard((200,), True), "answered 200 and not 400"),
        (Heard((200, 413), True), "answered 200, 413 and not 400"),
        (Heard((400,), True), "0 answers before"),
        (Heard((200, 200, 400), True), "2 answers before"),
        (Heard((400, 400), True), "answered 400, 400"),
        (Heard((200, 400), False), "the connection stayed open"),
    ],
)
def test_only_the_right_refusal_and_a_closed_connection_are_right(heard: Heard, says: str) -> None:
    found = fault(STREAM, heard)
    assert found.startswith(says) and bool(found) is bool(says)


def test_who_wants_no_body_may_refuse_before_it_reads_one() -> None:
    assert fault(STREAM, Heard((200, 405), True), early=True) == ""
    assert fault(STREAM, Heard((200, 405), False), early=True)
    assert fault(STREAM, Heard((200, 200), True), early=True)
    assert fault(STREAM, Heard((405,), True), early=True)
    assert fault(STREAM, Heard((200, 405), True))


def frame(flags: int, port: int = 8080, protocol: int = 6, ip_words: int = 5) -> bytes:
    ip = bytes([0x40 | ip_words]) + bytes(8) + bytes([protocol]) + bytes(4 * ip_words - 10)
    return bytes(14) + ip + struct.pack("!HHIIBB", 50000, port, 1, 0, 0x50, flags) + bytes(6)


def test_only_the_first_packet_of_a_handshake_to_the_port_counts() -> None:
    assert begins(frame(0x02), 8080)
    assert begins(frame(0x02, ip_words=7), 8080)
    assert not begins(frame(0x12), 8080)
    assert not begins(frame(0x10), 8080)
    assert not begins(frame(0x02, port=8081), 8080)
    assert not begins(frame(0x02, protocol=17), 8080)
    assert not begins(b"short", 8080)
