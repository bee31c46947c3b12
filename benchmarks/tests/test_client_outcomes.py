"""Each misbehaviour of a server is counted in its own place, and nowhere else."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator

import pytest

from benchmarks.client import (
    Ended,
    Outcome,
    Plan,
    Request,
    Result,
    Target,
    alarm,
    always,
    in_turn,
    process,
    run,
    run_in_loop,
)
from benchmarks.client.requests import Source
from benchmarks.tests.misbehaving import Server, refusing_port, serving

pytestmark = pytest.mark.integration

SOME = 20


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True, params=["the loop's own timer", "uvloop and timerfd"])
def everywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has neither uvloop nor timerfd, and as on this one."""
    if request.param == "the loop's own timer":
        monkeypatch.setattr(process, "_loop_factory", lambda: None)
        monkeypatch.setattr(alarm, "_timerfd", lambda: (ctypes.CDLL(None), None))


def asked(port: int, source: Source, plan: Plan, **more: object) -> Result:
    target = Target("127.0.0.1", port, f"127.0.0.1:{port}")
    result = run_in_loop(lambda: run(target, source, plan, **more))  # type: ignore[arg-type]
    assert sum(result.outcomes.values()) == result.due, "every request has exactly one outcome"
    assert sum(second.due for second in result.timeline) == result.due
    assert sum(sum(second.ends.values()) for second in result.timeline) == result.due
    return result


def some(requests: int = SOME, **more: float | bool) -> Plan:
    settings = {"connections": 4, "timeout_s": 2.0, "seconds": 10.0, "failure_pause_s": 0.0}
    return Plan(requests=requests, **(settings | more))  # type: ignore[arg-type]


def hello(path: str) -> Request:
    return Request(path=path, check=lambda answer: answer.body == b"hello")


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/ok", Outcome.OK),
        ("/chunked", Outcome.OK),
        ("/until-close", Outcome.OK),
        ("/close", Outcome.OK),
        ("/interim", Outcome.OK),
        ("/stall/0.01", Outcome.OK),
        ("/rst", Outcome.RESET),
        ("/fin", Outcome.RESET),
        ("/short", Outcome.SHORT_BODY),
        ("/short-head", Outcome.SHORT_BODY),
        ("/short-chunks", Outcome.SHORT_BODY),
        ("/status/503", Outcome.WRONG_STATUS),
        ("/status/404", Outcome.WRONG_STATUS),
        ("/status/204", Outcome.WRONG_STATUS),
        ("/wrong-body", Outcome.WRONG_BODY),
        ("/no-http", Outcome.MALFORMED),
        ("/too-much", Outcome.MALFORMED),
        ("/long-head", Outcome.MALFORMED),
    ],
)
def test_each_end_is_counted_as_what_it_is(
    server: Server, path: str, outcome: Outcome, keep_alive: bool
) -> None:
    kind = path.split("/")[1]
    before = server.requests[kind]
    result = asked(server.port, always(hello(path)), some(keep_alive=keep_alive))
    assert result.outcomes == {outcome: SOME}
    assert result.ended_by == "requests"
    assert server.requests[kind] - before == SOME, "as many came as were counted"
    assert result.latency.count == (SOME if outcome is Outcome.OK else 0)
    assert result.failure_time.count == (0 if outcome is Outcome.OK else SOME)
    assert result.outage_count == (0 if outcome is Outcome.OK else 1)
    assert result.unsent_definite == 0


def test_a_refused_connection_is_refused_and_nothing_was_sent() -> None:
    with refusing_port() as port:
        result = asked(port, always(Request()), some())
    assert result.outcomes == {Outcome.REFUSED: SOME}
    assert result.unsent_definite == SOME
    assert not result.outages[0].ended


def test_a_stall_beyond_the_limit_is_a_timeout_at_the_limit(server: Server) -> None:
    plan = some(requests=4, timeout_s=0.2)
    result = asked(server.port, always(Request(path="/stall/5")), plan)
    assert result.outcomes == {Outcome.TIMEOUT: 4}
    assert 200_000 <= result.failure_time.min_us <= result.failure_time.max_us < 400_000
    assert result.unsent_definite == 0


def test_a_connection_that_is_never_accepted_is_a_timeout_of_which_nothing_was_sent() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(4)]
        for one in others:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        result = asked(full.getsockname()[1], always(Request()), some(requests=2, timeout_s=0.2))
        for one in others:
            one.close()
    assert result.outcomes == {Outcome.TIMEOUT: 2}
    assert result.unsent_definite == 2


def test_a_body_beyond_the_limit_is_wrong(server: Server) -> None:
    result = asked(server.port, always(Request(path="/large")), some(body_max_bytes=10_000))
    assert result.outcomes == {Outcome.WRONG_BODY: SOME}
    right = asked(server.port, always(Request(path="/large")), some(body_max_bytes=100_000))
    assert right.outcomes == {Outcome.OK: SOME}
    assert right.body_bytes == SOME * 100_000


def test_head_has_no_body_and_keeps_its_connection(server: Server) -> None:
    plan = some(connections=1)
    result = asked(server.port, always(Request(method="HEAD", path="/head")), plan)
    assert result.outcomes == {Outcome.OK: SOME}
    assert result.connections_opened == 1


def test_connections_are_reused_or_not_as_planned(server: Server) -> None:
    before = server.connections
    kept = asked(server.port, always(Request(path="/ok")), some(connections=2))
    assert kept.connections_opened == server.connections - before == 2
    before = server.connections
    fresh = asked(server.port, always(Request(path="/ok")), some(connections=2, keep_alive=False))
    assert fresh.connections_opened == server.connections - before == SOME


def test_a_connection_closed_while_idle_fails_nobody(server: Server) -> None:
    plan = some(requests=10, rate_per_s=50, connections=1)
    result = asked(server.port, always(Request(path="/idle-close")), plan)
    assert result.outcomes == {Outcome.OK: 10}
    assert result.connections_opened == 10


def test_bytes_nobody_asked_for_cost_the_connection(server: Server) -> None:
    # They come 50 ms after an answer; the next request is due 450 ms later.
    plan = some(requests=3, rate_per_s=2, connections=1)
    result = asked(server.port, always(Request(path="/stray")), plan)
    assert result.outcomes == {Outcome.OK: 3}
    assert result.stray == 2  # the run is over before the third comes
    assert result.connections_opened == 3


def test_a_mixture_is_told_apart(server: Server) -> None:
    paths = ["/ok", "/status/503", "/short", "/ok", "/rst", "/no-http", "/wrong-body", "/ok"]
    requests = in_turn([hello(path) for path in paths * 10])
    result = asked(server.port, requests, some(requests=1000))
    assert result.outcomes == {
        Outcome.OK: 30,
        Outcome.WRONG_STATUS: 10,
        Outcome.SHORT_BODY: 10,
        Outcome.RESET: 10,
        Outcome.MALFORMED: 10,
        Outcome.WRONG_BODY: 10,
    }


def test_retries_are_counted_apart_and_bounded(server: Server) -> None:
    server.requests["fail-first"] = 0
    request = Request(path="/fail-first/3/rst")
    result = asked(server.port, always(request), some(requests=1, retries=5, retry_pause_s=0.01))
    assert result.outcomes == {Outcome.OK: 1}
    assert (result.attempts, result.retries, result.recovered) == (4, 3, 1)
    assert result.failed_attempts == {Outcome.RESET: 3}
    assert result.latency.min_us >= 70_000, "the pauses of 10, 20 and 40 ms belong to the latency"

    server.requests["fail-first"] = 0
    result = asked(server.port, always(request), some(requests=1, retries=2, retry_pause_s=0.01))
    assert result.outcomes == {Outcome.RESET: 1}
    assert (result.attempts, result.retries, result.recovered) == (3, 2, 0)


def test_a_gateway_that_is_away_is_asked_again_and_a_missing_page_is_not(server: Server) -> None:
    away = asked(server.port, always(Request(path="/status/503")), some(requests=2, retries=2))
    assert (away.due, away.attempts) == (2, 6)
    missing = asked(server.port, always(Request(path="/status/404")), some(requests=2, retries=2))
    assert (missing.due, missing.attempts) == (2, 2)


def test_what_is_not_idempotent_is_never_sent_twice(server: Server) -> None:
    before = server.requests["rst"]
    post = Request(method="POST", path="/rst", body=b"x")
    result = asked(server.port, always(post), some(retries=3))
    assert result.outcomes == {Outcome.RESET: SOME}
    assert result.retries == 0
    assert server.requests["rst"] - before == SOME


def test_the_observer_hears_of_every_request_that_was_sent(server: Server) -> None:
    heard: list[Ended] = []
    requests = [Request("POST", "/ok", (("X-Key", f"k{n}"),), b"body", key=f"k{n}") for n in (0, 1)]
    server.keys.clear()
    result = asked(server.port, in_turn(requests), some(), observer=heard.append)
    assert result.outcomes == {Outcome.OK: 2}
    assert sorted(one.request.key or "" for one in heard) == sorted(server.keys) == ["k0", "k1"]
    assert all(one.sent and one.answer and one.answer.body == b"hello" for one in heard)
    assert all(one.due_s <= one.ended_s for one in heard)


@pytest.mark.parametrize("who", ["source", "check", "observer", "on_progress"])
def test_a_mistake_of_the_caller_ends_the_run_and_is_not_swallowed(
    server: Server, who: str
) -> None:
    def broken(*_: object) -> bool:
        raise LookupError(f"the {who} is broken")

    source: Source = broken if who == "source" else always(Request(path="/ok"))  # type: ignore[assignment]
    if who == "check":
        source = always(Request(path="/ok", check=broken))
    more = {who: broken} if who in ("observer", "on_progress") else {}
    plan = some(requests=100_000, rate_per_s=50)
    with pytest.raises(LookupError, match=f"the {who} is broken"):
        asked(server.port, source, plan, **more)
