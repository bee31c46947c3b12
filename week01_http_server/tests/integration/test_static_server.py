"""Files through the real server, by real clients."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from week01_http_server.channel import Channel
from week01_http_server.static import sending
from week01_http_server.static.app import FilesApplication

if TYPE_CHECKING:
    from week01_http_server.tests.conftest import RunningServer, Serve

pytestmark = pytest.mark.integration

WAIT_S = 20.0
LARGE = random.Random(1).randbytes(6 * 1024 * 1024 + 17)  # more than a socket takes at once
SMALL = b"0123456789"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_bytes(b"SECRET")
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "docs" / "index.html").write_bytes(b"<p>docs")
    (root / "small.txt").write_bytes(SMALL)
    (root / "large.bin").write_bytes(LARGE)
    (root / "out.txt").symlink_to("../secret.txt")
    return root


def files(root: Path) -> FilesApplication:
    return FilesApplication(root, clock=lambda: time.time() + 60)


@pytest.fixture
def server(serve: Serve, root: Path) -> RunningServer:
    return serve(files(root))


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    base = f"http://127.0.0.1:{server.port}"
    with httpx.Client(base_url=base, timeout=WAIT_S, trust_env=False) as client:
        yield client


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each copy that the kernel made."""
    made: list[int] = []
    copy = sending.copy

    def counting(*args: object) -> int:
        sent = copy(*args)  # type: ignore[arg-type]
        made.append(sent)
        return sent

    monkeypatch.setattr(sending, "copy", counting)
    return made


def test_one_connection_serves_files_of_all_sizes(client: httpx.Client) -> None:
    for _ in range(3):
        assert client.get("/small.txt").content == SMALL
        assert client.get("/large.bin").content == LARGE
        assert client.head("/large.bin").headers["content-length"] == str(len(LARGE))
        assert client.get("/absent").status_code == 404


def test_a_client_follows_to_the_index(client: httpx.Client) -> None:
    answer = client.get("/docs?a=b", follow_redirects=True)
    assert answer.text == "<p>docs"
    assert answer.url.raw_path == b"/docs/?a=b"


@pytest.mark.parametrize("path", ["/small.txt", "/large.bin"])
def test_a_client_revalidates(client: httpx.Client, path: str) -> None:
    first = client.get(path)
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    since = client.get(path, headers={"if-modified-since": first.headers["last-modified"]})
    assert since.status_code == 304


def test_a_download_is_resumed(client: httpx.Client) -> None:
    half = len(LARGE) // 2
    etag = client.head("/large.bin").headers["etag"]
    first = client.get("/large.bin", headers={"range": f"bytes=0-{half - 1}"})
    rest = client.get("/large.bin", headers={"range": f"bytes={half}-", "if-range": etag})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == LARGE


def test_several_ranges_of_a_large_file(client: httpx.Client) -> None:
    asked = f"bytes=0-9,3000000-5500000,{len(LARGE) - 5}-"
    answer = client.get("/large.bin", headers={"range": asked})
    assert answer.status_code == 206
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    parts = answer.content.split(b"--" + boundary)
    bodies = [part.partition(b"\r\n\r\n")[2][:-2] for part in parts[1:-1]]
    assert bodies == [LARGE[:10], LARGE[3000000:5500001], LARGE[-5:]]


def test_what_lies_outside_is_not_served(server: RunningServer) -> None:
    for path in (
        b"/out.txt",
        b"/../secret.txt",
        b"/docs/..%2f../secret.txt",
        b"/%2e%2e/secret.txt",
    ):
        with server.connect() as sock:
            sock.sendall(b"GET %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % path)
            answer = everything(sock)
        assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
        assert b"SECRET" not in answer


def test_the_kernel_copies_large_files(client: httpx.Client, copies: list[int]) -> None:
    assert client.get("/large.bin").content == LARGE
    assert sum(copies) > len(LARGE) // 2


def test_pipelined_answers_keep_their_order(server: RunningServer, copies: list[int]) -> None:
    names = [b"small.txt", b"large.bin", b"small.txt", b"large.bin", b"small.txt"]
    requests = [b"GET /%s HTTP/1.1\r\nhost: a\r\n\r\n" % name for name in names[:-1]]
    requests.append(b"GET /small.txt HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    with server.connect() as sock:
        sock.sendall(b"".join(requests))
        received = everything(sock)
    for name in names:
        head, _, received = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        body = LARGE if name == b"large.bin" else SMALL
        assert received[: len(body)] == body
        received = received[len(body) :]
    assert received == b""
    assert sum(copies) > 0


def test_slow_and_fast_readers_each_get_the_whole_file(
    server: RunningServer, copies: list[int]
) -> None:
    def download(number: int) -> bytes:
        with server.connect() as sock:
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            sock.sendall(b"GET /large.bin HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            return everything(sock, pause_s=0.0005 * (number % 2)).partition(b"\r\n\r\n")[2]

    with ThreadPoolExecutor(8) as pool:
        assert all(body == LARGE for body in pool.map(download, range(8)))
    assert 0 in copies  # some socket was full, and the transport had its turn


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(
    server: RunningServer, client: httpx.Client
) -> None:
    before = descriptors()
    for _ in range(10):
        with server.connect() as sock:
            sock.sendall(b"GET /large.bin HTTP/1.1\r\nhost: a\r\n\r\n")
            assert sock.recv(1000)
    assert client.get("/large.bin").content == LARGE
    client.close()
    until(lambda: descriptors() <= before)


def test_a_file_that_becomes_shorter_cuts_the_connection(server: RunningServer, root: Path) -> None:
    with server.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        sock.sendall(b"GET /large.bin HTTP/1.1\r\nhost: a\r\n\r\n")
        assert sock.recv(1000)
        os.truncate(root / "large.bin", 1000)
        with pytest.raises(ConnectionResetError):
            everything(sock)
    until(lambda: bool(server.errors))
    assert "handler failed" in server.errors[0].getMessage()
    server.errors.clear()


def test_files_over_tls(serve: Serve, root: Path, copies: list[int]) -> None:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    server = serve(files(root), ssl=ours)
    base = f"https://localhost:{server.port}"
    with httpx.Client(base_url=base, verify=theirs, timeout=WAIT_S, trust_env=False) as client:
        assert client.get("/large.bin").content == LARGE
        assert client.get("/small.txt").content == SMALL
    assert sum(copies) == 0


def test_files_over_a_unix_socket(serve: Serve, root: Path, copies: list[int]) -> None:
    path = Path(f"/tmp/w01-static-{os.getpid()}.sock")
    try:
        serve(files(root), unix=path)
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://a", timeout=WAIT_S) as client:
            assert client.get("/large.bin").content == LARGE
    finally:
        path.unlink(missing_ok=True)
    assert sum(copies) > 0


def test_a_system_that_cannot_copy_sends_all_the_same(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*args: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", unable)
    assert client.get("/large.bin").content == LARGE


def test_a_closed_connection_is_never_copied_to(
    server: RunningServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its descriptor may be another client's by then."""
    seen: list[int] = []
    copy = sending.copy

    def aborting(channel: Channel, *args: int) -> int:
        channel._transport.abort()
        seen.append(copy(channel, *args))
        return seen[-1]

    monkeypatch.setattr(sending, "copy", aborting)
    with server.connect() as sock:
        sock.sendall(b"GET /large.bin HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert len(everything(sock)) < len(LARGE)
    until(lambda: bool(seen))
    assert set(seen) == {0}


def everything(sock: socket.socket, pause_s: float = 0.0) -> bytes:
    """What comes until the end of the stream."""
    received = bytearray()
    while data := sock.recv(64 * 1024):
        received += data
        if pause_s:
            time.sleep(pause_s)  # the reader is slow, nothing is waited for
    return bytes(received)


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - the names are wanted, not paths


def until(condition: object) -> None:
    """Wait for it."""
    assert callable(condition)
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
