"""Users with a mixed load: `python -m week04_shortener.bench.mixed [--publish]`, about two minutes.

locust at the front door with more and more users: links made, followed as Zipf says, looked at.
The report shows rate, latency of each kind, and what the processes used.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import locust, report
from benchmarks.contest.command import INTERRUPTED, interruptible, say
from benchmarks.measurement import Measurement, Run, here, save, services
from infra.bootstrap import clone_root, lab_home
from infra.lab import wiring
from infra.lab.errors import LabError
from infra.lab.pytest_plugin import running
from week04_shortener.bench.rounds import cpu_s
from week04_shortener.bench.stands import PIPELINE
from week04_shortener.lab import REPLICAS, topology

USERS = (10, 50, 200)
SECONDS = 20
NAME = "week04-mixed"
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
PARTS = {"nginx": ("nginx",), "API": REPLICAS, **PIPELINE}


def measure() -> Measurement:
    """All runs, on services of their own. Raises LabError."""
    environment = here()
    runs = []
    say("starting the services")
    with running(topology) as engine:
        for users in USERS:
            say(f"{users} users for {SECONDS} s")
            before = cpu_s(engine, PARTS)
            result = locust.run(LOCUSTFILE, engine.site.url("nginx"), users=users, seconds=SECONDS)
            after = cpu_s(engine, PARTS)
            each = result.requests or 1
            figures = {
                f"{part}: CPU per request (us)": (after[part] - before[part]) * 1e6 / each
                for part in PARTS
            }
            say(f"  {result.requests} requests, {result.failed} failed")
            runs.append(Run(label=f"{users} users", result=result, figures=figures))
        known = services(topology, engine)
    return Measurement(
        title="Week 4: users with a mixed load",
        says="locust at the front door, all services as `up` runs them, on one machine with the "
        "users. Of 100 turns 90 follow a link (as popular as Zipf says), 8 make one, 2 look at "
        "statistics; each user takes 10 turns a second if the service lets them. CPU of the parts "
        "behind the log is what they used until the run's end.",
        environment=environment,
        services=known,
        runs=tuple(runs),
    )


def main() -> int:
    """The exit status."""
    options = argparse.ArgumentParser(prog="mixed", description="Users with a mixed load.")
    options.add_argument("--publish", action="store_true", help="result and report into the clone")
    chosen = options.parse_args()
    interruptible()
    clone = clone_root()
    try:
        locust.program()
        if chosen.publish:
            wiring.require_publishable(os.environ)
        if chosen.publish and here(clone).dirty:
            raise LabError("only a run of committed files is published: commit first")
        measured = measure()
    except LabError as error:
        say(f"mixed: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("mixed: interrupted")
        return INTERRUPTED
    folder = clone / "benchmarks/results/bench" if chosen.publish else lab_home() / "week04/bench"
    folder.mkdir(parents=True, exist_ok=True)
    save(measured, folder / f"{NAME}.json")
    page = folder / f"{NAME}.html"
    page.write_text(report.page([measured]), encoding="utf-8")
    say(f"report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
