"""The supervisor of one instance, from outside: its configuration, its start, its XML-RPC.

supervisord (a kept library, ADR 0001) owns the processes. Its configuration holds no text from
the user's side: every path in it is relative to the file itself, and what a service needs
(arguments, environment) stands in a small start script per service, which learners can read and
run by hand. supervisor's ini dialect would cut a value at " ;" or " #".
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import xmlrpc.client
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from infra.lab.engines.local import plugin
from infra.lab.errors import LabError
from infra.lab.servers.base import Launch, Server
from infra.lab.site import Site, make_dir

LOG_MAX_BYTES = 10 * 1024 * 1024
LOG_BACKUPS = 3
START_TIMEOUT_S = 15.0
SHUTDOWN_TIMEOUT_S = 60.0
START_RETRIES = 30
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")

_MAIN = """\
; Written by the lab at every start.
[supervisord]
logfile=%(here)s/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile=%(here)s/supervisord.pid
childlogdir=%(here)s
directory=%(here)s
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
directory=%(here)s/../run/{name}
autostart=false
autorestart={restart}
startsecs={start_s}
startretries={retries}
exitcodes=0
stopsignal={signal}
stopwaitsecs={wait_s}
killasgroup=true
redirect_stderr=true
stdout_logfile=%(here)s/../logs/{name}.log
stdout_logfile_maxbytes={log_bytes}
stdout_logfile_backups={log_backups}
{user}"""


class Supervision:
    """The supervisor of the instance at `site`; alive as long as its lock is held."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._dir = site.root / "supervisor"
        self._calls = threading.Lock()  # one connection, several threads

    @property
    def log(self) -> Path:
        return self._dir / "supervisord.log"

    def alive(self) -> bool:
        """Whether a supervisor holds the lock. Never a question of pids."""
        try:
            lock = os.open(self._dir / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

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
                    signal=launch.stop_signal.name.removeprefix("SIG"),
                    wait_s=launch.stop_timeout_s,
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
            *(f"export {name}={shlex.quote(value)}" for name, value in launch.env.items()),
            "exec " + " \\\n    ".join(shlex.quote(word) for word in launch.argv),
        ]
        script = run / "start"
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o700)  # it holds passwords
        if launch.account is not None:
            os.chown(script, launch.account.uid, launch.account.gid)

    def start_daemon(self, owner: str | None = None) -> None:
        """Start supervisord and wait until it answers. Raises LabError with its own last words.

        Args:
            owner: ends the whole week when that process is gone (plugin.OWNER_VARIABLE).
        """
        socket = self._socket(create=True)
        socket.unlink(missing_ok=True)
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {
            "LAB_SOCKET": str(socket),
            plugin.LOCK_VARIABLE: str(self._dir / "lock"),
        }
        if owner is not None:
            environment[plugin.OWNER_VARIABLE] = owner
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"],
            cwd=self._dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            start_new_session=True,  # a Ctrl-C in the terminal is for the command, not for it
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise LabError(f"the supervisor did not start: {said[-1] if said else self.log}")
        self._wait(lambda: self._answers(), START_TIMEOUT_S, "the supervisor does not answer")

    def shut_down(self) -> None:
        """End supervisord (and whatever still runs under it); returns once it is gone."""
        try:
            self.call("supervisor.shutdown")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.SHUTDOWN_STATE:
                raise
        self._wait(lambda: not self.alive(), SHUTDOWN_TIMEOUT_S, "the supervisor does not end")
        self.remove_socket()

    def remove_socket(self) -> None:
        shutil.rmtree(self._socket().parent, ignore_errors=True)

    def call(self, method: str, *arguments: Any) -> Any:
        """One XML-RPC call. Raises xmlrpc.client.Fault for what supervisord refuses, LabError
        when it does not answer."""
        path = self._socket()
        transport = SupervisorTransport(None, None, f"unix://{path}")
        try:
            with self._calls, xmlrpc.client.ServerProxy("http://lab", transport) as proxy:
                return getattr(proxy, method)(*arguments)
        except (OSError, HTTPException) as error:
            raise LabError(
                f"the supervisor of {self._site.week} does not answer ({error}): "
                f"run `make {self._site.week} down`, then `up`"
            ) from error

    def infos(self) -> dict[str, dict[str, Any]]:
        """supervisor's getAllProcessInfo by service name."""
        return {info["name"]: info for info in self.call("supervisor.getAllProcessInfo")}

    def _answers(self) -> bool:
        try:
            self.call("supervisor.getState")
        except LabError:
            return False
        return True

    def _wait(self, condition: Any, timeout_s: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f"{complaint} after {timeout_s:.0f} s: see {self.log}")
            time.sleep(0.02)

    def _socket(self, create: bool = False) -> Path:
        """A short path in a folder of our own: unix socket paths end at 107 bytes."""
        digest = hashlib.sha256(os.fsencode(self._site.root.resolve())).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"scaling-lab-{os.getuid()}-{digest}"
        if create:
            folder.mkdir(mode=0o700, exist_ok=True)
            info = folder.lstat()
            if info.st_uid != os.getuid() or not stat.S_ISDIR(info.st_mode):
                raise LabError(f"{folder} belongs to another user: have it removed")
            folder.chmod(0o700)
        return folder / "supervisor.sock"
