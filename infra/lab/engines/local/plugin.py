"""What the lab adds to supervisord: fault verbs, restart counts, the lock, an owner to outlive.

Runs inside supervisord (its `rpcinterface` extension point, supervisor manual, "RPC interfaces"),
is told where the lock lies by the environment, and is reached as `lab.*` over XML-RPC.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from supervisor import events
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults, RPCError

LOCK_VARIABLE = "LAB_SUPERVISOR_LOCK"
OWNER_VARIABLE = "LAB_OWNER"
"""`pid:creation time`; supervisord ends its week when that process is gone (tests use it)."""

ALIVE = (ProcessStates.RUNNING, ProcessStates.STARTING, ProcessStates.STOPPING)


class LabInterface:
    """Methods reached as `lab.NAME` over XML-RPC. Names of processes are plain service names."""

    def __init__(self, supervisord: Any, owner: str | None) -> None:
        self._supervisord = supervisord
        self._rpc = SupervisorNamespaceRPCInterface(supervisord)
        self._owner = owner
        self._restarts: Counter[str] = Counter()
        events.subscribe(events.ProcessStateStartingEvent, self._count)
        if owner is not None:
            events.subscribe(events.Tick5Event, self._end_without_owner)

    def kill(self, name: str) -> bool:
        """SIGKILL to the process and all below it; it stays dead until it is started."""
        process = self._alive(name)
        family = _family(process.pid)
        process.administrative_stop = True
        process.kill(signal.SIGKILL)
        _signal(family, signal.SIGKILL)
        return True

    def crash(self, name: str) -> bool:
        """SIGKILL to the process and all below it; the restart policy brings it back."""
        _signal(_family(self._alive(name).pid), signal.SIGKILL)
        return True

    def pause(self, name: str) -> bool:
        """SIGSTOP: it keeps its connections and answers nothing."""
        _signal(_family(self._alive(name).pid), signal.SIGSTOP)
        return True

    def resume(self, name: str) -> bool:
        """SIGCONT."""
        _signal(_family(self._alive(name).pid), signal.SIGCONT)
        return True

    def restarts(self) -> dict[str, int]:
        """Automatic restarts by service since the supervisor started."""
        return dict(self._restarts)

    def _alive(self, name: str) -> Any:
        _, process = self._rpc._getGroupAndProcess(name)
        if process is None or process.get_state() not in ALIVE or not process.pid:
            raise RPCError(Faults.NOT_RUNNING, name)
        return process

    def _count(self, event: Any) -> None:
        # STOPPED means that a person starts it; EXITED and BACKOFF, that the policy does.
        if event.from_state in (ProcessStates.EXITED, ProcessStates.BACKOFF):
            self._restarts[event.process.config.name] += 1

    def _end_without_owner(self, event: Any) -> None:
        pid, created = str(self._owner).split(":")
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"{psutil.Process(int(pid)).create_time():.2f}" == created:
                return
        self._rpc.shutdown()


def _family(pid: int) -> list[psutil.Process]:
    """The process first, then everything below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(number)


def owner_of_this_process() -> str:
    """This process as a value for OWNER_VARIABLE."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"


_held_locks: list[int] = []


def make_interface(supervisord: Any, **_settings: str) -> LabInterface:
    """Called by supervisord once, before it becomes a daemon.

    Takes the lock that says "this instance has a supervisor" and keeps it for life: it ends with
    the process, however that ends, so no stale file can ever claim a live supervisor.
    """
    lock = os.open(Path(os.environ[LOCK_VARIABLE]), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held_locks.append(lock)
    return LabInterface(supervisord, os.environ.get(OWNER_VARIABLE))
