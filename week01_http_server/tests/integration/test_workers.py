import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.client.results import Result
from week01_http_server.tests.programs import APP, REPOSITORY, WAIT_S, Program, ask, until
from week01_http_server.transport.listeners import listen_tcp
from week01_http_server.workers.quiet import drop_new_connections

pytestmark = pytest.mark.integration

Start = Callable[..., Program]


@pytest.fixture
def folder() -> Iterator[Path]:
    """With the app in it; a short path, for unix sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        (Path(made) / "main.py").write_text(APP)
        yield Path(made)


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def begin(*arguments: str, ready: bool = True, pass_fds: tuple[int, ...] = ()) -> Program:
        programs.append(Program(folder, *arguments, ready=ready, pass_fds=pass_fds))
        return programs[-1]

    yield begin
    for program in programs:
        program.end()


def told(program: Program, path: str = "/") -> dict[str, object]:
    answer: dict[str, object] = json.loads(program.get(path))
    return answer


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # reaped when init likes
    except psutil.NoSuchProcess:
        return False


def without_failure(result: Result) -> None:
    assert result.ok == result.due > 0, result.outcomes


def in_background(
    program: Program, path: str, folder: Path
) -> tuple[threading.Thread, list[bytes]]:
    """A request that the app has begun with and does not answer yet."""
    answers: list[bytes] = []

    def wait() -> None:
        try:
            answers.append(program.get(path))
        except (OSError, AssertionError):
            answers.append(b"broken")

    thread = threading.Thread(target=wait)
    thread.start()
    until((folder / "waiting").exists, "the app to begin")
    return thread, answers


# ---- Start and end


def test_it_says_where_it_listens_serves_and_ends_in_order(start: Start, folder: Path) -> None:
    program = start("main:app", "--workers", "2")
    pids = program.workers()
    assert len(pids) == 2
    assert told(program)["pid"] in pids
    port = program.port
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert {path.name for path in folder.glob("ended-*")} == {f"ended-{pid}" for pid in pids}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_without_anything_to_serve_it_says_hello(start: Start) -> None:
    assert b"Hello" in start().get()


def test_a_directory_is_served(start: Start, folder: Path) -> None:
    (folder / "site").mkdir()
    (folder / "site" / "a.txt").write_text("a file")
    assert start("--directory", "site").get("/a.txt") == b"a file"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("", "app"),
        (
            "async def app(scope, receive, send):\n"
            "    await receive()\n"
            "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})",
            "no database",
        ),
    ],
)
def test_an_app_that_cannot_start_ends_it_with_the_reason_in_one_line(
    start: Start, folder: Path, source: str, reason: str
) -> None:
    (folder / "main.py").write_text(source)
    program = start("main:app", "--workers", "2", ready=False)
    assert program.wait() == 1
    [line] = [line for line in program.said if "cannot go on" in line]
    assert reason in line
    assert not program.listening()


def test_a_taken_port_is_one_line_and_status_1(start: Start) -> None:
    [held] = listen_tcp("127.0.0.1", 0, backlog=1)
    with held:
        program = start("--port", str(held.getsockname()[1]), ready=False)
        assert program.wait() == 1
    [line] = program.said
    assert "taken" in line


# ---- Crashes


def test_a_crashed_worker_is_replaced_and_the_others_go_on(start: Start) -> None:
    program = start("main:app", "--workers", "2")
    before = program.workers()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: program.ready_count() == 3, "the replacement")
    after = program.workers()
    assert len(after) == 2
    assert len(after - before) == 1
    assert program.heard("died", "killed by SIGKILL", "a new one starts")
    seen = {told(program)["pid"] for _ in range(40)}
    assert seen == after


def test_connections_that_wait_for_a_crashed_worker_are_served_by_the_next(start: Start) -> None:
    program = start("main:app")
    [worker] = program.workers()
    os.kill(worker, signal.SIGSTOP)
    with program.connect() as waiting:  # in the queue: nobody accepts
        os.kill(worker, signal.SIGKILL)
        assert json.loads(ask(waiting))["pid"] != worker


def test_a_replacement_that_fails_again_and_again_ends_the_master(
    start: Start, folder: Path
) -> None:
    program = start("main:app")
    (folder / "main.py").write_text("raise RuntimeError('disk is gone')")
    [worker] = program.workers()
    os.kill(worker, signal.SIGKILL)
    assert program.wait() == 1
    assert program.heard("cannot go on", "in a row", "disk is gone")


@pytest.mark.parametrize("path", ["/wait", "/block"])
def test_workers_end_when_the_master_is_killed(start: Start, folder: Path, path: str) -> None:
    program = start("main:app", "--workers", "2")
    pids = program.workers()
    thread, answers = in_background(program, path, folder)
    program.signal(signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids), "the end of the workers")
    thread.join()
    assert answers == [b"broken"]


# ---- Draining


def test_a_request_in_flight_is_finished_before_the_end(start: Start, folder: Path) -> None:
    program = start("main:app")
    thread, answers = in_background(program, "/wait", folder)
    program.signal(signal.SIGTERM)
    until(lambda: program.heard("stopping"), "the signal to be heard")
    (folder / "go").touch()
    thread.join()
    assert b"version" in answers[0]
    assert program.wait() == 0


@pytest.mark.parametrize("path", ["/wait", "/block"])
def test_a_second_signal_ends_it_at_once(start: Start, folder: Path, path: str) -> None:
    program = start("main:app")
    thread, answers = in_background(program, path, folder)
    program.signal(signal.SIGINT)
    until(lambda: program.heard("stopping"), "the first signal to be heard")
    program.signal(signal.SIGINT)
    assert program.wait() == 0
    thread.join()
    assert answers == [b"broken"]


def test_a_request_that_does_not_end_is_cut_at_the_deadline(start: Start, folder: Path) -> None:
    program = start("main:app", "--timeout-graceful-shutdown", "0.3")
    thread, answers = in_background(program, "/wait", folder)
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    thread.join()
    assert answers == [b"broken"]
    assert program.heard("cut")


def can_be_quiet() -> bool:
    """Whether this kernel lets this user keep new connections out."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return drop_new_connections([listener])


@pytest.mark.skipif(not can_be_quiet(), reason="this kernel refuses socket filters to this user")
def test_no_connection_is_accepted_and_then_lost_when_it_stops(start: Start) -> None:
    program = start("main:app", "--workers", "2")
    port, lost, served = program.port, [], []

    def knock() -> None:
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", port), timeout=30)
            except ConnectionRefusedError:
                return
            with sock:
                try:
                    served.append(ask(sock))
                except (OSError, AssertionError) as error:
                    lost.append(error)

    threads = [threading.Thread(target=knock) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: len(served) > 100, "some load")
    program.signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert lost == []
    assert program.wait() == 0


# ---- Reload


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_reload_takes_new_code_and_fails_no_request(
    start: Start, folder: Path, keep_alive: bool
) -> None:
    program = start("main:app", "--workers", "2", "--no-access-log")
    before = program.workers()
    (folder / "main.py").write_text(APP.replace('"one"', '"two"'))

    def reload() -> None:
        program.signal(signal.SIGHUP)
        until(lambda: program.heard("reloaded"), "the reload")

    without_failure(program.load(reload, keep_alive=keep_alive, rate=300))
    until(lambda: len(program.workers()) == 2, "the old workers to end")
    assert not before & program.workers()
    assert told(program)["version"] == "two"


def test_a_reload_of_broken_code_keeps_the_old_workers(start: Start, folder: Path) -> None:
    program = start("main:app", "--workers", "2")
    before = program.workers()
    (folder / "main.py").write_text("this is no Python")
    program.signal(signal.SIGHUP)
    until(lambda: program.heard("reload given up", "SyntaxError"), "the refusal")
    assert told(program)["version"] == "one"
    assert program.workers() == before
    (folder / "main.py").write_text(APP.replace('"one"', '"two"'))
    program.signal(signal.SIGHUP)
    until(lambda: told(program)["version"] == "two", "the new code")


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_worker_told_to_end_is_replaced_without_a_failed_request(
    start: Start, keep_alive: bool
) -> None:
    program = start("main:app", "--workers", "2", "--no-access-log")
    victim = min(program.workers())

    def end_one() -> None:
        os.kill(victim, signal.SIGTERM)
        until(lambda: victim not in program.workers(), "the worker to end")
        until(lambda: program.ready_count() == 3, "the replacement")

    without_failure(program.load(end_one, keep_alive=keep_alive, rate=300))


def test_workers_that_have_served_enough_are_replaced_without_a_failed_request(
    start: Start,
) -> None:
    program = start("main:app", "--no-access-log", "--limit-max-requests", "100")
    without_failure(
        program.load(
            lambda: until(lambda: program.ready_count() >= 3, "two replacements"),
            keep_alive=True,
            rate=300,
        )
    )


# ---- Other sockets


def test_a_unix_socket_outlives_a_reload_and_goes_away_at_the_end(
    start: Start, folder: Path
) -> None:
    program = start("main:app", "--uds", "s")
    path = str(folder / "s")
    program.signal(signal.SIGHUP)
    until(lambda: program.heard("reloaded"), "the reload")
    until(lambda: len(program.workers()) == 1, "the old worker to end")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(path)
        assert json.loads(ask(sock))["client"] is None
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert not Path(path).exists()


def test_an_inherited_socket_is_shared_by_the_workers_and_outlives_them(start: Start) -> None:
    [listening] = listen_tcp("127.0.0.1", 0, backlog=64)
    with listening:
        arguments = ("main:app", "--workers", "2", "--fd", str(listening.fileno()))
        program = start(*arguments, pass_fds=(listening.fileno(),))
        assert told(program)["pid"] in program.workers()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        with socket.create_connection(listening.getsockname(), timeout=30) as waiting:
            again = start(*arguments, pass_fds=(listening.fileno(),))
            assert json.loads(ask(waiting))["pid"] in again.workers()


# ---- What it tells


def test_each_answer_is_one_line_of_json_and_all_are_written_at_the_end(start: Start) -> None:
    program = start("main:app", "--workers", "2", "--proxy-headers")
    for number in range(20):
        with program.connect() as sock:
            ask(
                sock,
                f"/{number}?%22",
                'User-Agent: "\\',
                "X-Forwarded-For: 9.9.9.9",
            )
    with program.connect() as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in sock.recv(1000)
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    lines = [json.loads(line) for line in program.written.splitlines()]
    assert sorted(int(line["target"][1:].split("?")[0]) for line in lines if line["target"]) == (
        list(range(20))
    )
    assert {line["status"] for line in lines} == {200, 400}
    [refused] = [line for line in lines if line["method"] is None]
    assert refused["status"] == 400
    served = [line for line in lines if line["method"]]
    assert {line["client"] for line in served} == {"9.9.9.9"}
    assert {line["user_agent"] for line in served} == {'"\\'}


def test_metrics_add_up_over_workers_and_survive_their_crashes(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = start("main:app", "--workers", "2", "--metrics-port", str(port), "--no-access-log")

    def figure(name: str) -> float:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b""
            while piece := sock.recv(65536):
                text += piece
        [value] = [
            line.rsplit(" ", 1)[1]
            for line in text.decode().splitlines()
            if line.startswith(name + " ")
        ]
        return float(value)

    for _ in range(30):
        program.get()
    gets = 'http_requests_total{method="GET",status="2xx"}'
    until(lambda: _figure_or_zero(figure, gets) == 30, "30 requests")
    assert figure("http_workers") == 2
    os.kill(min(program.workers()), signal.SIGKILL)
    until(lambda: program.ready_count() == 3, "the replacement")
    assert figure(gets) == 30
    assert figure("http_request_duration_seconds_count") == 30
    assert figure("http_connections_accepted_total") == 30
    program.get()
    until(lambda: figure(gets) == 31, "one more")


def _figure_or_zero(figure: Callable[[str], float], name: str) -> float:
    try:
        return figure(name)
    except ValueError:  # no such line yet
        return 0.0


def test_an_interpreter_without_the_packages_is_told_so_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "week01_http_server", "--port", "0"],  # -S: no site-packages
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "has no httptools and no uvloop: use the clone's own interpreter" in done.stderr
    assert done.stderr.count("\n") == 1
