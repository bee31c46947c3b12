"""Runs your service.py: two replicas of it behind nginx, with a PostgreSQL and a Valkey.

    ./lab --dev python DIR/serve.py              Ctrl-C ends everything; the data stay
    ./lab --dev python DIR/serve.py --clean      erases the data

Saving a .py file starts both replicas anew. PORT=9490 moves everything to other ports.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import anyio

from infra.bootstrap import BootstrapError, lab_home
from infra.lab import console
from infra.lab.engines.local.engine import LocalEngine
from infra.lab.errors import LabError
from infra.lab.owner import this_process
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.python import PythonProcess
from infra.lab.servers.valkey import Valkey
from infra.lab.site import HOST, Site
from infra.lab.topology import Topology
from infra.lab.wiring import local_engine

HERE = Path(__file__).resolve().parent
NAME = "week04-starter"
REPLICAS = ("api1", "api2")
LOOK_EVERY_S = 0.3
LOG_LINES = 12

postgres = Postgres(
    name="postgres",
    port=3,
    database="shortener",
    password_secret="shortener_password",
    # Claims ask PostgreSQL itself how often it was asked.
    settings={"shared_preload_libraries": "pg_stat_statements"},
    extensions=("pg_stat_statements",),
)


def environment(site: Site, name: str) -> Mapping[str, str]:
    """What a replica is told."""
    return {
        "DATABASE_URL": postgres.dsn(site),
        "VALKEY_URL": f"redis://{site.address('valkey')}/0",
        "PUBLIC_BASE_URL": site.url("nginx"),
        "REPLICA": name,
    }


def replica(name: str, port: int) -> PythonProcess:
    """Your app. Under uvicorn, which shows whole tracebacks in the log."""
    return PythonProcess(
        name=name,
        port=port,
        needs=("postgres", "valkey"),
        ready_path="/health/live",
        arguments=lambda site: (
            *("-m", "uvicorn", "service:app", "--app-dir", str(HERE), "--no-proxy-headers"),
            *("--host", HOST, "--port", str(site.ports[name]), "--no-access-log"),
            *("--timeout-graceful-shutdown", "2"),
        ),
        environment=lambda site: environment(site, name),
    )


topology = Topology(
    week=NAME,
    title="your shortener",
    base_port=8490,
    servers=(
        Nginx(
            name="nginx",
            port=0,
            needs=REPLICAS,
            config=str(HERE / "front.conf"),
            upstreams={"replicas": REPLICAS},
            probe_path="/health/live",
        ),
        replica("api1", 1),
        replica("api2", 2),
        postgres,
        Valkey(name="valkey", port=4),
    ),
)


def serve(engine: LocalEngine) -> None:
    """Run until Ctrl-C. Raises LabError, and KeyboardInterrupt once all has ended."""
    seen = saved()
    try:
        with console.Progress(console.stderr(), topology.names) as progress:
            anyio.run(engine.up, progress)
        tell(engine.site)
        while True:
            time.sleep(LOOK_EVERY_S)
            now = saved()
            if now != seen:
                seen = now
                start_anew(engine)
    finally:
        anyio.run(engine.down)


def saved() -> dict[Path, int]:
    """When each of your modules was written last."""
    found = {}
    for path in HERE.glob("*.py"):
        try:
            found[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # an editor is about to put another in its place
            continue
    return found


def start_anew(engine: LocalEngine) -> None:
    """Both replicas, with what the files say now; a mistake in them is told and waited for."""
    try:
        anyio.run(engine.stop, REPLICAS)
        anyio.run(engine.start, REPLICAS)
    except LabError as error:
        say(f"{last_lines(engine.site)}\n{error}\nMend it and save: both are started again then.")
    else:
        say("both replicas run anew")


def last_lines(site: Site) -> str:
    """The end of a replica's log, where the traceback is."""
    lines = site.log_file(REPLICAS[0]).read_text(errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES:])


def tell(site: Site) -> None:
    """The addresses, and the line that judges."""
    target, dsn = site.url("nginx"), postgres.dsn(site)
    logs = " ".join(shlex.quote(str(site.log_file(name))) for name in REPLICAS)
    say(
        f"\nTARGET={target}\nTARGET_DSN={dsn}\n\nIn another terminal, from the clone:\n"
        f"  make week04 check TARGET={target} TARGET_DSN={dsn}\n"
        f"  tail -f {logs}\n\n"
        f"Saving {HERE / 'service.py'} starts the replicas anew; Ctrl-C ends all."
    )


def say(text: str) -> None:
    """To the terminal at once, also where it is a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def clean(engine: LocalEngine) -> None:
    """Erase the data."""
    if engine.site.root.exists():
        engine.clean()
    say("the data of your shortener are erased")


def main() -> int:
    """Returns the exit status; what a user can mend is one line."""
    parser = argparse.ArgumentParser(description="Runs your service.py.")
    parser.add_argument("--clean", action="store_true", help="erase the data")
    words = parser.parse_args()
    os.umask(0o022)  # servers under another user must be able to enter what is created
    for number in (signal.SIGTERM, signal.SIGHUP):  # ended from outside, or the terminal closed
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        root = lab_home() / NAME
        engine = local_engine(topology, root, os.environ, owner=this_process())
        if engine.is_up():
            raise LabError("it runs already: Ctrl-C in its terminal ends it")
        if words.clean:
            clean(engine)
        else:
            serve(engine)
    except (LabError, BootstrapError) as error:
        sys.stderr.write(f"serve.py: {_in_words_of_this_file(str(error))}\n")
        return 1
    except KeyboardInterrupt:
        say("\nended; the data stay (serve.py --clean erases them)")
    return 0


def _in_words_of_this_file(text: str) -> str:
    """The lab speaks of its own commands, which know nothing of this folder."""
    text = text.replace(f"make {NAME} clean", "serve.py --clean")
    return re.sub(rf"`make {NAME} up (\S+)`", r"\1 in front of the command", text)


if __name__ == "__main__":
    sys.exit(main())
