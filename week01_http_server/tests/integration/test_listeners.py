import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from week01_http_server.transport.listeners import (
    FIRST_INHERITED_FD,
    UNIX_PATH_MAX_BYTES,
    ListenError,
    address_of,
    inherited,
    listen_tcp,
    listen_unix,
    remove_unix,
    spreads_by_port,
)

pytestmark = pytest.mark.integration
HOST = "127.0.0.1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: pytest's own come near the limit of unix sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        yield Path(made)


def refused_in_one_line(error: BaseException, *words: str) -> None:
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error)


def connected(address: object, family: int = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.settimeout(10)
    made.connect(address)  # type: ignore[arg-type]
    return made


def test_one_worker_gets_one_socket_that_answers() -> None:
    [only] = listen_tcp(HOST, 0, backlog=8)
    with only, connected(only.getsockname()):
        assert address_of(only) == f"http://{HOST}:{only.getsockname()[1]}"
        assert not only.getblocking()


@pytest.mark.skipif(not spreads_by_port(), reason="SO_REUSEPORT spreads connections on Linux only")
def test_each_worker_gets_a_share_of_the_connections() -> None:
    sockets = listen_tcp(HOST, 0, backlog=512, count=2)
    assert len({each.getsockname() for each in sockets}) == 1
    clients = [connected(sockets[0].getsockname()) for _ in range(200)]
    for each in sockets:
        accepted = 0
        while True:
            try:
                each.accept()[0].close()
            except BlockingIOError:
                break
            accepted += 1
        assert 50 <= accepted <= 150
    for each in [*clients, *sockets]:
        each.close()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("held", [1, 2])
def test_a_taken_port_is_refused_even_to_several_workers(count: int, held: int) -> None:
    sockets = listen_tcp(HOST, 0, backlog=8, count=held)
    port = sockets[0].getsockname()[1]
    with pytest.raises(ListenError) as refused:
        listen_tcp(HOST, port, backlog=8, count=count)
    refused_in_one_line(refused.value, f"{HOST}:{port}", "taken")
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("host", "port", "word"),
    [
        ("no-such-host.invalid", 0, "no-such-host.invalid"),
        ("203.0.113.77", 0, "does not have that address"),
        ("a" * 70 + ".example", 0, "cannot listen on host"),
        (HOST, 65536, "65536"),
        (HOST, -1, "-1"),
    ],
)
def test_a_bad_address_is_one_clear_line(host: str, port: int, word: str) -> None:
    with pytest.raises(ListenError) as refused:
        listen_tcp(host, port, backlog=8)
    refused_in_one_line(refused.value, word)


def test_a_port_that_needs_a_right_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(_socket: socket.socket, _address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbid, raising=False)
    with pytest.raises(ListenError) as refused:
        listen_tcp(HOST, 80, backlog=8)
    refused_in_one_line(refused.value, "root", "CAP_NET_BIND_SERVICE")


def test_ipv6_addresses_are_written_in_brackets() -> None:
    try:
        [only] = listen_tcp("::1", 0, backlog=8)
    except ListenError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with only:
        assert address_of(only, tls=True).startswith("https://[::1]:")


def test_a_name_with_both_kinds_of_address_is_ipv4() -> None:
    [only] = listen_tcp("localhost", 0, backlog=8)
    with only:
        assert only.getsockname()[0] == HOST


def test_a_unix_socket_has_its_mode_and_goes_away(folder: Path) -> None:
    path = folder / "s"
    with listen_unix(str(path), mode=0o660, backlog=8) as listening:
        assert path.stat().st_mode & 0o777 == 0o660
        assert address_of(listening) == f"unix:{path}"
        connected(str(path), socket.AF_UNIX).close()
        remove_unix(str(path))
        assert path.exists(), "somebody answers there"
    remove_unix(str(path))
    assert not path.exists()


def test_a_socket_file_nobody_answers_on_is_replaced(folder: Path) -> None:
    path = str(folder / "s")
    listen_unix(path, mode=0o600, backlog=8).close()
    with listen_unix(path, mode=0o600, backlog=8):
        connected(path, socket.AF_UNIX).close()


@pytest.mark.parametrize("backlog", [8, 0])
def test_a_socket_somebody_answers_on_is_not_replaced(folder: Path, backlog: int) -> None:
    path = str(folder / "s")
    with listen_unix(path, mode=0o600, backlog=backlog) as first:
        waiting = [connected(path, socket.AF_UNIX)]  # fills the queue of the one with backlog 0
        with pytest.raises(ListenError) as refused:
            listen_unix(path, mode=0o600, backlog=8)
        refused_in_one_line(refused.value, path, "another server answers")
        first.accept()[0].close()
        waiting[0].close()


def test_a_file_that_is_no_socket_stays(folder: Path) -> None:
    path = folder / "precious"
    path.write_text("data")
    with pytest.raises(ListenError) as refused:
        listen_unix(str(path), mode=0o600, backlog=8)
    refused_in_one_line(refused.value, "no socket")
    assert path.read_text() == "data"


def test_a_path_too_long_tells_the_limit(folder: Path) -> None:
    longest = str(folder / "s").ljust(UNIX_PATH_MAX_BYTES, "x")
    listen_unix(longest, mode=0o600, backlog=8).close()
    with pytest.raises(ListenError) as refused:
        listen_unix(longest + "x", mode=0o600, backlog=8)
    refused_in_one_line(refused.value, str(UNIX_PATH_MAX_BYTES), str(UNIX_PATH_MAX_BYTES + 1))


def test_a_folder_that_is_not_there_is_one_clear_line(folder: Path) -> None:
    with pytest.raises(ListenError) as refused:
        listen_unix(str(folder / "none" / "s"), mode=0o600, backlog=8)
    refused_in_one_line(refused.value, "No such file")


ACTIVATED = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from week01_http_server.transport.listeners import inherited, ListenError
try:
    sockets = inherited(os.environ, os.getpid())
except ListenError as error:
    sys.exit(str(error))
assert not any(name.startswith("LISTEN_") for name in os.environ)
for each in sockets:
    each.setblocking(True)
    each.accept()[0].sendall(str(each.fileno()).encode())
"""


def activated(*given: int, count: str) -> subprocess.Popen[bytes]:
    """A process that gets `given` as descriptors 3 and up, as the service manager does it."""
    moves = "".join(f"os.dup2({fd}, {100 + n}); " for n, fd in enumerate(given))
    places = "".join(f"os.dup2({100 + n}, {FIRST_INHERITED_FD + n}); " for n in range(len(given)))
    program = f"import os; {moves}{places}\n{ACTIVATED}"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        pass_fds=given,
        env={**os.environ, "LISTEN_FDS": count, "LISTEN_FDNAMES": "a:b"},
        stderr=subprocess.PIPE,
    )


def test_sockets_of_the_service_manager_are_taken_in_order() -> None:
    sockets = [listen_tcp(HOST, 0, backlog=8)[0] for _ in range(2)]
    child = activated(*(each.fileno() for each in sockets), count="2")
    for number, each in enumerate(sockets):
        with connected(each.getsockname()) as client:
            assert client.recv(10) == str(FIRST_INHERITED_FD + number).encode()
        each.close()
    assert child.wait(30) == 0, child.communicate()


def test_a_descriptor_that_does_not_listen_is_refused() -> None:
    with socket.socket() as quiet:
        child = activated(quiet.fileno(), count="1")
    _, told = child.communicate(timeout=30)
    assert child.returncode == 1
    assert told.decode().strip() == "descriptor 3 is no listening stream socket"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_PID": "7", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "x"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "100000"},
    ],
)
def test_without_sockets_for_this_process_it_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ListenError) as refused:
        inherited(environment, 8)
    refused_in_one_line(refused.value, "LISTEN_FDS", "systemd")
    assert environment == {}
