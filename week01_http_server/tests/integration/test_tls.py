import contextlib
import json
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from week01_http_server.tests.programs import APP, Program, ask, until

pytestmark = pytest.mark.integration

AUTHORITY = trustme.CA()


def write(folder: Path, stem: str, *names: str) -> None:
    issued = AUTHORITY.issue_cert(*names)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (folder / f"{stem}.pem").write_bytes(chain)
    (folder / f"{stem}.key").write_bytes(issued.private_key_pem.bytes())


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        path = Path(made)
        (path / "main.py").write_text(APP)
        write(path, "a", "a.example.org")
        write(path, "b", "b.example.org")
        yield path


@pytest.fixture
def program(folder: Path) -> Iterator[Program]:
    made = Program(
        folder,
        "main:app",
        *("--ssl-certfile", "a.pem", "--ssl-keyfile", "a.key"),
        *("--ssl-certfile", "b.pem", "--ssl-keyfile", "b.key"),
    )
    yield made
    made.end()


def connected(program: Program, name: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    AUTHORITY.configure_trust(context)
    return context.wrap_socket(program.connect(), server_hostname=name)


def serial(program: Program, name: str) -> str:
    with connected(program, name) as sock:
        shown = sock.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


def test_each_name_is_answered_with_its_certificate_over_the_event_loop(program: Program) -> None:
    for name in ("a.example.org", "b.example.org"):
        with connected(program, name) as sock:
            assert sock.selected_alpn_protocol() == "http/1.1"
            assert sock.version() == "TLSv1.3"
            assert json.loads(ask(sock))["scheme"] == "https"
    assert program.heard("listening on https://127.0.0.1:")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_new_certificates_come_into_use_and_open_connections_stay(
    program: Program, folder: Path, number: signal.Signals
) -> None:
    before = serial(program, "a.example.org")
    with connected(program, "a.example.org") as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        until((folder / "waiting").exists, "the app to begin")
        write(folder, "a", "a.example.org")
        program.signal(number)
        until(lambda: serial(program, "a.example.org") != before, "the new certificate")
        (folder / "go").touch()
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGUSR1, ("a.pem", "old certificate stays")),
        (signal.SIGHUP, ("a.pem", "reload refused")),
    ],
)
def test_a_bad_certificate_at_reload_keeps_the_old_one_and_says_so(
    program: Program, folder: Path, number: signal.Signals, words: tuple[str, ...]
) -> None:
    before = serial(program, "a.example.org")
    workers = program.workers()
    (folder / "a.pem").write_text("half a file")
    program.signal(number)
    until(lambda: program.heard(*words), "the complaint")
    assert serial(program, "a.example.org") == before
    assert program.workers() == workers


def test_handshakes_under_way_are_finished_when_it_stops(program: Program) -> None:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    to_server, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(from_server, to_server, server_hostname="a.example.org")
    with program.connect() as sock:
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        hello = to_server.read()
        sock.sendall(hello[:50])
        until(lambda: _accepted(program), "the connection to be accepted")
        program.signal(signal.SIGTERM)
        until(lambda: program.heard("stopping"), "the signal to be heard")
        sock.sendall(hello[50:])
        while True:
            from_server.write(sock.recv(65536))
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        sock.sendall(to_server.read())
        answer = b""
        while b"version" not in answer:
            try:
                answer += client.read()
            except ssl.SSLWantReadError:
                data = sock.recv(65536)
                assert data, answer
                from_server.write(data)
    assert program.wait() == 0


def _accepted(program: Program) -> bool:
    """Later connections have been accepted, so those before them have."""
    return bool(serial(program, "b.example.org"))


def test_plain_http_on_a_tls_port_is_no_answer_and_no_harm(program: Program) -> None:
    with program.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/1.1" not in sock.recv(1000)
    assert serial(program, "a.example.org")


def test_a_key_of_another_certificate_is_refused_before_anything_listens(folder: Path) -> None:
    program = Program(
        folder, "main:app", "--ssl-certfile", "a.pem", "--ssl-keyfile", "b.key", ready=False
    )
    assert program.wait() == 2
    [line] = program.said
    assert "b.key is not the key of a.pem" in line


def test_the_proxy_protocol_and_tls_are_not_confused_with_http(folder: Path) -> None:
    program = Program(folder, "main:app", "--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1")
    try:
        with program.connect() as sock:
            sock.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n")
            assert json.loads(ask(sock))["client"] == ["192.0.2.7", 5000]
        with program.connect() as sock, pytest.raises((AssertionError, ConnectionResetError)):
            ask(sock)
    finally:
        program.end()


def test_who_is_not_trusted_may_not_speak_the_proxy_protocol(folder: Path) -> None:
    program = Program(folder, "main:app", "--proxy-protocol", "--forwarded-allow-ips", "10.0.0.1")
    try:
        with program.connect() as sock, pytest.raises((AssertionError, OSError)):
            sock.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n")
            ask(sock)
    finally:
        program.end()


def test_a_client_that_never_says_hello_holds_nobody_up(program: Program) -> None:
    with socket.create_connection(("127.0.0.1", program.port)):  # never says hello
        assert serial(program, "a.example.org")
