"""The command line of every week's bench: run, keep, and publish when asked."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import wrk
from benchmarks.contest import publish
from benchmarks.contest.contest import Contest
from benchmarks.contest.results import Bench
from benchmarks.measurement import here
from infra.bootstrap import clone_root, lab_home
from infra.lab.errors import LabError

INTERRUPTED = 130


def say(line: str) -> None:
    """Progress goes to stderr."""
    sys.stderr.write(line + "\n")


def interruptible() -> None:
    """Let whatever ends this process from outside end it as Ctrl-C does: with all its servers."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def main(contest: Contest, run: Callable[[bool], Bench]) -> int:
    """`run` is given whether the run is to be quick; returns the exit status."""
    options = argparse.ArgumentParser(prog="bench", description=f"{contest.title}.")
    options.add_argument("--quick", action="store_true", help="one short round, for a first look")
    options.add_argument(
        "--publish", action="store_true", help="results, report and README table into the clone"
    )
    options.add_argument(
        "--render", action="store_true", help="only make report and table of the published results"
    )
    chosen = options.parse_args()
    interruptible()
    clone = clone_root()
    try:
        if chosen.render:
            _tell(publish.render(contest, clone), clone)
            return 0
        wrk.program()
        if chosen.publish and (chosen.quick or here(clone).dirty):
            raise LabError("only a whole run of committed files is published: commit, no --quick")
        bench = run(chosen.quick)
        say(f"report: {publish.keep(contest, bench, lab_home() / contest.week / 'bench')}")
        if chosen.publish:
            _tell(publish.publish(contest, bench, clone), clone)
    except LabError as error:
        say(f"bench: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("bench: interrupted")
        return INTERRUPTED
    return 0


def _tell(files: Iterable[Path], clone: Path) -> None:
    for file in files:
        say(f"published: {file.relative_to(clone)}")
