"""Whole heads at the speed of llhttp; what is not plain is left to the exact judge in head.py.

llhttp (through httptools) checks every byte of a head in C and cuts it into fields, but it also
lets through what RFC 9112 forbids: no version at all, two spaces for one, fragments, a version
2.0, any Host or none, whitespace at the end of a value. So a head passes here only with the one
shape of request line that leaves no doubt, and with fields that agree with each other. Everything
else gets no verdict but None, and `HeadReader` reads it again, line by line.

Where the time of a bodiless GET with five fields goes, by taking parts out one by one: a quarter
is llhttp with callbacks that do nothing, a fifth what the callback does with the fields, an eighth
the checks of the request line, the rest the calls from `Connection.feed` to the sink, the `Request`
and its Host.
"""

from __future__ import annotations

from httptools import HttpRequestParser
from httptools.parser.errors import HttpParserError, HttpParserUpgrade

from week01_http_server.http1 import framing
from week01_http_server.http1.grammar import RefusedError
from week01_http_server.http1.head import build_request
from week01_http_server.http1.targets import is_host, valid_hosts
from week01_http_server.messages import Request
from week01_http_server.settings import Limits

NAMES_MAX = 1024
"""Field names whose lower-case form is remembered; when it is full, all are forgotten."""
NAME_MAX_BYTES = 64

_HOST = b"host"
_CONNECTION = b"connection"
_PERSISTENT = frozenset({b"keep-alive", b"Keep-Alive"})  # these change nothing in HTTP/1.1
_VERSION = b" HTTP/1.1\r\n"
_HEAD_END = b"\r\n\r\n"
_SPACE, _NUMBER_SIGN, _LF = b" #\n"
_METHODS = {
    method.encode(): method
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_names: dict[bytes, bytes | None] = {}


class _Fields:
    """What llhttp calls for each field; apart from the parser, which would make a cycle of it."""

    __slots__ = ("decisive", "headers", "host")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.host: bytes | None = None
        # But for a first Host and for a Connection that changes nothing.
        self.decisive: dict[bytes, list[bytes]] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        value = value.rstrip()  # of what strip() takes, llhttp let through space and tab alone
        try:
            known = _names[name]
        except KeyError:
            known = _learn(name)
        if known is None:
            if name == b"Host" and self.host is None:
                known = _HOST
                self.host = value
            else:
                known = self._decide(name.lower(), value)
        self.headers.append((known, value))

    def _decide(self, name: bytes, value: bytes) -> bytes:
        if name == _HOST and self.host is None:
            self.host = value
        elif name != _CONNECTION or value not in _PERSISTENT:
            self.decisive.setdefault(name, []).append(value)
        return name


def _learn(name: bytes) -> bytes | None:
    """The lower-cased name, None for one that decides; remembered either way."""
    lower = name.lower()
    known = None if lower in framing.DECISIVE else lower
    if len(name) <= NAME_MAX_BYTES:
        if len(_names) >= NAMES_MAX:
            _names.clear()
        _names[name] = known
    return known


class QuickHeads:
    """Reads heads of one connection that came whole."""

    __slots__ = ("_body_max_bytes", "_fields", "_head_max_bytes", "_headers_max", "_llhttp")

    def __init__(self, limits: Limits) -> None:
        # A head that is no longer than either limit breaks none.
        self._head_max_bytes = min(limits.request_line_max_bytes, limits.head_max_bytes) - 4
        self._headers_max = limits.headers_max
        self._body_max_bytes = limits.body_max_bytes
        self._renew()

    def _renew(self) -> None:
        self._fields = _Fields()
        self._llhttp = HttpRequestParser(self._fields).feed_data

    def read(self, data: bytes) -> Request | None:
        """The request, where data is one whole head and nothing else; None for the judge.

        Raises:
            RefusedError: the fields contradict each other or what is served here.
        """
        if data[:5] == b"GET /":
            method, start = "GET", 4
        else:
            start = data.find(b" ") + 1
            method = _METHODS.get(data[: start - 1], "")
            if not method or data[start : start + 1] != b"/":
                return None
        end = data.find(_VERSION)
        target = data[start:end]
        # An LF: a line without version, HTTP/0.9 to llhttp, and the version found in a later line.
        if (
            _SPACE in target
            or _NUMBER_SIGN in target
            or _LF in target
            or not data.find(_HEAD_END, end) == len(data) - 4 < self._head_max_bytes
        ):
            return None
        fields = self._fields
        try:
            self._llhttp(data)
        except (HttpParserError, HttpParserUpgrade):
            self._renew()
            return None
        headers = fields.headers
        host = fields.host
        if fields.decisive or host is None or len(headers) > self._headers_max:
            return self._judge(method, target)
        fields.headers = []
        fields.host = None
        if host not in valid_hosts and not is_host(host):
            raise RefusedError(400, "the Host field is not valid")
        path, _, query = target.partition(b"?")
        # Set one by one: half the price of twelve arguments.
        request = _new(Request)
        request.method = method
        request.target = target
        request.path = path
        request.query = query
        request.authority = host
        request.version = "1.1"
        request.headers = headers
        request.keep_alive = True
        request.has_body = False
        request.content_length = None
        request.expects_continue = False
        request.upgrade = None
        return request

    def _judge(self, method: str, target: bytes) -> Request | None:
        """Decides by all the fields, once llhttp has taken the head."""
        fields = self._fields
        decisive = fields.decisive
        if fields.host is not None:
            decisive.setdefault(_HOST, []).insert(0, fields.host)
        # llhttp waits for a body now, or takes no more after "Connection: close".
        self._renew()
        if len(fields.headers) > self._headers_max:
            return None
        path, _, query = target.partition(b"?")
        return build_request(
            (method, target, "1.1"),
            (path, query, None),
            fields.headers,
            decisive,
            self._body_max_bytes,
        )


_new = object.__new__
