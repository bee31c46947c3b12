"""Learning of a server's end in time.

ASGI tells an application to shut down after its last answer. An answer that has no end, such as a
stream of events, would hold the server up until its patience is over and then be cut. So we listen
for the signal ourselves, beside the server: its own handler is called as before.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def on_signal(call: Callable[[], None]) -> Iterator[None]:
    """While the block runs, call `call` in the event loop when the process is told to end.

    Does nothing outside the main thread, where Python handles no signals. A signal that the server
    ignores is left ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = {number: was for number, was in before.items() if callable(was)}

    def chained(was: Handler) -> Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            was(number, frame)
            loop.call_soon_threadsafe(call)

        return handle

    for number, was in taken.items():
        signal.signal(number, chained(was))
        # `signal.signal` lets signals interrupt system calls; event loops have switched that off.
        signal.siginterrupt(number, False)
    try:
        yield
    finally:
        for number, was in taken.items():
            signal.signal(number, was)
