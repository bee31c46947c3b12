"""The containers' health check: well is a 200 and nothing else, and every other end has a line."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from infra.service import healthcheck


@contextmanager
def _answering(*pieces: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server of one connection that says `pieces` and hangs up; what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                for piece in pieces:
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            thread.join()


def test_a_200_is_well_also_when_it_comes_in_pieces() -> None:
    with _answering(b"HTTP/1.1 2", b"00 OK\r\n", b"\r\n") as (port, asked):
        assert healthcheck.main([str(port), "/health/ready"]) == 0
    assert asked[0].startswith(b"GET /health/ready HTTP/1.1\r\nHost: ")


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ((b"HTTP/1.1 503 Service Unavailable\r\n",), "503"),
        ((b"HTTP/1.1 302 Found\r\n",), "302"),
        ((b"HTTP/1.1 2000 What\r\n",), "2000"),
        ((b"HTTP/1.1 200",), "hung up"),
        ((), "hung up"),
        ((b"x" * 5000,), "xxx"),
    ],
)
def test_everything_else_is_not(
    pieces: tuple[bytes, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with _answering(*pieces) as (port, _):
        assert healthcheck.main([str(port), "/"]) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_nobody_there_and_nobody_answering(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(healthcheck, "TIMEOUT_S", 0.05)
        assert healthcheck.main([str(port), "/"]) == 1
        assert "timed out" in capsys.readouterr().err
    assert healthcheck.main([str(port), "/"]) == 1
    assert "refused" in capsys.readouterr().err
    assert healthcheck.main(["70000", "/"]) == 1


@pytest.mark.parametrize("words", [[], ["8405"], ["8405", "health"], ["x", "/"], ["1", "/", "2"]])
def test_a_command_line_that_says_too_little(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert healthcheck.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_imports_nothing_heavy() -> None:
    """It runs every few seconds in each container."""
    count = "import sys, infra.service.healthcheck as h; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", count], capture_output=True, text=True)
    loaded = done.stdout.split()
    assert "socket" in loaded and not {"asyncio", "http", "ssl", "urllib"}.intersection(loaded)
