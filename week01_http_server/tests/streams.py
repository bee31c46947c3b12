"""Hypothesis strategies of valid, malformed and bent request streams, and ways to cut them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import strategies as st

from week01_http_server.tests.vectors import ACCEPTED, REFUSED


@dataclass
class Sent:
    """A valid request as its parts, and as bytes."""

    method: bytes
    path: bytes
    query: bytes
    fields: list[tuple[bytes, bytes]]
    pieces: list[bytes] | None  # of a chunked body
    body: bytes | None  # with a Content-Length
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def encode(self) -> bytes:
        target = self.path + (b"?" + self.query if self.query else b"")
        lines = [self.method + b" " + target + b" HTTP/1.1", b"Host: a.example"]
        lines += [name + b": " + value for name, value in self.fields]
        body = self.body or b""
        if self.pieces is not None:
            lines.append(b"Transfer-Encoding: chunked")
            chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.pieces]
            ends = [name + b":" + value + b"\r\n" for name, value in self.trailers]
            body = b"".join([*chunks, b"0\r\n", *ends, b"\r\n"])
        elif self.body is not None:
            lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join([*lines, b"", body])


def text(alphabet: str, minimum: int, maximum: int) -> st.SearchStrategy[bytes]:
    return st.text(alphabet, min_size=minimum, max_size=maximum).map(str.encode)


fields = st.lists(
    st.tuples(
        text("abXY-_09", 1, 8).map(lambda name: b"X" + name),
        st.one_of(text("abc :;,=\"'{}", 0, 12), st.just(b"\xc3\xa4")).map(bytes.strip),
    ),
    max_size=5,
)
requests = st.builds(
    Sent,
    method=st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS", b"BREW"]),
    path=text("ab/%2e.|", 0, 9).map(lambda path: b"/" + path),
    query=text("ab=&?", 0, 6),
    fields=fields,
    pieces=st.none() | st.lists(st.binary(min_size=1, max_size=20), max_size=3),
    body=st.none() | st.binary(max_size=30),
    trailers=fields,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """data in pieces, cut at these places (modulo its length)."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)]


def cut_after(data: bytes, mark: bytes) -> list[bytes]:
    """data in pieces that end with mark, and what follows the last one."""
    *pieces, rest = data.split(mark)
    return [*(piece + mark for piece in pieces), *([rest] if rest else [])]


places = st.lists(st.integers(0, 10_000), max_size=6)

fragments = st.sampled_from(
    b"GET,POST,/,*,HTTP/1.1,HTTP/1.0,HTTP/2.0, ,  ,\t,\r\n,\r,\n,\r\n\r\n,:,a,A: b\r\n,Host: a\r\n,"
    b"Host:,Content-Length: 3\r\n,Transfer-Encoding: chunked\r\n,Connection: close\r\n,"
    b"Connection: upgrade\r\nUpgrade: x\r\n,Expect: 100-continue\r\n,0\r\n\r\n,3\r\nabc\r\n,"
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n,POST / HTTP/1.1\r\nHost: a\r\n,\0,\xff,#,?,http://b,"
    b"0,3,;x=y,abc,X:y HTTP/1.1\r\n,Connection: keep-alive\r\n,Host:a\r\n,\r\nX:y".split(b",")
)
vectors = st.sampled_from([*(v.data for v in REFUSED), *(v.data for v in ACCEPTED)]).filter(
    lambda data: len(data) < 400
)


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A vector or a valid stream with a few bytes changed, taken out or put in."""
    data = bytearray(draw(vectors | requests.map(Sent.encode)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(fragments)
    return bytes(data)


streams = st.lists(bent() | fragments, min_size=1, max_size=4).map(b"".join)
