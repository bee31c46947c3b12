"""One week on its engines, side by side: until it answers, memory at rest, speed at the front door.

A week's `bench/engines.py` says what is asked. All engines stand at the same time, on this machine,
and are asked in turn, so that a busy moment hits them all; a week on hosts of their own joins by
its address.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil

from benchmarks import wrk
from benchmarks.contest.command import INTERRUPTED, interruptible, say
from benchmarks.contest.rounds import turns
from benchmarks.measurement import Environment, here
from benchmarks.summaries import median_and_range, summary
from infra.bootstrap import clone_root, lab_home
from infra.evidence import between
from infra.evidence.labs import of_target
from infra.lab.engines.base import Engine
from infra.lab.errors import LabError
from infra.lab.pytest_plugin import running
from infra.lab.topology import Topology

HERE = ("local", "compose")
VMS = "hetzner"
ROUNDS = 5
ROUND_S = 5
WARM_S = 1
CONNECTIONS = 16
STARTS = 3
SETTLE_S = 10
MEMORY_SAMPLES = 3
MEMORY_EVERY_S = 2.0

MIB = 2**20
RESULTS = Path("benchmarks/results/engines")

Prepare = Callable[[str], str]
"""From the front door's address to the path that is asked."""


@dataclass(frozen=True)
class Side:
    """One engine's raw samples; what was not measured there has none.

    Attributes:
        up_s: `up` after `down`: everything was there before.
        memory_mib: of all services and what the engine runs beside them, at rest.
        per_s, p50_ms, p99_ms: wrk's, closed loop, a round each.
        cpu_us: processor time of the whole machine for each request, the client's included.
    """

    up_s: list[float] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """What was measured of a week."""

    week: str
    asked: str
    environment: Environment
    servers: Mapping[str, Mapping[str, str]]
    sides: Mapping[str, Side]


def measure(declared: Topology, asked: str, prepare: Prepare, hosts: str | None) -> Comparison:
    """All engines of this machine, and `hosts`, an address, where one is given. Raises LabError."""
    environment = here()
    sides = {name: Side() for name in (*HERE, *([VMS] if hosts else []))}
    servers: dict[str, Mapping[str, str]] = {}
    doors = {VMS: hosts} if hosts else {}
    with contextlib.ExitStack() as ends:
        for name in HERE:
            say(f"{name}: up")
            engine = ends.enter_context(running(declared, name))
            _starts(name, engine, sides[name])
            servers[name] = {row.name: f"{row.kind} {row.version}" for row in engine.status()}
            _memory(engine, sides[name])
            doors[name] = engine.site.url(declared.front)
        urls = {name: doors[name] + prepare(doors[name]) for name in sides}
        _rounds(urls, sides)
    return Comparison(declared.week, asked, environment, servers, sides)


def _starts(name: str, engine: Engine, side: Side) -> None:
    for number in range(STARTS):
        anyio.run(engine.down)
        began = time.monotonic()
        anyio.run(engine.up)
        side.up_s.append(time.monotonic() - began)
        say(f"{name}: up again after {side.up_s[-1]:.1f} s ({number + 1} of {STARTS})")


def _memory(engine: Engine, side: Side) -> None:
    time.sleep(SETTLE_S)
    for _ in range(MEMORY_SAMPLES):
        rows = [*engine.status(), *engine.overhead()]
        side.memory_mib.append(sum(row.memory_bytes or 0 for row in rows) / MIB)
        time.sleep(MEMORY_EVERY_S)


def _rounds(urls: Mapping[str, str], sides: Mapping[str, Side]) -> None:
    for url in urls.values():
        wrk.run(url, seconds=WARM_S, connections=CONNECTIONS)
    for number, name in turns(list(urls), ROUNDS):
        before = _busy_s()
        result = wrk.run(urls[name], seconds=ROUND_S, connections=CONNECTIONS)
        _keep(sides[name], name, result, _busy_s() - before)
        say(f"{name:<8} {result.requests_per_s:>8.0f}/s ({number + 1} of {ROUNDS})")


def _keep(side: Side, name: str, result: wrk.WrkResult, used_s: float) -> None:
    if not result.requests:
        raise LabError(f"{name} answered nothing in {ROUND_S} s")
    if not result.clean:
        failed = summary(result).failed
        raise LabError(f"{name}: {failed} of {result.requests} requests failed")
    side.per_s.append(result.requests_per_s)
    side.p50_ms.append(result.percentiles_us["50"] / 1e3)
    side.p99_ms.append(result.percentiles_us["99"] / 1e3)
    side.cpu_us.append(used_s * 1e6 / result.requests)


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


# ---- published


def table(one: Comparison) -> str:
    """The README's table. Pure."""
    names = [name for name in (*HERE, VMS) if name in one.sides]
    lines = [
        "| engine | `up`, all there before | memory at rest | a second | p50 | p99 "
        "| CPU each, whole machine |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        side = one.sides[name]
        cells = (
            _cell(side.up_s, "s"),
            _cell(side.memory_mib, "MiB"),
            _cell(side.per_s, ""),
            _cell(side.p50_ms, "ms"),
            _cell(side.p99_ms, "ms"),
            _cell(side.cpu_us, "us"),
        )
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    host = one.environment.host
    where = f"{host['processors']} processors, {host['system']}"
    lines += [
        "",
        f"{one.asked}. Median (lowest to highest) of {ROUNDS} rounds of {ROUND_S} s each, all "
        f"engines in turn on one machine ({where}) with the client (wrk, {CONNECTIONS} "
        f"connections), commit {one.environment.commit[:12]}.",
    ]
    return "\n".join(lines)


def _cell(samples: list[float], unit: str) -> str:
    return f"{median_and_range(samples)} {unit}".rstrip() if samples else "not measured"


def to_json(one: Comparison) -> dict[str, Any]:
    """Everything; `from_json` takes it back."""
    return asdict(one)


def from_json(data: Mapping[str, Any]) -> Comparison:
    """What `to_json` gave. KeyError or TypeError for anything else."""
    sides = {name: Side(**side) for name, side in data["sides"].items()}
    return Comparison(
        data["week"], data["asked"], Environment(**data["environment"]), data["servers"], sides
    )


def published(clone: Path) -> list[Comparison]:
    """All that stand under benchmarks/results."""
    files = sorted((clone / RESULTS).glob("week[0-9][0-9].json"))
    return [from_json(json.loads(file.read_text())) for file in files]


def with_table(readme: str, one: Comparison) -> str:
    """A README with its table made anew. Raises ValueError where the marks are missing."""
    marks = (f"<!-- engines: {one.week} begin -->", f"<!-- engines: {one.week} end -->")
    return between.replaced(readme, marks, table(one))


def main(declared: Topology, package: str, asked: str, prepare: Prepare) -> int:
    """The command of a week's `bench/engines.py`; the exit status.

    Args:
        package: the week's, whose README has the table.
        asked: what is asked, in a few words that begin a sentence.
    """
    options = argparse.ArgumentParser(prog="engines", description="A week on its engines.")
    options.add_argument("--hosts", metavar="URL", help="front door of the week on Debian hosts")
    options.add_argument("--publish", action="store_true", help="result and table into the clone")
    chosen = options.parse_args()
    interruptible()
    clone = clone_root()
    readme = clone / package / "README.md"
    try:
        wrk.program()
        if chosen.publish and here(clone).dirty:
            raise LabError("only a run of committed files is published: commit first")
        hosts = of_target(chosen.hosts, None).url if chosen.hosts else None
        measured = measure(declared, asked, prepare, hosts)
    except LabError as error:
        say(f"engines: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("engines: interrupted")
        return INTERRUPTED
    folder = clone / RESULTS if chosen.publish else lab_home() / declared.week / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{declared.week}.json" if chosen.publish else "engines.json"
    (folder / name).write_text(json.dumps(to_json(measured), indent=1) + "\n")
    if chosen.publish:
        readme.write_text(with_table(readme.read_text(), measured))
    sys.stdout.write(table(measured) + "\n")
    return 0
