"""Start-up and shut-down of apps, good and bad ones."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from week01_http_server.asgi.lifespan import Lifespan, LifespanFailed, Mode
from week01_http_server.asgi.types import ProtocolMisuse, Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Awaitable[None]]


def speaking(*answers: dict[str, Any], then: BaseException | None = None) -> App:
    """An app that answers each event with the next message, then raises or returns."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for answer in answers:
            await receive()
            await send(answer)
        if then is not None:
            raise then

    return app


COMPLETE = {"type": "lifespan.startup.complete"}
ENDED = {"type": "lifespan.shutdown.complete"}


def run(app: App, mode: Mode = "auto", timeout_s: float = 30.0) -> dict[str, Any]:
    async def cycle() -> dict[str, Any]:
        state: dict[str, Any] = {}
        lifespan = Lifespan(app, state, timeout_s, mode)
        await lifespan.startup()
        await lifespan.shutdown()
        return state

    return asyncio.run(cycle())


def test_an_app_starts_and_ends_in_one_task_and_fills_the_state() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        seen.append(await receive())
        scope["state"]["pool"] = "open"
        async with asyncio.timeout(60):  # must be left in the task that entered it
            await send(COMPLETE)
            seen.append(await receive())
        await send(ENDED)
        await asyncio.sleep(0)
        seen.append("after the last message")

    assert run(app) == {"pool": "open"}
    assert seen == [
        {"type": "lifespan.startup"},
        {"type": "lifespan.shutdown"},
        "after the last message",
    ]


@pytest.mark.parametrize("app", [speaking(then=ValueError("http only")), speaking()])
def test_an_app_without_lifespan_is_served_all_the_same(app: App) -> None:
    assert run(app) == {}


@pytest.mark.parametrize("app", [speaking(then=ValueError("http only")), speaking()])
def test_unless_lifespan_is_demanded(app: App) -> None:
    with pytest.raises(LifespanFailed, match=r"the app (raised ValueError|returned)"):
        run(app, "on")


def test_off_never_calls_the_app() -> None:
    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        raise AssertionError("called")

    assert run(app, "off") == {}


@pytest.mark.parametrize("then", [None, RuntimeError("the same again")])
def test_a_failed_start_up_says_what_the_app_said(then: Exception | None) -> None:
    app = speaking({"type": "lifespan.startup.failed", "message": "no database"}, then=then)
    with pytest.raises(LifespanFailed, match=r"^no database$"):
        run(app)


def test_a_failed_start_up_without_words_is_told_too() -> None:
    with pytest.raises(LifespanFailed, match="the app's start-up failed"):
        run(speaking({"type": "lifespan.startup.failed"}))


def test_a_failed_shut_down_says_what_the_app_said() -> None:
    app = speaking(COMPLETE, {"type": "lifespan.shutdown.failed", "message": "lost writes"})
    with pytest.raises(LifespanFailed, match=r"^lost writes$"):
        run(app)


def test_an_app_that_raises_while_it_ends_is_reported() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        raise KeyError("x")

    with pytest.raises(LifespanFailed, match="raised KeyError during shut-down"):
        run(app)


def test_an_app_that_returns_instead_of_completing_its_end_has_ended() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()

    run(app)


async def _sleeper(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(3600)


def test_a_start_up_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(LifespanFailed, match=r"did not start up within 0\.01 s"):
        run(_sleeper, timeout_s=0.01)


def test_an_end_that_takes_too_long_is_cancelled() -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    with pytest.raises(LifespanFailed, match="did not shut down"):
        run(app, timeout_s=0.01)
    assert ended == ["cancelled"]


def test_an_app_that_cancels_itself_does_not_hold_start_up() -> None:
    run(speaking(then=asyncio.CancelledError()))


def test_a_lifespan_that_breaks_while_serving_is_logged_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def cycle() -> None:
        broken = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send(COMPLETE)
            broken.set()
            raise OSError("pool lost")

        lifespan = Lifespan(app, {}, 30.0)
        await lifespan.startup()
        await broken.wait()
        await asyncio.sleep(0)
        assert "ended before its shut-down" in caplog.text
        await lifespan.shutdown()

    with caplog.at_level(logging.ERROR):
        asyncio.run(cycle())


@pytest.mark.parametrize(
    "answers",
    [
        [ENDED],
        [{"type": "http.response.start"}],
        [COMPLETE, COMPLETE],
        [COMPLETE, ENDED, ENDED],
    ],
)
def test_messages_out_of_turn_are_refused(answers: list[dict[str, Any]]) -> None:
    refused: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        event = await receive()
        for answer in answers:
            if answer is ENDED and event["type"] == "lifespan.startup" and COMPLETE in answers:
                event = await receive()
            try:
                await send(answer)
            except ProtocolMisuse as error:
                refused.append(str(error))

    run(app)
    assert len(refused) == 1
    assert "sent while the lifespan is" in refused[0]
