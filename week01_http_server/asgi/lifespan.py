"""Start-up and shut-down of an app: ASGI's lifespan protocol 2.0.

One task per event loop holds the app's lifespan from before the first request until after the
last one, so that what the app opens there is closed in the same task (anyio's task groups and
cancel scopes need that).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

from week01_http_server.asgi.types import ASGIApp, Event, Message, ProtocolMisuse

logger = logging.getLogger(__name__)

Mode = Literal["auto", "on", "off"]


class LifespanFailed(Exception):
    """The app could not start, or not end in good order; the text is one line or the app's own."""


class Lifespan:
    """The lifespan of one app on one event loop.

    Args:
        app: the ASGI app.
        state: the namespace that requests get copies of.
        timeout_s: for start-up and for shut-down each; 0 waits for ever.
        mode: "auto" goes on without lifespan when the app raises before it completed start-up
            (it may not know the protocol), "on" takes that for a failure, "off" never calls it.
    """

    def __init__(
        self, app: ASGIApp, state: dict[str, Any], timeout_s: float, mode: Mode = "auto"
    ) -> None:
        self._app = app
        self._state = state
        self._timeout_s = timeout_s or None
        self._mode = mode
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._phase: Literal["starting", "running", "stopping", "stopped"] = "starting"
        self._answer: asyncio.Future[None] | None = None

    async def startup(self) -> None:
        """Let the app start.

        Raises:
            LifespanFailed: the app said so, took too long, or (mode "on") raised.
        """
        if self._mode == "off":
            return
        self._ask("lifespan.startup")
        self._task = asyncio.create_task(self._run(), name="lifespan")
        try:
            await self._wait("start up")
        except BaseException:
            await self._abandon()
            raise

    async def shutdown(self) -> None:
        """Let the app end; call it when no request is left.

        Raises:
            LifespanFailed: the app said so, raised, or took too long.
        """
        if self._task is None or self._phase != "running":
            return
        self._phase = "stopping"
        self._ask("lifespan.shutdown")
        try:
            await self._wait("shut down")
            # What stands after the app's last message belongs to its end as well.
            await asyncio.wait([self._task], timeout=self._timeout_s)
        finally:
            await self._abandon()

    def _ask(self, kind: str) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": kind})

    async def _wait(self, doing: str) -> None:
        assert self._answer is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._answer
        except TimeoutError:
            raise LifespanFailed(f"the app did not {doing} within {self._timeout_s:g} s") from None

    async def _abandon(self) -> None:
        self._phase = "stopped"
        if self._task is not None and not self._task.done():
            self._task.cancel()
            # Bounded: an app that swallows its cancellation must not hold the server.
            await asyncio.wait([self._task], timeout=1.0)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except (Exception, asyncio.CancelledError) as error:
            self._raised(error)  # an app that cancels itself must not leave start-up waiting
        else:
            self._returned()

    def _raised(self, error: BaseException) -> None:
        if self._phase == "starting" and not self._answered:
            if self._mode == "on":
                logger.error("the app raised during its lifespan start-up", exc_info=error)
                self._fail(f"the app raised {type(error).__name__} during start-up")
            else:
                self._phase = "stopped"
                logger.info("the app has no lifespan: it raised %s", type(error).__name__)
                self._complete()
        elif self._phase == "running":
            self._phase = "stopped"
            logger.error("the app's lifespan ended before its shut-down", exc_info=error)
        elif self._phase == "stopping":
            logger.error("the app raised during its lifespan shut-down", exc_info=error)
            self._fail(f"the app raised {type(error).__name__} during shut-down")
        # Else the app answered "failed" and then raised the same error: it is told already.

    def _returned(self) -> None:
        if self._phase == "starting" and not self._answered:
            if self._mode == "on":
                self._fail("the app returned before it sent lifespan.startup.complete")
            else:
                self._phase = "stopped"
                self._complete()
        elif self._phase == "stopping":
            self._complete()
        else:
            self._phase = "stopped"

    async def _receive(self) -> Event:
        return await self._events.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        expected = {"starting": "lifespan.startup", "stopping": "lifespan.shutdown"}
        prefix = expected.get(self._phase, "")
        if self._answered or kind not in (f"{prefix}.complete", f"{prefix}.failed"):
            raise ProtocolMisuse(f"{kind!r} sent while the lifespan is {self._phase}")
        if kind.endswith(".failed"):
            doing = "start-up" if self._phase == "starting" else "shut-down"
            self._fail(message.get("message") or f"the app's {doing} failed")
            return
        if self._phase == "starting":
            self._phase = "running"
        self._complete()

    @property
    def _answered(self) -> bool:
        return self._answer is not None and self._answer.done()

    def _complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _fail(self, text: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LifespanFailed(text))
