"""Ctrl-C, kill -9 and a reboot at bad moments: no process stays, no data goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import anyio
import psutil
import pytest

from infra.lab.engines.local import orphans, supervision
from infra.lab.engines.local.engine import LocalEngine
from infra.lab.engines.local.plugin import LOCK_VARIABLE, lock_of
from infra.lab.errors import LabError
from infra.lab.tests.integration.conftest import (
    DEADLINE_S,
    Client,
    Make,
    answers,
    down,
    eventually,
    is_gone,
    pid_of,
    processes_in,
    query,
    row,
    socket_dir,
    supervisor_of,
    up,
)
from infra.lab.tests.sample import light_week, web, week, whole_week

pytestmark = pytest.mark.integration

Start = Callable[[LocalEngine, str, str], Client]
INTERRUPTED = 130


Bystander = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def bystander() -> Iterator[Bystander]:
    """Call it with a folder: a process of ours that works there and is none of the week's,
    unless `environment` says that the week's supervisor started it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        folder: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        code = "import signal, sys; sys.stdout.write('x'); sys.stdout.flush(); signal.pause()"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.read(1)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill_supervisor(engine: LocalEngine) -> None:
    supervisor = supervisor_of(engine)
    supervisor.kill()
    eventually(lambda: not engine.is_up(), "the supervisor is gone")


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("db: preparing", signal.SIGINT),
        ("db: starting", signal.SIGTERM),
        ("task: starting", signal.SIGINT),
        ("web: preparing", signal.SIGTERM),
        ("front: starting", signal.SIGINT),
    ],
)
def test_an_interrupted_up_leaves_nothing_but_the_data(
    make: Make, client: Start, moment: str, number: signal.Signals
) -> None:
    engine = make(whole_week())
    interrupted = client(engine, "whole", "up")
    interrupted.wait_for(moment)
    interrupted.process.send_signal(number)
    assert interrupted.finish() == INTERRUPTED
    assert processes_in(engine.site.root) == []
    assert not socket_dir(engine).exists()
    up(engine)
    assert answers(engine.site, "front") == 200


def test_an_interruption_at_any_moment_leaves_no_process(make: Make, client: Start) -> None:
    """The moments follow each other closely, from the first line to after the end."""
    engine = make(light_week())
    statuses = set()
    for step in range(9):
        interrupted = client(engine, "light", "up")
        interrupted.wait_for("began")
        time.sleep(0.08 * step)  # the moment itself is what is varied
        interrupted.process.send_signal(signal.SIGINT)
        statuses.add(interrupted.finish())
        if interrupted.process.returncode == INTERRUPTED:
            assert processes_in(engine.site.root) == [], f"step {step}"
        else:
            assert answers(engine.site, "second") == 200, f"step {step}: {interrupted.lines}"
            down(engine)
    assert INTERRUPTED in statuses


def test_impatience_leaves_nothing_either(make: Make, client: Start) -> None:
    engine = make(whole_week())
    for moment in ("db: preparing", "web: starting"):
        interrupted = client(engine, "whole", "up")
        interrupted.wait_for(moment)
        for _ in range(20):
            if interrupted.process.poll() is None:
                interrupted.process.send_signal(signal.SIGINT)
                time.sleep(0.005)  # as fast as a thumb on Ctrl-C, and faster
        assert interrupted.finish() != 0
        assert processes_in(engine.site.root) == []


def test_an_interrupted_down_still_ends_everything(make: Make, client: Start) -> None:
    engine = make(whole_week())
    up(engine)
    query(engine.site, "CREATE TABLE kept AS SELECT 42 AS answer")
    interrupted = client(engine, "whole", "down")
    interrupted.wait_for("stopped")
    interrupted.process.send_signal(signal.SIGINT)
    interrupted.finish()
    assert processes_in(engine.site.root) == []
    up(engine)
    assert query(engine.site, "SELECT answer FROM kept") == 42


@pytest.mark.parametrize(
    ("moment", "verb"),
    [("db: preparing", up), ("db: preparing", down), ("db: starting", up), ("web: starting", down)],
)
def test_after_a_killed_up_the_next_command_works(
    make: Make, client: Start, moment: str, verb: Callable[[LocalEngine], None]
) -> None:
    engine = make(whole_week())
    killed = client(engine, "whole", "up")
    killed.wait_for(moment)
    killed.process.kill()
    killed.process.wait(DEADLINE_S)
    verb(engine)
    if verb is up:
        assert not (engine.site.run_dir("db") / "password").exists()
    if verb is down:
        assert processes_in(engine.site.root) == []
        up(engine)
    assert answers(engine.site, "front") == 200
    assert query(engine.site, "SELECT 1") == 1


@pytest.mark.parametrize("verb", [up, down])
def test_after_a_killed_supervisor_the_next_command_ends_the_leftovers(
    make: Make, verb: Callable[[LocalEngine], None]
) -> None:
    engine = make(whole_week())
    up(engine)
    query(engine.site, "CREATE TABLE kept AS SELECT 42 AS answer")
    masters = [psutil.Process(pid_of(engine, name)) for name in ("front", "db")]
    backends = masters[1].children()
    kill_supervisor(engine)
    # Workers that lost their master too, and a PostgreSQL child that cannot notice it.
    backends[0].suspend()
    for master in masters:
        master.kill()
    eventually(lambda: all(map(is_gone, masters)), "the masters are gone")
    leftovers = processes_in(engine.site.root)
    assert {"nginx", "postgres"} <= {process.name() for process in leftovers}
    verb(engine)
    assert all(map(is_gone, leftovers))
    if verb is down:
        assert processes_in(engine.site.root) == []
        assert not socket_dir(engine).exists()
        up(engine)
    assert query(engine.site, "SELECT answer FROM kept") == 42


def test_a_supervisor_killed_during_up_leaves_nothing(make: Make, client: Start) -> None:
    engine = make(whole_week())
    command = client(engine, "whole", "up")
    command.wait_for("web: starting")
    kill_supervisor(engine)
    assert command.finish() == 1
    assert "LabError: " in command.lines[-1]
    assert processes_in(engine.site.root) == []
    up(engine)


def test_a_supervisor_killed_during_down_leaves_nothing(make: Make, client: Start) -> None:
    engine = make(whole_week())
    up(engine)
    supervisor = supervisor_of(engine)
    command = client(engine, "whole", "down")
    command.wait_for("front: stopped")
    supervisor.kill()
    assert command.finish() == 0, command.lines
    assert processes_in(engine.site.root) == []


def test_a_supervisor_that_hangs_does_not_hold_up_down(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(light_week())
    up(engine)
    supervisor_of(engine).suspend()
    monkeypatch.setattr(supervision, "CALL_TIMEOUT_S", 0.5)
    down(engine)
    assert processes_in(engine.site.root) == []


def test_a_supervisor_whose_socket_is_gone_is_ended_by_signal(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    socket = socket_dir(engine) / "supervisor.sock"
    socket.unlink()
    socket.parent.rmdir()
    with pytest.raises(LabError, match=r"does not answer .*: run `make week99 down`"):
        engine.status()
    down(engine)
    assert processes_in(engine.site.root) == []
    up(engine)


def test_after_a_reboot_stale_numbers_harm_nobody(make: Make, bystander: Bystander) -> None:
    engine = make(whole_week())
    up(engine)
    query(engine.site, "CREATE TABLE kept AS SELECT 42 AS answer")
    root = engine.site.root
    postmaster_pid = (root / "data/db/postmaster.pid").read_text().splitlines()
    down(engine)
    # The machine "rebooted": old records whose numbers others have now, one of them even at
    # work inside the instance's folder, as somebody who reads a log there would be.
    others = [bystander(root / "logs"), bystander(Path("/"))]
    for record, other in zip(("web", "front"), others, strict=True):
        path = root / "run" / record / "pid"
        path.write_text(f"{other.pid}\n")
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    (root / "supervisor/supervisord.pid").write_text(f"{others[0].pid}\n")
    (root / "data/db/postmaster.pid").write_text(
        "\n".join([str(others[1].pid), *postmaster_pid[1:]])
    )
    up(engine)
    assert query(engine.site, "SELECT answer FROM kept") == 42
    down(engine)
    assert [other.poll() for other in others] == [None, None]


def test_only_what_the_week_started_counts_as_left_behind(make: Make, bystander: Bystander) -> None:
    engine = make(week(web("child", port=0, environment={"CHILD": "1"})))
    up(engine)
    reader = bystander(engine.site.run_dir("child"))
    leader = psutil.Process(pid_of(engine, "child"))
    (child,) = leader.children()
    kill_supervisor(engine)
    leader.kill()
    eventually(lambda: is_gone(leader), "the leader is gone")
    found = orphans.find(engine.site, week(web("child", port=0)).servers)
    assert [(orphan.service, orphan.process.pid) for orphan in found] == [("child", child.pid)]
    down(engine)
    assert is_gone(child)
    assert reader.poll() is None
    reader.kill()
    reader.wait()


@pytest.mark.parametrize(
    ("folder_name", "told", "service"),
    [
        ("supervisor", {}, orphans.UNNAMED),
        ("run/second", {"SUPERVISOR_PROCESS_NAME": "second"}, "second"),
    ],
)
def test_what_was_killed_before_it_wrote_its_number_is_ended_too(
    make: Make, bystander: Bystander, folder_name: str, told: dict[str, str], service: str
) -> None:
    """A fork that outlived its supervisor by a moment; it knows whose it is and nothing more."""
    engine = make(light_week())
    up(engine)
    down(engine)
    root = engine.site.root
    forked = bystander(root / folder_name, {LOCK_VARIABLE: str(lock_of(root)), **told})
    others = bystander(root / folder_name, {LOCK_VARIABLE: "/somewhere/else", **told})
    found = orphans.find(engine.site, light_week().servers)
    assert [(orphan.service, orphan.process.pid) for orphan in found] == [(service, forked.pid)]
    down(engine)
    forked.wait(DEADLINE_S)
    assert others.poll() is None


def test_a_week_ends_with_its_owner(folder: Path, make: Make) -> None:
    root = folder / "owned"
    code = f"""
import anyio, signal
from pathlib import Path
from infra.lab.pytest_plugin import isolated
from infra.lab.tests.sample import whole_week
engine = isolated(whole_week(), Path({str(root)!r}))
anyio.run(engine.up)
anyio.run(engine.pause, "web")
print("up", flush=True)
signal.pause()
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        assert len(processes_in(root)) > 5
    finally:
        owner.kill()  # not waited for yet: a zombie is no owner
    eventually(lambda: processes_in(root) == [], "everything is gone")
    owner.communicate()
    engine = make(whole_week(), "owned")
    down(engine)  # the socket's folder


def test_a_week_whose_folder_is_erased_by_hand_ends_itself(make: Make, folder: Path) -> None:
    engine = make(light_week())
    up(engine)
    processes = processes_in(engine.site.root)
    assert len(processes) == 3
    socket = socket_dir(engine)
    engine.site.root.rename(folder / "erased")
    eventually(lambda: all(map(is_gone, processes)), "everything is gone")
    (folder / "erased").rename(engine.site.root)
    down(engine)
    assert not socket.exists()


def test_a_command_that_waited_works_with_what_the_other_left(make: Make, client: Start) -> None:
    engine = make(whole_week())
    first = client(engine, "whole", "up")
    second = client(engine, "whole", "up")  # made before there were ports and secrets on disk
    assert (first.finish(), second.finish()) == (0, 0), first.lines + second.lines
    assert row(engine, "db").pid
    third = client(engine, "whole", "down")
    fourth = client(engine, "whole", "up")
    assert third.finish() == 0
    assert fourth.finish() == 0
    anyio.run(engine.down)
