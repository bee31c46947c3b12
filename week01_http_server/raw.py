"""Level 1: HTTP by hand. A socket, an accept loop, and a thread for each connection.

    python -m week01_http_server.raw --port 8081

Everything that a server is can be read here in one go: open, bind, listen, accept; bytes until the
head is whole; three words and some headers; an answer whose length is known. What it lacks is what
the rest of the week is about: bodies, deadlines that a slow client cannot stretch, a limit on
connections, an orderly end. `python -m week01_http_server.bench.breaking` finds where it breaks.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
import threading
import time

HEAD_MAX_BYTES = 8 * 1024
SILENCE_MAX_S = 10.0
PAUSE_S = 0.1
"""After a connection that could not be taken, so that trying again is not a loop at full speed."""

REASONS = {200: "OK", 400: "Bad Request", 431: "Request Header Fields Too Large"}
REASONS |= {501: "Not Implemented", 505: "HTTP Version Not Supported"}


class BadRequest(Exception):
    """Answered with `status`; the connection is closed, for who knows where it stands."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def parse(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, path, version and headers of a head without its empty line (RFC 9112, section 2).

    Raises BadRequest for what is no GET or HEAD that this server can answer.
    """
    request_line, *fields = head.decode("latin-1").split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or not words[1].startswith("/"):
        raise BadRequest(400, "write: METHOD /path HTTP/1.1")
    method, path, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, "this server speaks HTTP/1.1")
    headers: dict[str, str] = {}
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "a header is not Name: value")
        headers[name.lower()] = value.strip(" \t")
    if version == "HTTP/1.1" and "host" not in headers:
        raise BadRequest(400, "no Host header")
    if method not in ("GET", "HEAD") or "transfer-encoding" in headers:
        raise BadRequest(501, "only GET and HEAD, without a body")
    if headers.get("content-length", "0") != "0":
        raise BadRequest(501, "only GET and HEAD, without a body")
    return method, path, version, headers


def response(status: int, text: str, *, keep: bool, head_only: bool = False) -> bytes:
    """A whole answer (RFC 9112, section 4): status line, headers, an empty line, the body."""
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\n"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)


def converse(connection: socket.socket) -> None:
    """Answer the requests of one connection, one after the other, until either side has enough."""
    waiting = b""
    while True:
        while b"\r\n\r\n" not in waiting:
            if len(waiting) > HEAD_MAX_BYTES:
                raise BadRequest(431, f"a head has at most {HEAD_MAX_BYTES} bytes")
            received = connection.recv(4096)
            if not received:
                return
            waiting += received
        head, _, waiting = waiting.partition(b"\r\n\r\n")
        method, path, version, headers = parse(head)
        wish = headers.get("connection", "").lower()
        keep = wish != "close" if version == "HTTP/1.1" else wish == "keep-alive"
        text = f"Hello from a raw socket. You asked for {path}\n"
        connection.sendall(response(200, text, keep=keep, head_only=method == "HEAD"))
        if not keep:
            return


def serve_one(connection: socket.socket) -> None:
    """One connection from its first byte to its last, in whatever thread this runs."""
    with connection, contextlib.suppress(OSError):  # gone or silent: nobody is left to tell
        connection.settimeout(SILENCE_MAX_S)
        try:
            converse(connection)
        except BadRequest as refused:
            connection.sendall(response(refused.status, f"{refused}\n", keep=False))


def serve(listener: socket.socket, *, threads: bool = True) -> None:
    """Accept for ever; each connection gets a thread, or all of them take turns in this one."""
    while True:
        try:
            connection, _ = listener.accept()
            if threads:
                threading.Thread(target=serve_one, args=(connection,), daemon=True).start()
            else:
                serve_one(connection)
        except (OSError, RuntimeError) as error:  # no more descriptors, or no more threads
            sys.stderr.write(f"raw: a connection could not be served: {error}\n")
            time.sleep(PAUSE_S)


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket; `backlog` connections may wait to be accepted. Raises OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Without it the port is closed for a minute after the server, for old packets' sake.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(backlog)
    return listener


def main() -> None:
    """Wiring: options, the listening socket, the loop; SIGTERM and Ctrl-C end it at once."""
    options = argparse.ArgumentParser(prog="raw", description="HTTP/1.1 on a raw socket.")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8081)
    options.add_argument("--backlog", type=int, default=128)
    options.add_argument("--one-at-a-time", action="store_true", help="no threads")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        listener = listen(chosen.host, chosen.port, chosen.backlog)
    except (OSError, OverflowError) as error:
        sys.exit(f"raw: cannot listen on {chosen.host}:{chosen.port}: {error}; try another --port")
    sys.stderr.write("raw: http://{}:{}\n".format(*listener.getsockname()))
    with listener, contextlib.suppress(KeyboardInterrupt):
        serve(listener, threads=not chosen.one_at_a_time)


if __name__ == "__main__":
    main()
