import itertools
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week01_http_server.transport.proxy_protocol import (
    V1_MAX_BYTES,
    V2_MAX_BYTES,
    Addresses,
    Preface,
    PrefaceRefused,
    ProxyPreface,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
FROM_A = Addresses(("192.0.2.7", 56324), ("198.51.100.1", 443))
FROM_A6 = Addresses(("2001:db8::7", 56324), ("2001:db8::1", 443))


def binary(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(block)) + block


INET = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1")
INET += struct.pack("!HH", 56324, 443)
INET6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7")
INET6 += socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack("!HH", 56324, 443)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
TLVS = b"\x04\x00\x03abc" + b"\x03\x00\x04\x12\x34\x56\x78"

WHOLE = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", FROM_A),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", FROM_A6),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN with whatever": (b"PROXY UNKNOWN ffff::1 x 65535 0\r\n", None),
    "v1 longest": (
        b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        b" ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        None,
    ),
    "v1 ports at their ends": (
        b"PROXY TCP4 192.0.2.7 198.51.100.1 0 65535\r\n",
        Addresses(("192.0.2.7", 0), ("198.51.100.1", 65535)),
    ),
    "v2 TCP4": (binary(0x21, 0x11, INET), FROM_A),
    "v2 TCP4 and TLVs": (binary(0x21, 0x11, INET + TLVS), FROM_A),
    "v2 TCP6": (binary(0x21, 0x21, INET6), FROM_A6),
    "v2 unix": (
        binary(0x21, 0x31, UNIX),
        Addresses(("/run/client", 0), ("/run/server", 0)),
    ),
    "v2 unspecified family": (binary(0x21, 0x00, b"whatever"), None),
    "v2 LOCAL": (binary(0x20, 0x00, b""), None),
    "v2 LOCAL with addresses": (binary(0x20, 0x11, INET), None),
    "v2 as long as allowed": (binary(0x21, 0x11, INET.ljust(V2_MAX_BYTES - 16, b"\0")), FROM_A),
}

BAD = {
    "a request": REQUEST,
    "nothing like it": b"\x16\x03\x01\x02",
    "lower case": b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 no family": b"PROXY \r\n",
    "v1 unknown family": b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 one address": b"PROXY TCP4 192.0.2.7 1 2\r\n",
    "v1 two spaces": b"PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 trailing space": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    "v1 wrong family": b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
    "v1 port too big": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
    "v1 heading zero": b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    "v1 sign": b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
    "v1 digits of another script": "PROXY TCP4 192.0.2.7 198.51.100.1 \u0661 2\r\n".encode(),
    "v1 not ascii": b"PROXY TCP4 192.0.2.\xff 198.51.100.1 1 2\r\n",
    "v1 endless": b"PROXY UNKNOWN ".ljust(V1_MAX_BYTES, b"x"),
    "v1 one byte too long": b"PROXY UNKNOWN ".ljust(V1_MAX_BYTES - 1, b"x") + b"\r\n",
    "v2 version 1": binary(0x11, 0x11, INET),
    "v2 unknown command": binary(0x22, 0x11, INET),
    "v2 unknown family": binary(0x21, 0x41, INET),
    "v2 datagrams": binary(0x21, 0x12, INET),
    "v2 short TCP4": binary(0x21, 0x11, INET[:-1]),
    "v2 short TCP6": binary(0x21, 0x21, INET6[:-1]),
    "v2 short unix": binary(0x21, 0x31, UNIX[:-1]),
    "v2 too long, told by its head alone": binary(0x21, 0x11, INET.ljust(V2_MAX_BYTES - 15))[:16],
}


@pytest.mark.parametrize(("sent", "addresses"), WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_header_gives_the_addresses_and_leaves_the_request(
    sent: bytes, addresses: Addresses | None
) -> None:
    assert ProxyPreface().feed(sent + REQUEST) == Preface(addresses, REQUEST)


@pytest.mark.parametrize(("sent", "addresses"), WHOLE.values(), ids=WHOLE.keys())
def test_a_header_may_come_byte_by_byte(sent: bytes, addresses: Addresses | None) -> None:
    preface = ProxyPreface()
    for position in range(len(sent) - 1):
        assert preface.feed(sent[position : position + 1]) is None
    assert preface.feed(sent[-1:]) == Preface(addresses, b"")


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD.keys())
def test_what_is_no_header_is_refused_without_waiting_for_more(sent: bytes) -> None:
    with pytest.raises(PrefaceRefused) as refused:
        ProxyPreface().feed(sent)
    assert "\n" not in str(refused.value)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00\x0c"]),
    st.lists(st.binary(max_size=40), max_size=8),
)
def test_any_bytes_are_taken_refused_or_waited_for_within_the_limit(
    start: bytes, pieces: list[bytes]
) -> None:
    preface = ProxyPreface()
    fed = b""
    for piece in [start, *pieces]:
        fed += piece
        try:
            taken = preface.feed(piece)
        except PrefaceRefused:
            return
        if taken is not None:
            assert fed.endswith(taken.rest)
            return
        assert len(fed) < V2_MAX_BYTES


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.integers(0, 4200), max_size=5))
def test_the_result_does_not_depend_on_where_the_stream_is_cut(name: str, cuts: list[int]) -> None:
    sent, addresses = WHOLE[name]
    stream = sent + REQUEST
    preface = ProxyPreface()
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        taken = preface.feed(stream[begin:end])
        if taken is not None:
            assert taken == Preface(addresses, stream[:end][len(sent) :])
            return
    raise AssertionError("the header was never whole")
