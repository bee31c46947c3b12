"""Every limit and deadline of the server, its unit and its default, in one frozen model.

Only entry points make one; the parts are given it, or the values that concern them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost.

    Attributes:
        request_line_max_bytes: above it 414.
        head_max_bytes: request line and header section together; above it 431.
        headers_max: number of header fields; above it 431.
        body_max_bytes: above it 413; 0 means no limit.
        chunk_line_max_bytes: size, extensions and CRLF of one chunk; above it 400.
        trailers_max_bytes: trailer section; above it 431.
        pipeline_max: requests parsed ahead on one connection before reading stops.
        read_buffer_bytes: body bytes waiting for the handler before reading stops.
        write_buffer_bytes: answer bytes waiting for the client before the handler waits.
        connections_max: at once, for each worker; above it 503 with Retry-After, and close.
        requests_per_connection_max: after so many the answer says close; 0 means no limit.
        ws_message_max_bytes: one WebSocket message, unpacked; above it close code 1009.
    """

    request_line_max_bytes: int = 8 * 1024
    head_max_bytes: int = 32 * 1024
    headers_max: int = 100
    body_max_bytes: int = 16 * 1024 * 1024
    chunk_line_max_bytes: int = 1024
    trailers_max_bytes: int = 8 * 1024
    pipeline_max: int = 32
    read_buffer_bytes: int = 64 * 1024
    write_buffer_bytes: int = 64 * 1024
    connections_max: int = 20_000
    requests_per_connection_max: int = 0
    ws_message_max_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a client may take; 0 switches a deadline off.

    Attributes:
        head_s: from the first byte of a head (or from accept) to its end; then 408 and close.
        body_s: without a byte of an announced body that the handler waits for; then 408 and close.
        idle_s: between requests on a kept-alive connection; then close.
        write_s: without the client taking a byte of the answer; then the connection is reset.
        tls_handshake_s: then close.
        preface_s: for a PROXY protocol header; then close.
        drain_s: for requests in flight after SIGTERM; then they are cut.
        lifespan_s: for an app's start-up and shut-down each.
        ws_ping_s: without a byte on a WebSocket; then it is pinged.
        ws_pong_s: for an answer to that ping; then close code 1011.
        ws_close_s: for the client's half of the closing handshake; then the connection is cut.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 60.0
    write_s: float = 30.0
    tls_handshake_s: float = 10.0
    preface_s: float = 5.0
    drain_s: float = 30.0
    lifespan_s: float = 60.0
    ws_ping_s: float = 20.0
    ws_pong_s: float = 20.0
    ws_close_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Files:
    """What is served of a directory.

    Attributes:
        index: name of the file that answers for its directory; empty for none.
        hidden: also names that begin with a dot (/.well-known/ is always served).
        precompressed: look for .br, .zst and .gz beside a file.
        small_max_bytes: up to it a file is sent from memory, above it from its descriptor.
        memory_bytes: for small files, in each worker; 0 keeps none.
    """

    index: str = "index.html"
    hidden: bool = False
    precompressed: bool = True
    small_max_bytes: int = 64 * 1024
    memory_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """A certificate for each name; the first pair answers for names that have none.

    Attributes:
        pairs: (certificate chain file, key file), PEM.
    """

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """One server.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        unix_path: listen there instead of on host and port.
        unix_mode: permissions of that socket; who may write may connect.
        inherit_sockets: take the listening sockets that the service manager passes (sd_listen_fds).
        workers: processes, each with its own listening socket (SO_REUSEPORT).
        requests_per_worker_max: a worker that has answered so many is replaced by a new one,
            without a failed request; 0 for never.
        backlog: length of the queue of connections not accepted yet, for each socket.
        proxy_protocol: expect a PROXY protocol header (v1 or v2) from trusted peers.
        trusted_peers: networks whose PROXY header and Forwarded fields are believed; "unix" for
            clients of a unix socket, "*" for everyone.
        forwarded_fields: which of the two kinds the trusted peers write: "x-forwarded"
            (X-Forwarded-For, -Proto, -Host) or "forwarded" (RFC 7239). The other kind may be what
            a client sent and the peer passed on, so it is never read.
        access_log: write one JSON line for each response to standard output.
        server_header: value of the Server field; empty for none.
        root_path: where the ASGI app is mounted behind a proxy that strips it, like "/api".
        lifespan: "auto", "on" or "off": whether the ASGI app must, may or may not have one.
        ws_deflate: offer permessage-deflate to WebSocket clients.
        metrics_host, metrics_port: where Prometheus metrics answer; port 0 for nowhere.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    unix_path: str = ""
    unix_mode: int = 0o666
    inherit_sockets: bool = False
    workers: int = 1
    requests_per_worker_max: int = 0
    backlog: int = 2048
    proxy_protocol: bool = False
    trusted_peers: tuple[str, ...] = ()
    forwarded_fields: str = "x-forwarded"
    access_log: bool = True
    server_header: str = "scaling-lab"
    root_path: str = ""
    lifespan: Literal["auto", "on", "off"] = "auto"
    ws_deflate: bool = True
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    tls: TlsSettings | None = None
    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)
