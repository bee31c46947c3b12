"""Listening sockets: TCP, unix, or handed over by whoever started us; refused in one line.

With several workers on Linux each gets a TCP socket of its own on the same port (SO_REUSEPORT,
socket(7)): the kernel spreads connections evenly over them. Elsewhere SO_REUSEPORT does not
spread, and a unix path or an inherited socket is only one: the workers then share it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import MutableMapping
from pathlib import Path

UNIX_PATH_MAX_BYTES = 107 if sys.platform == "linux" else 103
"""sun_path without its NUL (unix(7); 104 bytes on macOS)."""

FIRST_INHERITED_FD = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

INHERITED_MAX = 64


class ListenError(Exception):
    """We cannot listen there; one line that says what to do."""


def listen_tcp(host: str, port: int, *, backlog: int, count: int = 1) -> list[socket.socket]:
    """`count` listening sockets on one address, non-blocking, in the order of the workers.

    Args:
        host: an address or a name; of a name that has both, IPv4 is taken. "" is every address.
        port: 0 takes a free one, the same for all.

    Raises:
        ListenError: no such host, port taken or not allowed.
    """
    family, address = _resolve(host, port)
    first = _bound(family, address, reuse_port=False)
    if count > 1:
        # Bound without SO_REUSEPORT once: else a second server of the same user would get the
        # port too, and half of the connections.
        address = (address[0], first.getsockname()[1], *address[2:])
        first.close()
    sockets = [first] if count == 1 else []
    try:
        while len(sockets) < count:
            sockets.append(_bound(family, address, reuse_port=True))
        for each in sockets:
            each.listen(backlog)
            each.setblocking(False)
    except OSError as error:
        for each in sockets:
            each.close()
        raise ListenError(_why(error, address)) from None
    return sockets


def spreads_by_port() -> bool:
    """Whether sockets of one port share its connections evenly (SO_REUSEPORT on Linux)."""
    return sys.platform == "linux"


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int] | tuple[str, int, int, int]]:
    if not 0 <= port <= 65535:
        raise ListenError(f"port {port} is not between 0 and 65535")
    try:
        found = socket.getaddrinfo(
            host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ListenError(f"cannot listen on host {host!r}: {reason}") from None
    found.sort(key=lambda info: info[0] != socket.AF_INET)  # stable
    return found[0][0], found[0][4]  # type: ignore[return-value]


def _bound(
    family: int, address: tuple[str, int] | tuple[str, int, int, int], *, reuse_port: bool
) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Without it a restarted server waits a minute for its last connections (TIME_WAIT).
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise ListenError(_why(error, address)) from None
    return made


def _why(error: OSError, address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    where = f"{_bracketed(address[0])}:{address[1]}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: the port is taken; stop what listens there, or --port"
    if error.errno == errno.EACCES:
        return f"cannot listen on {where}: ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: this machine does not have that address"
    return f"cannot listen on {where}: {os.strerror(error.errno or 0)}"


def listen_unix(path: str, *, mode: int, backlog: int) -> socket.socket:
    """A listening unix socket, non-blocking; a socket file that nobody answers on is replaced.

    The mode holds from the first moment on (through the process's umask: call it before threads
    are started).

    Raises:
        ListenError: path too long, taken, no socket, or not allowed.
    """
    size = len(os.fsencode(path))
    if size > UNIX_PATH_MAX_BYTES:
        raise ListenError(
            f"the unix socket's path has {size} bytes, the system allows {UNIX_PATH_MAX_BYTES}: "
            "choose a shorter one"
        )
    _clear_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o777 & ~mode)
    try:
        made.bind(path)
        made.listen(backlog)
    except OSError as error:
        made.close()
        reason = os.strerror(error.errno or 0)
        raise ListenError(f"cannot listen on unix socket {path!r}: {reason}") from None
    finally:
        os.umask(umask)
    made.setblocking(False)
    return made


def _clear_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(Path(path).stat(follow_symlinks=False).st_mode):
            raise ListenError(f"{path!r} is there and no socket: remove it, or choose another path")
    except FileNotFoundError:
        return
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ListenError(f"cannot listen on unix socket {path!r}: {reason}") from None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:  # nobody has it open
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            return
        except FileNotFoundError:
            return
        except BlockingIOError:  # its queue is full: somebody is there
            pass
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ListenError(f"cannot tell who has unix socket {path!r}: {reason}") from None
    raise ListenError(f"cannot listen on unix socket {path!r}: another server answers there")


def remove_unix(path: str) -> None:
    """Remove the socket file of a socket that is closed, unless another server answers there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()


def inherited(environment: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """The listening sockets that the service manager passed: sd_listen_fds(3).

    LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are removed, so that no child takes them for its own.

    Raises:
        ListenError: there are none for `pid`, or one is no listening stream socket.
    """
    wanted_pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if wanted_pid != str(pid) or not count.isdecimal() or not 1 <= int(count) <= INHERITED_MAX:
        raise ListenError(
            "no sockets were passed to this process (LISTEN_FDS, LISTEN_PID): "
            "start it from a systemd socket unit, or with systemd-socket-activate"
        )
    return [adopt(FIRST_INHERITED_FD + number) for number in range(int(count))]


def adopt(fd: int) -> socket.socket:
    """The listening socket behind a descriptor that our parent left open, made non-blocking.

    Raises:
        ListenError: the descriptor is closed, or no listening stream socket.
    """
    try:
        os.fstat(fd)
        adopted = socket.socket(fileno=fd)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ListenError(f"descriptor {fd} is no socket: {reason}") from None
    if adopted.type != socket.SOCK_STREAM or not adopted.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        adopted.detach()
        raise ListenError(f"descriptor {fd} is no listening stream socket")
    adopted.set_inheritable(False)
    adopted.setblocking(False)
    return adopted


def address_of(listening: socket.socket, *, tls: bool = False) -> str:
    """Where to reach it, for people: "http://127.0.0.1:8080" or "unix:/run/server.sock"."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    return f"{'https' if tls else 'http'}://{_bracketed(name[0])}:{name[1]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
