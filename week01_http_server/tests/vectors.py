"""Byte streams that a server must refuse, and odd ones that it must accept.

One table for the core's unit tests and for the replay over real sockets. The limits are the
defaults of `settings.Limits`. Each row cites what it stands on.
"""

from __future__ import annotations

from typing import NamedTuple


class Refused(NamedTuple):
    """A stream that gets one answer of this status, after which the connection closes.

    Attributes:
        answered_before: good answers that come first, for the good requests in front.
        closes: whether the server must close; so far it always must, as it lost its place in
            the stream or cannot know that it did not.
    """

    name: str
    data: bytes
    status: int
    section: str
    answered_before: int = 0
    closes: bool = True


class Accepted(NamedTuple):
    """A stream that is answered by so many answers, none of them a refusal."""

    name: str
    data: bytes
    requests: int
    section: str
    closes: bool = False


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """A head from its lines; host is left out where it is empty."""
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return head(*lines, start=b"POST / HTTP/" + version) + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


_R = Refused
GOOD = head()

REFUSED: tuple[Refused, ...] = (
    # ---- the request line
    _R("no version", b"GET /\r\n\r\n", 400, "RFC 9112 3"),
    _R("no version, but in a field",
       b"GET /\r\nX:y HTTP/1.1\r\nHost:a\r\n\r\n", 400, "RFC 9112 3"),
    _R("no version, but in a field of a PUT",
       b"PUT /\r\nX:y HTTP/1.1\r\nHost:a\r\n\r\n", 400, "RFC 9112 3"),
    _R("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400, "RFC 9112 3"),
    _R("two spaces before target", head(start=b"GET  / HTTP/1.1"), 400, "RFC 9112 3"),
    _R("two spaces before version", head(start=b"GET /  HTTP/1.1"), 400, "RFC 9112 3"),
    _R("tab for a space", head(start=b"GET\t/ HTTP/1.1"), 400, "RFC 9112 3"),
    _R("space within target", head(start=b"GET /a b HTTP/1.1"), 400, "RFC 9112 3.2"),
    _R("space after version", head(start=b"GET / HTTP/1.1 "), 400, "RFC 9112 3"),
    _R("space before method", head(start=b" GET / HTTP/1.1"), 400, "RFC 9112 3"),
    _R("method is no token", head(start=b"G(T / HTTP/1.1"), 400, "RFC 9110 9.1"),
    _R("method with control", head(start=b"G\x01T / HTTP/1.1"), 400, "RFC 9110 9.1"),
    _R("method with obs-text", head(start=b"GET\xff / HTTP/1.1"), 400, "RFC 9110 9.1"),
    _R("bytes of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "RFC 9112 3"),
    _R("line of noise", b"hello\r\n\r\n", 400, "RFC 9112 3"),
    _R("version 2.0", head(start=b"GET / HTTP/2.0"), 505, "RFC 9110 15.6.6"),
    _R("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "RFC 9110 15.6.6"),
    _R("version 3.0", head(start=b"GET / HTTP/3.0"), 505, "RFC 9110 15.6.6"),
    _R("version 0.9", head(start=b"GET / HTTP/0.9"), 505, "RFC 9110 15.6.6"),
    _R("version of one digit", head(start=b"GET / HTTP/1"), 400, "RFC 9112 2.3"),
    _R("version of two digits", head(start=b"GET / HTTP/1.10"), 400, "RFC 9112 2.3"),
    _R("version in lower case", head(start=b"GET / http/1.1"), 400, "RFC 9112 2.3"),
    _R("version with a space", head(start=b"GET / HTTP/ 1.1"), 400, "RFC 9112 2.3"),
    _R("version with a sign", head(start=b"GET / HTTP/+1.1"), 400, "RFC 9112 2.3"),
    _R("version junk", head(start=b"GET / HTTP/x.y"), 400, "RFC 9112 2.3"),
    _R("another protocol", head(start=b"GET / RTSP/1.0"), 400, "RFC 9112 2.3"),
    _R("yet another protocol", head(start=b"SOURCE / ICE/1.0"), 400, "RFC 9112 2.3"),
    _R("request line too long",
       head(start=b"GET /" + b"a" * 9000 + b" HTTP/1.1"), 414, "RFC 9112 3"),
    _R("request line without end", b"GET /" + b"a" * 9000, 414, "RFC 9112 3"),
    _R("five empty lines first", b"\r\n" * 5 + GOOD, 400, "RFC 9112 2.2"),
    # ---- the target
    _R("fragment", head(start=b"GET /a#b HTTP/1.1"), 400, "RFC 9112 3.2.1"),
    _R("obs-text in target", head(start=b"GET /\xc3\xa4 HTTP/1.1"), 400, "RFC 3986 2"),
    _R("control in target", head(start=b"GET /\x01 HTTP/1.1"), 400, "RFC 3986 2"),
    _R("NUL in target", head(start=b"GET /\x00 HTTP/1.1"), 400, "RFC 3986 2"),
    _R("DEL in target", head(start=b"GET /\x7f HTTP/1.1"), 400, "RFC 3986 2"),
    _R("no slash in front", head(start=b"GET a HTTP/1.1"), 400, "RFC 9112 3.2"),
    _R("asterisk for GET", head(start=b"GET * HTTP/1.1"), 400, "RFC 9112 3.2.4"),
    _R("authority for GET", head(start=b"GET a:80 HTTP/1.1"), 400, "RFC 9112 3.2.3"),
    _R("URI of ftp", head(start=b"GET ftp://a/ HTTP/1.1"), 400, "RFC 9110 4.2"),
    _R("URI without host", head(start=b"GET http:///x HTTP/1.1"), 400, "RFC 9110 4.2.1"),
    _R("URI with a port alone", head(start=b"GET http://:80/ HTTP/1.1"), 400, "RFC 9110 4.2.1"),
    _R("URI with user", head(start=b"GET http://u@a/ HTTP/1.1"), 400, "RFC 9110 4.2.4"),
    _R("URI with bad host", head(start=b"GET http://a[/ HTTP/1.1"), 400, "RFC 9110 4.2.1"),
    _R("URI but no Host", head(start=b"GET http://a/ HTTP/1.1", host=b""), 400, "RFC 9112 3.2"),
    _R("CONNECT", head(start=b"CONNECT a:80 HTTP/1.1"), 501, "RFC 9110 9.3.6"),
    _R("CONNECT without port", head(start=b"CONNECT a HTTP/1.1"), 400, "RFC 9112 3.2.3"),
    _R("CONNECT with a path", head(start=b"CONNECT / HTTP/1.1"), 400, "RFC 9112 3.2.3"),
    # ---- Host
    _R("no Host", head(host=b""), 400, "RFC 9112 3.2"),
    _R("no field at all", b"GET / HTTP/1.1\r\n\r\n", 400, "RFC 9112 3.2"),
    _R("two Hosts", head(b"Host: b"), 400, "RFC 9112 3.2"),
    _R("Host twice the same", head(b"Host: a"), 400, "RFC 9112 3.2"),
    _R("two Hosts by case", head(b"hOST: b"), 400, "RFC 9112 3.2"),
    _R("two Hosts in 1.0", head(b"Host: b", start=b"GET / HTTP/1.0"), 400, "RFC 9112 3.2"),
    _R("bad Host in 1.0", head(start=b"GET / HTTP/1.0", host=b"Host: a b"), 400, "RFC 9112 3.2"),
    _R("Host with a list", head(host=b"Host: a, b"), 400, "RFC 9112 3.2"),
    _R("Host with user", head(host=b"Host: u@a"), 400, "RFC 9112 3.2"),
    _R("Host with a path", head(host=b"Host: a/b"), 400, "RFC 9112 3.2"),
    _R("Host with a scheme", head(host=b"Host: http://a"), 400, "RFC 9112 3.2"),
    _R("Host with bad port", head(host=b"Host: a:b"), 400, "RFC 9112 3.2"),
    _R("Host with huge port", head(host=b"Host: a:65536"), 400, "RFC 9112 3.2"),
    _R("Host with two ports", head(host=b"Host: a:1:2"), 400, "RFC 9112 3.2"),
    _R("Host with half a bracket", head(host=b"Host: [::1"), 400, "RFC 3986 3.2.2"),
    _R("Host of no address", head(host=b"Host: [1::2::3]"), 400, "RFC 3986 3.2.2"),
    _R("Host with obs-text", head(host=b"Host: \xc3\xa4"), 400, "RFC 3986 3.2.2"),
    _R("Host with bad escape", head(host=b"Host: a%zz"), 400, "RFC 3986 3.2.2"),
    # ---- lines and fields
    _R("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", 400, "RFC 9112 2.2"),
    _R("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "RFC 9112 2.2"),
    _R("bare LF after a field", head(b"A: b\nC: d"), 400, "RFC 9112 2.2"),
    _R("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "RFC 9112 2.2"),
    _R("bare LF first", b"\n" + GOOD, 400, "RFC 9112 2.2"),
    _R("bare CR in a value", head(b"A: b\rc"), 400, "RFC 9112 2.2"),
    _R("bare CR hides a field", head(b"A: b\rContent-Length: 3"), 400, "RFC 9112 2.2"),
    _R("bare CR in the request line", head(start=b"GET /\r HTTP/1.1"), 400, "RFC 9112 2.2"),
    _R("CR CR LF", head(b"A: b\r"), 400, "RFC 9112 2.2"),
    _R("CR CR LF after version", head(start=b"GET / HTTP/1.1\r"), 400, "RFC 9112 2.2"),
    _R("bare CR first", b"\r" + GOOD, 400, "RFC 9112 2.2"),
    _R("folded by space", head(b"A: b", b" c"), 400, "RFC 9112 5.2"),
    _R("folded by tab", head(b"A: b", b"\tc"), 400, "RFC 9112 5.2"),
    _R("folded without content", head(b"A: b", b" "), 400, "RFC 9112 5.2"),
    _R("whitespace before the first field", head(host=b" Host: a"), 400, "RFC 9112 2.2"),
    _R("space before the colon", head(b"A : b"), 400, "RFC 9112 5.1"),
    _R("tab before the colon", head(b"A\t: b"), 400, "RFC 9112 5.1"),
    _R("space before Host's colon", head(host=b"Host : a"), 400, "RFC 9112 5.1"),
    _R("no name", head(b": b"), 400, "RFC 9110 5.1"),
    _R("no colon", head(b"Abc"), 400, "RFC 9112 5"),
    _R("name with parenthesis", head(b"A(b: c"), 400, "RFC 9110 5.1"),
    _R("name with slash", head(b"A/b: c"), 400, "RFC 9110 5.1"),
    _R("name with obs-text", head(b"\xc3\xa4: b"), 400, "RFC 9110 5.1"),
    _R("name with NUL", head(b"A\0: b"), 400, "RFC 9110 5.1"),
    _R("name with control", head(b"A\x0b: b"), 400, "RFC 9110 5.1"),
    _R("NUL in a value", head(b"A: b\0c"), 400, "RFC 9110 5.5"),
    _R("control in a value", head(b"A: b\x01c"), 400, "RFC 9110 5.5"),
    _R("vertical tab at a value's end", head(b"A: b\x0b"), 400, "RFC 9110 5.5"),
    _R("escape in a value", head(b"A: \x1b[2J"), 400, "RFC 9110 5.5"),
    _R("DEL in a value", head(b"A: b\x7f"), 400, "RFC 9110 5.5"),
    _R("a second request line", head(b"GET /x HTTP/1.1"), 400, "RFC 9112 5"),
    _R("too many fields", head(*[b"A: b"] * 100), 431, "RFC 6585 5"),
    _R("a field too large", head(b"A: " + b"b" * 33_000), 431, "RFC 6585 5"),
    _R("fields too large", head(*[b"A: " + b"b" * 1000] * 33), 431, "RFC 6585 5"),
    _R("a field without end", head()[:-2] + b"A: " + b"b" * 33_000, 431, "RFC 6585 5"),
    # ---- Content-Length
    _R("two lengths", post(b"Content-Length: 3", b"Content-Length: 4"), 400, "RFC 9112 6.3"),
    _R("length twice the same", post(*[b"Content-Length: 3"] * 2), 400, "RFC 9112 6.3"),
    _R("list of lengths", post(b"Content-Length: 3, 3"), 400, "RFC 9112 6.3"),
    _R("two lengths by case",
       post(b"Content-Length: 3", b"CONTENT-LENGTH: 4"), 400, "RFC 9112 6.3"),
    _R("length with plus", post(b"Content-Length: +3"), 400, "RFC 9110 8.6"),
    _R("negative length", post(b"Content-Length: -3"), 400, "RFC 9110 8.6"),
    _R("length with underscore", post(b"Content-Length: 1_0"), 400, "RFC 9110 8.6"),
    _R("length with a space", post(b"Content-Length: 1 0"), 400, "RFC 9110 8.6"),
    _R("hexadecimal length", post(b"Content-Length: 0x3"), 400, "RFC 9110 8.6"),
    _R("fractional length", post(b"Content-Length: 3.0"), 400, "RFC 9110 8.6"),
    _R("length in words", post(b"Content-Length: three"), 400, "RFC 9110 8.6"),
    _R("empty length", post(b"Content-Length:"), 400, "RFC 9110 8.6"),
    _R("length in other digits", post(b"Content-Length: \xb2"), 400, "RFC 9110 8.6"),
    _R("length with vertical tab", post(b"Content-Length: \x0b3"), 400, "RFC 9110 5.5"),
    _R("length over the limit", post(b"Content-Length: 16777217"), 413, "RFC 9110 15.5.14"),
    _R("length over 64 bits", post(b"Content-Length: 18446744073709551619"), 413, "RFC 9110 8.6"),
    _R("length beyond reason", post(b"Content-Length: " + b"9" * 5000), 413, "RFC 9110 8.6"),
    # ---- Transfer-Encoding
    _R("chunked and a length",
       post(b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"0\r\n\r\n"), 400,
       "RFC 9112 6.1"),
    _R("a length and chunked",
       post(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400,
       "RFC 9112 6.1"),
    _R("chunked in 1.0", post(b"Transfer-Encoding: chunked", version=b"1.0"), 400, "RFC 9112 6.1"),
    _R("unknown coding", post(b"Transfer-Encoding: gzip"), 501, "RFC 9112 6.1"),
    _R("unknown coding, then chunked",
       post(b"Transfer-Encoding: gzip, chunked"), 501, "RFC 9112 6.1"),
    _R("identity", post(b"Transfer-Encoding: identity"), 501, "RFC 9112 6.1"),
    _R("nearly chunked", post(b"Transfer-Encoding: xchunked"), 501, "RFC 9112 6.1"),
    _R("chunked not last", post(b"Transfer-Encoding: chunked, gzip"), 400, "RFC 9112 6.1"),
    _R("chunked twice", post(b"Transfer-Encoding: chunked, chunked"), 400, "RFC 9112 6.1"),
    _R("chunked in two fields", post(*[b"Transfer-Encoding: chunked"] * 2), 400, "RFC 9112 6.1"),
    _R("chunked then identity by fields",
       post(b"Transfer-Encoding: chunked", b"Transfer-encoding: identity"), 400, "RFC 9112 6.1"),
    _R("empty coding", post(b"Transfer-Encoding:"), 400, "RFC 9112 6.1"),
    _R("empty coding in a list", post(b"Transfer-Encoding: , chunked"), 400, "RFC 9112 6.1"),
    _R("chunked with parameter", post(b"Transfer-Encoding: chunked;a=b"), 400, "RFC 9112 7.1"),
    _R("quoted chunked", post(b'Transfer-Encoding: "chunked"'), 400, "RFC 9112 6.1"),
    _R("chunked after vertical tab", post(b"Transfer-Encoding: \x0bchunked"), 400, "RFC 9110 5.5"),
    _R("chunked behind a space", post(b"Transfer-Encoding : chunked"), 400, "RFC 9112 5.1"),
    _R("chunked folded", post(b"Transfer-Encoding:", b" chunked"), 400, "RFC 9112 5.2"),
    # ---- chunks
    _R("size in words", chunked(b"x\r\n"), 400, "RFC 9112 7.1"),
    _R("size with 0x", chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("size with plus", chunked(b"+3\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("negative size", chunked(b"-3\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("size with underscore", chunked(b"1_0\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("no size", chunked(b"\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("space before size", chunked(b" 3\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("space after size", chunked(b"3 \r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("bare LF after size", chunked(b"3\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("bare LF after data", chunked(b"3\r\nabc\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("bare CR after size", chunked(b"3\rabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("no CRLF after data", chunked(b"3\r\nabc0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("more data than size", chunked(b"3\r\nabcd\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("less data than size", chunked(b"4\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("size over 64 bits", chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1"),
    _R("size of 64 bits", chunked(b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n"), 413, "RFC 9112 7.1"),
    _R("chunk over the limit", chunked(b"1000001\r\n"), 413, "RFC 9110 15.5.14"),
    _R("chunks over the limit", chunked(b"1\r\na\r\n1000000\r\n"), 413, "RFC 9110 15.5.14"),
    _R("extension without name", chunked(b"3;\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1.1"),
    _R("extension without value", chunked(b"3;a=\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1.1"),
    _R("extension with control", chunked(b"3;a=\x01\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1.1"),
    _R("extension with open quote", chunked(b'3;a="b\r\nabc\r\n0\r\n\r\n'), 400, "RFC 9112 7.1.1"),
    _R("extension hides an LF", chunked(b"3;a\nX\r\nabc\r\n0\r\n\r\n"), 400, "RFC 9112 7.1.1"),
    _R("extension too long",
       chunked(b"3;a=" + b"b" * 1024 + b"\r\nabc\r\n"), 400, "RFC 9112 7.1.1"),
    _R("size line without end", chunked(b"0" * 1024), 400, "RFC 9112 7.1"),
    _R("extensions without end",
       chunked((b"1;" + b"a" * 1000 + b"\r\nb\r\n") * 17), 400, "RFC 9112 7.1.1"),
    # ---- trailers
    _R("folded trailer", chunked(b"0\r\nA: b\r\n c\r\n\r\n"), 400, "RFC 9112 7.1.2"),
    _R("trailer with NUL", chunked(b"0\r\nA: \0\r\n\r\n"), 400, "RFC 9112 7.1.2"),
    _R("trailer without colon", chunked(b"0\r\nA\r\n\r\n"), 400, "RFC 9112 7.1.2"),
    _R("bare LF in trailers", chunked(b"0\r\nA: b\n\r\n"), 400, "RFC 9112 7.1.2"),
    _R("bare LF after trailers", chunked(b"0\r\n\n"), 400, "RFC 9112 7.1.2"),
    _R("request in place of trailers", chunked(b"0\r\n" + GOOD), 400, "RFC 9112 7.1.2"),
    _R("trailers too large", chunked(b"0\r\nA: " + b"b" * 8192), 431, "RFC 6585 5"),
    _R("too many trailers", chunked(b"0\r\n" + b"A: b\r\n" * 101), 431, "RFC 6585 5"),
    # ---- expectations, and places
    _R("unknown expectation", post(b"Expect: more", b"Content-Length: 3"), 417, "RFC 9110 10.1.1"),
    _R("two expectations", post(b"Expect: 100-continue, more", b"Content-Length: 3"), 417,
       "RFC 9110 10.1.1"),
    _R("good, then bad", GOOD + head(b"A : b"), 400, "RFC 9112 5.1", 1),
    _R("good with body, then bad",
       post(b"Content-Length: 3", body=b"abc") + head(host=b""), 400, "RFC 9112 3.2", 1),
    _R("two good, then noise", GOOD * 2 + b"\x00\r\n\r\n", 400, "RFC 9112 3", 2),
    _R("body longer than said",
       post(b"Content-Length: 3", body=b"abc/") + GOOD, 400, "RFC 9112 6.3", 1),
)  # fmt: skip

_A = Accepted

ACCEPTED: tuple[Accepted, ...] = (
    _A("plain", GOOD, 1, "RFC 9112 3"),
    _A("two at once", GOOD * 2, 2, "RFC 9112 9.3.2"),
    _A("a few empty lines first", b"\r\n" * 4 + GOOD, 1, "RFC 9112 2.2"),
    _A("empty line after a body",
       post(b"Content-Length: 3", body=b"abc\r\n") + GOOD, 2, "RFC 9112 2.2"),
    _A("method unknown here", head(start=b"BREW / HTTP/1.1"), 1, "RFC 9110 9.1"),
    _A("method in lower case", head(start=b"get / HTTP/1.1"), 1, "RFC 9110 9.1"),
    _A("version 1.2", head(start=b"GET / HTTP/1.2"), 1, "RFC 9110 2.5"),
    _A("version 1.0", b"GET / HTTP/1.0\r\n\r\n", 1, "RFC 9112 9.3", True),
    _A("version 1.0 kept alive",
       head(b"Connection: Keep-Alive", start=b"GET / HTTP/1.0") * 2, 2, "RFC 9112 9.3"),
    _A("version 1.0 kept alive, without Host",
       b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2, 2, "RFC 9112 9.3"),
    _A("nothing after close", head(b"Connection: close") + GOOD, 1, "RFC 9112 9.6", True),
    _A("noise after close", head(b"Connection: close") + b"\0\n", 1, "RFC 9112 9.6", True),
    _A("close among options", head(b"Connection: a, Close ,b") + GOOD, 1, "RFC 9112 9.6", True),
    _A("close in a second field",
       head(b"Connection: keep-alive", b"Connection: close") + GOOD, 1, "RFC 9110 7.6.1", True),
    _A("URI", head(start=b"GET http://b/x?y HTTP/1.1"), 1, "RFC 9112 3.2.2"),
    _A("URI of https", head(start=b"GET HTTPS://b:8443 HTTP/1.1"), 1, "RFC 9112 3.2.2"),
    _A("OPTIONS for the server", head(start=b"OPTIONS * HTTP/1.1"), 1, "RFC 9112 3.2.4"),
    _A("OPTIONS for the server as URI",
       head(start=b"OPTIONS http://a HTTP/1.1"), 1, "RFC 9112 3.2.4"),
    _A("odd but visible target", head(start=b"GET /a|\"{}^`\\<> HTTP/1.1"), 1, "RFC 9112 3.2"),
    _A("empty Host", head(host=b"Host:"), 1, "RFC 9112 3.2"),
    _A("Host of IPv6", head(host=b"Host: [::1]:8080"), 1, "RFC 3986 3.2.2"),
    _A("Host in capitals", head(host=b"HOST: a"), 1, "RFC 9110 5.1"),
    _A("whitespace around a value", head(b"A: \t b c \t "), 1, "RFC 9112 5"),
    _A("no whitespace before a value", head(b"A:b"), 1, "RFC 9112 5"),
    _A("empty value", head(b"A:"), 1, "RFC 9110 5.5"),
    _A("obs-text in a value", head(b"A: \xc3\xa4"), 1, "RFC 9110 5.5"),
    _A("name of odd characters", head(b"!#$%&'*+-.^_`|~09Az: b"), 1, "RFC 9110 5.6.2"),
    _A("length zero", post(b"Content-Length: 0") + GOOD, 2, "RFC 9110 8.6"),
    _A("length with leading zeros",
       post(b"Content-Length: 0003", body=b"abc") + GOOD, 2, "RFC 9110 8.6"),
    _A("GET with a body", head(b"Content-Length: 3") + b"abc" + GOOD, 2, "RFC 9110 9.3.1"),
    _A("chunked", chunked(b"3\r\nabc\r\n0\r\n\r\n") + GOOD, 2, "RFC 9112 7.1"),
    _A("chunked in capitals",
       post(b"Transfer-Encoding: CHUNKED", body=b"0\r\n\r\n") + GOOD, 2, "RFC 9112 7"),
    _A("chunks with leading zeros",
       chunked(b"0003\r\nabc\r\n000\r\n\r\n") + GOOD, 2, "RFC 9112 7.1"),
    _A("chunk extensions",
       chunked(b'3;a;b=c;d="e\\"f;"\r\nabc\r\n0;z\r\n\r\n') + GOOD, 2, "RFC 9112 7.1.1"),
    _A("whitespace around extensions",
       chunked(b"3 ; a = b\r\nabc\r\n0\r\n\r\n") + GOOD, 2, "RFC 9112 7.1.1"),
    _A("trailers", chunked(b"0\r\nA: b\r\nContent-Length: 9\r\n\r\n") + GOOD, 2, "RFC 9112 7.1.2"),
    _A("100-continue without a body", head(b"Expect: 100-continue") + GOOD, 2, "RFC 9110 10.1.1"),
    _A("expectation in 1.0",
       head(b"Expect: more", start=b"GET / HTTP/1.0"), 1, "RFC 9110 10.1.1", True),
    _A("upgrade in 1.0",
       head(b"Connection: upgrade, keep-alive", b"Upgrade: websocket", start=b"GET / HTTP/1.0")
       + GOOD, 2, "RFC 9110 7.8"),
    _A("Upgrade that Connection does not name",
       head(b"Upgrade: websocket") + GOOD, 2, "RFC 9110 7.8"),
)  # fmt: skip
