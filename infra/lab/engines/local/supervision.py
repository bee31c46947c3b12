"""The supervisor of one instance, from outside: its configuration, its start, its XML-RPC.

supervisord (a kept library, ADR 0001) owns the processes. Its configuration holds no text from
the user's side: every path in it is relative to supervisord's working directory, and what a
service needs (arguments, environment) stands in a small start script per service, which learners
can read and run by hand. supervisor's ini dialect would cut a value at " ;" or " #" and expand a
"%", also in the path of the file itself (`%(here)s`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from infra.lab.engines.local import plugin
from infra.lab.errors import LabError
from infra.lab.servers.base import Launch, Server, service_environment
from infra.lab.site import Site, make_dir

LOG_MAX_BYTES = 10 * 1024 * 1024
LOG_BACKUPS = 3
START_TIMEOUT_S = 15.0
SHUTDOWN_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 20.0
START_RETRIES = 30
SOCKETS = Path("/tmp")
"""Not the environment's idea of it: `status` may come from a shell with another TMPDIR."""

_PROGRAM_WORDS = ("supervisor.supervisord", "-c", "supervisord.conf")

_MAIN = """\
; Written by the lab at every start.
[supervisord]
logfile=supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile=supervisord.pid
childlogdir=.
directory=.
umask=022

[unix_http_server]
file=%(ENV_LAB_SOCKET)s
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[rpcinterface:lab]
supervisor.rpcinterface_factory=infra.lab.engines.local.plugin:make_interface
"""

_PROGRAM = """
[program:{name}]
command=/bin/sh start
directory=../run/{name}
autostart=false
autorestart={restart}
startsecs={start_s}
startretries={retries}
exitcodes=0
stopsignal={signal}
stopwaitsecs={wait_s}
killasgroup=true
redirect_stderr=true
stdout_logfile=../logs/{name}.log
stdout_logfile_maxbytes={log_bytes}
stdout_logfile_backups={log_backups}
{user}"""


class RefusedError(LabError):
    """The supervisor's answer was no; `code` is one of supervisor.xmlrpc.Faults."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Supervision:
    """The supervisor of the instance at `site`; alive as long as its lock is held."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._dir = site.root / "supervisor"

    @property
    def log(self) -> Path:
        return self._dir / "supervisord.log"

    def alive(self) -> bool:
        """Whether a supervisor holds the lock. Never a question of pids."""
        return plugin.is_locked(plugin.lock_of(self._site.root))

    def configure(self, launches: Mapping[Server, Launch]) -> None:
        """Write the configuration and each service's start script."""
        make_dir(self._dir)
        make_dir(self._site.root / "logs")
        parts = [_MAIN]
        for server, launch in launches.items():
            self._write_start_script(server, launch)
            parts.append(
                _PROGRAM.format(
                    name=server.name,
                    restart="false" if server.one_shot else "true",
                    start_s=0 if server.one_shot else 1,
                    retries=START_RETRIES,
                    signal=server.stop_signal.name.removeprefix("SIG"),
                    wait_s=server.stop_timeout_s,
                    log_bytes=LOG_MAX_BYTES,
                    log_backups=LOG_BACKUPS,
                    user=f"user={launch.account.name}\n" if launch.account else "",
                )
            )
        (self._dir / "supervisord.conf").write_text("".join(parts))

    def _write_start_script(self, server: Server, launch: Launch) -> None:
        """Environment and command as shell words; its number goes to `pid` before it becomes the
        server, so that no process of ours ever runs unrecorded."""
        run = make_dir(self._site.run_dir(server.name), launch.account)
        lines = [
            "#!/bin/sh",
            f"# {server.kind} as the lab starts it; written anew at every `up`.",
            'cd "$(dirname "$0")" && echo $$ > pid || exit 1',
            *(_export(*setting) for setting in launch.env.items()),
            "exec " + " \\\n    ".join(shlex.quote(word) for word in launch.argv),
        ]
        script = run / "start"
        script.unlink(missing_ok=True)
        script.touch(0o700)  # it holds passwords
        script.write_bytes(os.fsencode("\n".join(lines) + "\n"))
        if launch.account is not None:
            os.chown(script, launch.account.uid, launch.account.gid)

    def has_settings(self, server: Server, settings: Mapping[str, str]) -> bool:
        """Whether the service's start script sets all of `settings`."""
        if not settings:
            return True
        script = os.fsdecode((self._site.run_dir(server.name) / "start").read_bytes())
        return set(script.splitlines()) >= {_export(*setting) for setting in settings.items()}

    def start_daemon(self, owner: str | None = None) -> None:
        """Start supervisord and wait until it answers. Raises LabError with its own last words.

        Args:
            owner: ends the whole week when that process is gone (plugin.OWNER_VARIABLE).
        """
        path = self._make_socket_dir() / "supervisor.sock"
        path.unlink(missing_ok=True)
        environment = {
            **service_environment(),
            "LAB_SOCKET": str(path),
            plugin.LOCK_VARIABLE: str(plugin.lock_of(self._site.root)),
        }
        if owner is not None:
            environment[plugin.OWNER_VARIABLE] = owner
        try:
            done = subprocess.run(
                [sys.executable, "-m", *_PROGRAM_WORDS],
                cwd=self._dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=START_TIMEOUT_S,
                start_new_session=True,  # a Ctrl-C in the terminal is for the command, not for it
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(
                f"the supervisor did not start within {START_TIMEOUT_S:.0f} s: see {self.log}"
            ) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            errors = [line for line in said if line.startswith("Error")]  # usage follows
            reason = (errors or said[-1:] or [f"see {self.log}"])[0]
            raise LabError(f"the supervisor did not start: {reason}")
        self._wait(lambda: self._answers(), START_TIMEOUT_S, "the supervisor does not answer")

    def shut_down(self) -> None:
        """End supervisord (and whatever still runs under it); returns once it is gone.

        Raises LabError when it does not answer or does not end.
        """
        try:
            self.call("supervisor.shutdown")
        except RefusedError as refused:
            if refused.code != Faults.SHUTDOWN_STATE:
                raise
        self._wait(lambda: not self.alive(), SHUTDOWN_TIMEOUT_S, "the supervisor does not end")

    def end_by_force(self) -> None:
        """End a supervisord that no call reaches: by SIGTERM, by which it stops its services in
        its own order, else by SIGKILL, which leaves them to `orphans`."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(SHUTDOWN_TIMEOUT_S)
                except psutil.TimeoutExpired:
                    process.kill()
                    process.wait(SHUTDOWN_TIMEOUT_S)

    def _processes(self) -> list[psutil.Process]:
        """Found by what it is: supervisord's program at work in this instance's own folder."""
        found = []
        here = self._dir.resolve()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if _PROGRAM_WORDS[0] in process.cmdline() and Path(process.cwd()) == here:
                    found.append(process)
        return found

    def remove_socket(self) -> None:
        shutil.rmtree(self._socket().parent, ignore_errors=True)

    def call(self, method: str, *arguments: Any) -> Any:
        """One XML-RPC call; from any thread. Raises RefusedError for what supervisord refuses,
        another LabError when it does not answer (as HTTP, as XML, in time)."""
        transport = _Transport(self._socket())
        try:
            with xmlrpc.client.ServerProxy("http://lab", transport) as proxy:
                return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            words = ", ".join(map(str, arguments))
            raise RefusedError(
                f"the supervisor refused {method}({words}): {fault.faultString}", fault.faultCode
            ) from fault
        except (OSError, HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise LabError(
                f"the supervisor of {self._site.week} does not answer ({error}): "
                f"run `make {self._site.week} down`, then `up`"
            ) from error

    def _answers(self) -> bool:
        try:
            self.call("supervisor.getState")
        except LabError:
            return False
        return True

    def _wait(self, condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f"{complaint} after {timeout_s:.0f} s: see {self.log}")
            time.sleep(0.02)

    def _socket(self) -> Path:
        """A short path in a folder of our own: unix socket paths end at 107 bytes."""
        digest = hashlib.sha256(os.fsencode(self._site.root.resolve())).hexdigest()[:12]
        return SOCKETS / f"scaling-lab-{os.getuid()}-{digest}" / "supervisor.sock"

    def _make_socket_dir(self) -> Path:
        folder = self._socket().parent
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        info = folder.lstat()
        if info.st_uid != os.getuid() or not stat.S_ISDIR(info.st_mode):
            raise LabError(f"{folder} is not ours or no directory: have it removed")
        folder.chmod(0o700)
        return folder


class _Transport(SupervisorTransport):  # type: ignore[misc]  # supervisor ships no types
    """supervisor's own, which would wait for ever for a supervisord that is stopped."""

    def __init__(self, path: Path) -> None:
        super().__init__(None, None, f"unix://{path}")
        self._get_connection = lambda: _Connection(path)


class _Connection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CALL_TIMEOUT_S)
        self.sock.connect(str(self._path))


def _export(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"
