"""Undoes a fault when its test is killed: a small process that waits for the test's end.

`python -m infra.lab.faults.guard ACTION ARGUMENTS` reads its standard input, a pipe whose other
end only the test holds. "done" means that the test has undone the fault itself; an end without it
means that nobody has, so the guard does. A reboot, or a kill of both, is for the next use.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

from infra.lab.errors import LabError

ARMED = b"armed\n"
DONE = b"done\n"
END_TIMEOUT_S = 10.0


@contextlib.contextmanager
def guarded(action: str, *arguments: str) -> Iterator[None]:
    """Have `action` done should this process end inside. Raises LabError if there is no guard."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.lab.faults.guard", action, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for the test
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != ARMED:
            raise LabError(f"the guard of a fault ({action}) did not start: nothing was changed")
        yield
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(DONE)
            process.stdin.flush()
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait(END_TIMEOUT_S)


def _actions() -> Mapping[str, Callable[..., None]]:
    from infra.lab.faults import clock, disk

    return {
        "set-clock-right": clock.set_right,
        "unmount": disk.unmount,
        "remove-ballast": disk.remove_ballast,
        "lift-quota": disk.lift_quota,
    }


def main() -> None:
    """Wait for the test, then act if it did not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    action = _actions()[sys.argv[1]]
    sys.stdout.buffer.write(ARMED)
    sys.stdout.buffer.flush()
    if not sys.stdin.buffer.read().endswith(DONE):
        action(*sys.argv[2:])


if __name__ == "__main__":
    main()
