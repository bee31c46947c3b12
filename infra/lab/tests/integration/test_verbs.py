"""The verbs on real servers: what they promise, and what they refuse in one line."""

from __future__ import annotations

import functools
import signal
import socket

import anyio
import psutil
import pytest

from infra.lab.engines.base import Event, State
from infra.lab.engines.local.engine import LocalEngine
from infra.lab.errors import LabError, UsageError
from infra.lab.tests.integration.conftest import (
    Make,
    answers,
    down,
    eventually,
    pid_of,
    processes_in,
    query,
    row,
    socket_dir,
    up,
)
from infra.lab.tests.sample import light_week, ran_file, task, web, week, whole_week

pytestmark = pytest.mark.integration


def test_data_outlives_down_and_no_process_does(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    assert answers(engine.site, "front") == 200
    query(engine.site, "CREATE TABLE kept AS SELECT 42 AS answer")
    down(engine)
    assert processes_in(engine.site.root) == []
    assert not socket_dir(engine).exists()
    assert [row.state for row in engine.status()] == [State.STOPPED] * 5
    up(engine)
    assert query(engine.site, "SELECT answer FROM kept") == 42


def test_up_twice_changes_nothing(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    before = {status.name: status.pid for status in engine.status()}
    up(engine)
    assert {status.name: status.pid for status in engine.status()} == before
    assert [status.restarts for status in engine.status()] == [0] * 5
    assert row(engine, "task").state == State.DONE
    assert ran_file(engine.site).read_text() == "ran\n" * 2


def test_down_of_what_is_down_is_fine(make: Make) -> None:
    engine = make(light_week())
    down(engine)
    up(engine)
    down(engine)
    down(engine)


@pytest.mark.parametrize(
    "name", ['it\'s "all" here: #1 ;2 `3` $x %(here)s 4%', "[gl]ob * ünï 日本 \\ {a,b}"]
)
def test_any_path_will_do(make: Make, name: str) -> None:
    engine = make(whole_week(), name)
    up(engine)
    assert answers(engine.site, "front") == 200


def test_a_path_longer_than_a_socket_may_have_will_do(make: Make) -> None:
    engine = make(whole_week(), "/".join(["a-folder-with-a-long-name"] * 8))
    assert len(str(engine.site.root)) > 200
    up(engine)
    assert answers(engine.site, "front") == 200


def test_the_shells_temporary_directory_does_not_matter(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(light_week())
    monkeypatch.setenv("TMPDIR", str(engine.site.root / ("x" * 200)))
    up(engine)
    monkeypatch.delenv("TMPDIR")
    assert row(engine, "first").pid


def test_a_taken_port_is_one_line_with_its_holder_and_nothing_starts(make: Make) -> None:
    engine = make(whole_week())
    port = engine.site.ports["db"]
    with socket.create_server(("127.0.0.1", port)), pytest.raises(LabError) as caught:
        up(engine)
    text = str(caught.value)
    assert text.startswith(f"port {port} (db) is taken by ")
    assert f"PORT_DB={port + 1000}" in text
    assert "\n" not in text
    assert processes_in(engine.site.root) == []
    assert not (engine.site.root / "data").exists()
    up(engine)


def is_another(engine: LocalEngine, name: str, pid: int) -> bool:
    """Whether the service runs as another process than `pid`."""
    return row(engine, name).pid not in (None, pid)


def test_crash_comes_back_and_counts_as_a_restart(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    for name in ("web", "front", "db", "cache"):
        before = pid_of(engine, name)
        anyio.run(engine.crash, name)
        back = functools.partial(is_another, engine, name, before)
        eventually(back, f"{name} comes back")
        assert row(engine, name).restarts >= 1
    eventually(lambda: answers(engine.site, "front") == 200, "the front door answers again")
    up(engine)
    assert query(engine.site, "SELECT 1") == 1


def test_kill_stays_dead_until_start(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    anyio.run(engine.kill, "web")
    eventually(lambda: row(engine, "web").state == State.STOPPED, "web is dead")
    assert answers(engine.site, "front") == 502
    anyio.run(engine.start, ["web"])
    assert answers(engine.site, "front") == 200
    assert row(engine, "web").restarts == 0


def test_kill_between_two_attempts_of_the_restart_policy_holds(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    anyio.run(engine.crash, "second")  # within a second of its start: it waits before the next try
    eventually(lambda: row(engine, "second").pid is None, "it died")
    anyio.run(engine.kill, "second")
    assert row(engine, "second").state == State.STOPPED
    anyio.run(engine.crash, "first")
    eventually(lambda: row(engine, "first").pid, "its neighbour came back")
    assert row(engine, "second").state == State.STOPPED


def test_stop_right_after_a_crash_holds(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    eventually(lambda: row(engine, "second").state == State.RUNNING, "it has run for a second")
    anyio.run(engine.crash, "second")
    anyio.run(engine.stop, ["second"])
    anyio.run(engine.crash, "first")
    eventually(lambda: row(engine, "first").restarts == 1, "its neighbour came back")
    assert row(engine, "second").state == State.STOPPED


def test_a_paused_service_goes_on_after_resume_and_stops_when_told(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    for name in ("web", "front", "db", "cache"):
        before = pid_of(engine, name)
        anyio.run(engine.pause, name)
        assert row(engine, name).state == State.PAUSED
        anyio.run(engine.resume, name)
        assert row(engine, name).state != State.PAUSED
        assert pid_of(engine, name) == before
        assert answers(engine.site, "front") == 200
    for name in ("web", "front", "db", "cache"):
        anyio.run(engine.pause, name)
    anyio.run(engine.stop, ["db"])
    assert row(engine, "db").state == State.STOPPED
    down(engine)
    assert processes_in(engine.site.root) == []


def test_stop_and_start_of_each_service(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    for name in ("front", "web", "db", "cache"):
        anyio.run(engine.stop, [name])
        assert row(engine, name).state == State.STOPPED
        anyio.run(engine.start, [name])
        assert row(engine, name).restarts == 0
    assert answers(engine.site, "front") == 200


def test_up_starts_again_what_was_killed(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    anyio.run(engine.kill, "first")
    up(engine)
    assert answers(engine.site, "first") == 200


def test_faults_need_a_running_service_and_say_so(make: Make) -> None:
    engine = make(whole_week())
    with pytest.raises(LabError, match="is not up: `make week99 up`"):
        anyio.run(engine.kill, "web")
    up(engine)
    with pytest.raises(UsageError, match="runs once and ends"):
        anyio.run(engine.crash, "task")
    with pytest.raises(UsageError, match="has no service 'wbe'"):
        anyio.run(engine.kill, "wbe")
    anyio.run(engine.kill, "web")
    for verb in (engine.crash, engine.pause, engine.resume, engine.kill):
        with pytest.raises(LabError, match="web is not running: `make week99 start SERVICE=web`"):
            anyio.run(verb, "web")


def test_what_a_person_kills_by_hand_leaves_no_worker_on_the_port(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    eventually(lambda: row(engine, "front").state == State.RUNNING, "it has run for a second")
    psutil.Process(pid_of(engine, "front")).send_signal(signal.SIGKILL)
    eventually(
        lambda: row(engine, "front").restarts == 1 and answers(engine.site, "front") == 200,
        "nginx is back although its workers outlive their master",
    )


def test_a_service_that_ends_while_starting_is_one_line_and_nothing_runs(make: Make) -> None:
    engine = make(
        week(
            web("first", port=0),
            web("bad", needs=("first",), environment={"EXIT_SAYING": "no such luck"}),
        )
    )
    with pytest.raises(LabError) as caught:
        up(engine)
    assert str(caught.value).startswith("bad ended while starting: no such luck [whole log: ")
    assert "\n" not in str(caught.value)
    assert processes_in(engine.site.root) == []


def test_the_reason_is_of_this_start_not_of_an_earlier_one(make: Make) -> None:
    engine = make(week(web("bad", port=0, environment={"EXIT_SAYING": ""})))
    engine.site.log_file("bad").parent.mkdir(parents=True)
    engine.site.log_file("bad").write_text("of an earlier run\n")
    with pytest.raises(LabError) as caught:
        up(engine)
    assert "of an earlier run" not in str(caught.value)


def test_a_one_shot_that_fails_is_one_line_and_nothing_runs(make: Make) -> None:
    engine = make(
        week(
            web("first", port=0),
            task(needs=("first",), environment={"EXIT_SAYING": "cannot migrate"}),
            web("last", needs=("task",)),
        )
    )
    with pytest.raises(LabError, match=r"task ended while starting: cannot migrate \["):
        up(engine)
    assert processes_in(engine.site.root) == []


def test_a_service_that_never_gets_ready_is_one_line_with_its_reason(make: Make) -> None:
    engine = make(week(web(port=0, environment={"UNREADY": "1"}, ready_timeout_s=1.5)))
    with pytest.raises(LabError) as caught:
        up(engine)
    assert str(caught.value).startswith("web is not ready after 1.5 s (waits for Godot): see ")
    assert processes_in(engine.site.root) == []


def test_a_later_up_that_fails_leaves_running_what_ran(make: Make) -> None:
    good = make(light_week())
    up(good)
    anyio.run(good.stop, ["second"])
    # The same instance with a port for "second" that somebody else has taken meanwhile.
    with socket.create_server(("127.0.0.1", good.site.ports["second"])):
        with pytest.raises(LabError, match="second ended while starting"):
            up(good)
        assert row(good, "first").pid
        assert row(good, "second").state == State.STOPPED
    up(good)
    assert answers(good.site, "second") == 200


def test_a_service_may_start_while_its_need_is_down(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    anyio.run(engine.kill, "first")
    anyio.run(engine.stop, ["second"])
    anyio.run(engine.start, ["second"])
    assert answers(engine.site, "second") == 200
    assert row(engine, "first").state == State.STOPPED


def test_start_that_fails_leaves_the_service_stopped_and_the_rest_alone(make: Make) -> None:
    engine = make(light_week())
    up(engine)
    anyio.run(engine.stop, ["second"])
    with (
        socket.create_server(("127.0.0.1", engine.site.ports["second"])),
        pytest.raises(LabError, match="second ended while starting"),
    ):
        anyio.run(engine.start, ["second"])
    assert row(engine, "second").state == State.STOPPED
    assert answers(engine.site, "first") == 200


def test_a_deaf_service_and_a_stopped_one_do_not_hold_up_down(make: Make) -> None:
    engine = make(
        week(
            web("deaf", port=0, environment={"DEAF": "1"}, stop_timeout_s=1),
            web("child", environment={"CHILD": "1"}, stop_timeout_s=1),
        )
    )
    up(engine)
    for process in processes_in(engine.site.run_dir("child")):
        process.send_signal(signal.SIGSTOP)
    assert psutil.Process(pid_of(engine, "child")).status() == psutil.STATUS_STOPPED
    down(engine)
    assert processes_in(engine.site.root) == []


def test_two_ups_at_once_both_succeed(make: Make, folder: object) -> None:
    engine = make(whole_week())
    told: list[Event] = []

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(engine.up, told.append)
            group.start_soon(engine.up, told.append)

    anyio.run(both)
    assert "another lab command works on this week: waiting for it" in {e.text for e in told}
    assert answers(engine.site, "front") == 200


def test_progress_names_each_service_once_as_done(make: Make) -> None:
    engine = make(whole_week())
    events: list[Event] = []
    anyio.run(engine.up, events.append)
    assert sorted(event.name for event in events if event.done) == sorted(whole_week().names)
    assert all("Errno" not in event.text for event in events)


def test_clean_needs_it_down_and_then_erases_everything(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    with pytest.raises(LabError, match="is up: `make week99 down` first"):
        engine.clean()
    down(engine)
    engine.clean()
    assert not engine.site.root.exists()
    up(engine)


def test_memory_and_version_of_what_runs_are_told(make: Make) -> None:
    engine = make(whole_week())
    up(engine)
    for status in engine.status():
        assert status.version[0].isdigit()
        if status.name != "task":
            assert status.memory_bytes and status.uptime_s is not None
    (supervisor,) = engine.overhead()
    assert supervisor.memory_bytes is not None
    assert supervisor.memory_bytes < 64 * 2**20
