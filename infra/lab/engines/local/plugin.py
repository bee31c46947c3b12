"""What the lab adds to supervisord: fault verbs, restart counts, the lock, reasons to end itself.

Runs inside supervisord (its `rpcinterface` extension point, supervisor manual, "RPC interfaces"),
is told where the lock lies by the environment, and is reached as `lab.*` over XML-RPC.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from supervisor import events
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.xmlrpc import Faults, RPCError

from infra.lab.owner import Owner

LOCK_VARIABLE = "LAB_SUPERVISOR_LOCK"
OWNER_VARIABLE = "LAB_OWNER"
"""`pid:creation time`; supervisord ends its week when that process is gone (tests use it)."""

ALIVE = (ProcessStates.RUNNING, ProcessStates.STARTING, ProcessStates.STOPPING)
LOCK_TIMEOUT_S = 3.0
LOCK_POLL_S = 0.02


def lock_of(root: Path) -> Path:
    """The lock of the instance whose folder is `root`."""
    return root / "supervisor" / "lock"


class LabInterface:
    """Methods reached as `lab.NAME` over XML-RPC. Names of processes are plain service names."""

    def __init__(self, supervisord: Any, lock: Lock, owner: str | None) -> None:
        self._supervisord = supervisord
        self._rpc = SupervisorNamespaceRPCInterface(supervisord)
        self._lock = lock
        self._owner = None if owner is None else Owner(owner)
        self._restarts: Counter[str] = Counter()
        events.subscribe(events.ProcessStateStartingEvent, self._count)
        for ended in (
            events.ProcessStateBackoffEvent,
            events.ProcessStateExitedEvent,
            events.ProcessStateStoppedEvent,
        ):
            events.subscribe(ended, _end_group)
        events.subscribe(events.Tick5Event, self._end_without_reason_to_live)

    def stop(self, name: str) -> bool:
        """Ask for an orderly end, also of what is paused; no restart policy brings it back."""
        process = self._process(name)
        if not self._ended_between_attempts(process) and process.get_state() in (
            ProcessStates.RUNNING,
            ProcessStates.STARTING,
        ):
            # A paused process would not hear the request.
            _signal(_family(process.pid), signal.SIGCONT)
            _check(process.stop())
        return True

    def kill(self, name: str) -> bool:
        """SIGKILL to the process and all below it; it stays dead until it is started."""
        process = self._process(name)
        if self._ended_between_attempts(process):
            return True
        self._require_alive(process)
        family = _halted_family(process.pid)
        process.administrative_stop = True
        _check(process.kill(signal.SIGKILL))
        _signal(family, signal.SIGKILL)
        return True

    def crash(self, name: str) -> bool:
        """SIGKILL to the process and all below it; the restart policy brings it back."""
        process = self._process(name)
        self._require_alive(process)
        _signal(_halted_family(process.pid), signal.SIGKILL)
        return True

    def pause(self, name: str) -> bool:
        """SIGSTOP: it keeps its connections and answers nothing."""
        process = self._process(name)
        self._require_alive(process)
        _signal(_halted_family(process.pid), signal.SIGSTOP)
        return True

    def resume(self, name: str) -> bool:
        """SIGCONT."""
        process = self._process(name)
        self._require_alive(process)
        _signal(_family(process.pid), signal.SIGCONT)
        return True

    def restarts(self) -> dict[str, int]:
        """Automatic restarts by service since the supervisor started."""
        return dict(self._restarts)

    def _process(self, name: str) -> Any:
        _, process = self._rpc._getGroupAndProcess(name)
        if process is None:
            raise RPCError(Faults.BAD_NAME, name)
        return process

    @staticmethod
    def _require_alive(process: Any) -> None:
        if process.get_state() not in ALIVE or not process.pid:
            raise RPCError(Faults.NOT_RUNNING, process.config.name)

    @staticmethod
    def _ended_between_attempts(process: Any) -> bool:
        """Take it from the restart policy when it is dead now and would be started again."""
        waits = process.get_state() == ProcessStates.BACKOFF
        exited = process.get_state() == ProcessStates.EXITED and process.config.autorestart
        if waits or exited:
            process.change_state(ProcessStates.STOPPED)
        return bool(waits or exited)

    def _count(self, event: Any) -> None:
        # STOPPED means that a person starts it; EXITED and BACKOFF, that the policy does,
        # except for a one-shot, which has none and which only `up` starts again.
        by_policy = event.from_state in (ProcessStates.EXITED, ProcessStates.BACKOFF)
        if by_policy and event.process.config.autorestart:
            self._restarts[event.process.config.name] += 1

    def _end_without_reason_to_live(self, _event: Any) -> None:
        """End the week when its owner is gone, or its folder (somebody erased it by hand)."""
        if self._supervisord.options.mood < SupervisorStates.RUNNING:
            return
        if (self._owner is None or self._owner.lives()) and self._lock.stands():
            return
        # All at once: supervisord itself would stop one after the other, and not wake the paused.
        for group in self._supervisord.process_groups.values():
            for process in group.processes.values():
                with contextlib.suppress(RPCError):
                    self.stop(process.config.name)
        self._supervisord.options.mood = SupervisorStates.SHUTDOWN


class Lock:
    """Says "this instance has a supervisor", as long as that process lives.

    It ends with the process, however that ends, so no stale file can claim a live supervisor.
    """

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError when another supervisor holds it."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                # Perhaps only a `lab status` that looks whether somebody holds it.
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOCK_POLL_S)

    def stands(self) -> bool:
        """Whether the file is still there under its name."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


def is_locked(path: Path) -> bool:
    """Whether a supervisor holds the lock at `path`."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look at once do not take each other for a supervisor.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _end_group(event: Any) -> None:
    """A service ends as a whole: what its dead leader left would keep the port or the data.

    The leader was reaped this moment, so its number can belong to nobody else yet.
    """
    if event.process.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(event.process.pid, signal.SIGKILL)


def _check(failure: str | None) -> None:
    if failure is not None:
        raise RPCError(Faults.FAILED, failure)


def _family(pid: int) -> list[psutil.Process]:
    """The process first, then everything below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _halted_family(pid: int) -> list[psutil.Process]:
    """The same, the process itself stopped before it could make another child."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(signal.SIGSTOP)
    return _family(pid)


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(number)


def make_interface(supervisord: Any, **_settings: str) -> LabInterface:
    """Called by supervisord once, before it becomes a daemon; takes the lock for life."""
    lock = Lock(Path(os.environ[LOCK_VARIABLE]))
    return LabInterface(supervisord, lock, os.environ.get(OWNER_VARIABLE))
