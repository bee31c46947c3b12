"""What a load measurement was: the runs, the machine and commit, and the services it went to.

    environment = here()                          # before the first run
    runs = [Run(label="nginx", result=wrk.run(...), figures={"server CPU per request (us)": 7.1}),
            Run(label="one worker", result=run_in_loop(...), marks=(Mark(5.2, "kill worker"),))]
    one = Measurement(title="...", environment=environment, services=services(declared, engine),
                      runs=tuple(runs))
    save(one, Path("measured.json"))              # python -m benchmarks.report measured.json

Runs of one label are repetitions of one thing; labels are compared with each other in the order in
which they come. `python -m benchmarks.client --json FILE` writes a file that `load` reads, too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.client.results import Result
from benchmarks.locust import LocustResult
from benchmarks.plots import Mark
from benchmarks.wrk import WrkResult
from infra.bootstrap import clone_root
from infra.evidence import host
from infra.lab.engines.base import Engine
from infra.lab.errors import UsageError
from infra.lab.topology import Topology

FILE_MAX_BYTES: Final = 256 * 2**20

AnyResult = Result | WrkResult | LocustResult
_TOOLS: Final[Mapping[str, type[AnyResult]]] = {
    "client": Result,
    "wrk": WrkResult,
    "locust": LocustResult,
}


@dataclass(frozen=True)
class Environment:
    """Where and of what it was measured.

    Attributes:
        started_at: wall clock, ISO 8601, UTC.
        commit: "unknown" outside of a git clone.
        dirty: whether the clone differed from it.
        host: the machine's facts (`infra.evidence.host.facts`).
    """

    started_at: str
    commit: str
    dirty: bool
    host: dict[str, Any]


@dataclass(frozen=True)
class Service:
    """One service of the topology that was measured.

    Attributes:
        server: kind and version.
        needs: the services that must be ready before it: those it uses.
    """

    name: str
    server: str
    address: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one tool.

    Attributes:
        label: what was measured, in a few words.
        figures: what else was measured during it; each name ends in its unit, in parentheses.
        marks: events for the timeline (of the counting client's runs).
    """

    label: str
    result: AnyResult
    figures: Mapping[str, float] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()

    @property
    def tool(self) -> str:
        return next(name for name, kind in _TOOLS.items() if isinstance(self.result, kind))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Runs that belong together, and all that a reader needs to judge them.

    Attributes:
        says: what was done, in a paragraph: what is compared with what, which settings, in which
            order. Plain text.
        environment: None where nobody wrote it down.
        services: none for a target that the lab did not start.
    """

    title: str
    runs: tuple[Run, ...]
    says: str = ""
    environment: Environment | None = None
    services: tuple[Service, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`; `from_json` takes it back."""
        runs = [
            {
                "label": run.label,
                "tool": run.tool,
                "figures": dict(run.figures),
                "marks": [dataclasses.asdict(mark) for mark in run.marks],
                "result": run.result.to_json(),
            }
            for run in self.runs
        ]
        return dataclasses.asdict(dataclasses.replace(self, runs=())) | {"runs": runs}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """What `to_json` gave. KeyError or TypeError for anything else."""
        told = data["environment"]
        return cls(
            title=data["title"],
            says=data["says"],
            environment=None if told is None else Environment(**told),
            services=tuple(
                Service(**{**one, "needs": tuple(one["needs"])}) for one in data["services"]
            ),
            runs=tuple(map(_run, data["runs"])),
        )


def _run(data: Mapping[str, Any]) -> Run:
    return Run(
        label=data["label"],
        result=_TOOLS[data["tool"]].from_json(data["result"]),
        figures=dict(data["figures"]),
        marks=tuple(Mark(**mark) for mark in data["marks"]),
    )


def here(clone: Path | None = None) -> Environment:
    """This machine and this clone, now: ask before the first run."""
    source = host.source(clone or clone_root())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Environment(now, source.commit, source.dirty, host.facts())


def services(declared: Topology, engine: Engine) -> tuple[Service, ...]:
    """The services of a week that runs, as it runs."""
    needs = {server.name: server.needs for server in declared.servers}
    return tuple(
        Service(row.name, f"{row.kind} {row.version}".strip(), row.address, needs[row.name])
        for row in engine.status()
    )


def of_client(result: Result, environment: Environment) -> dict[str, Any]:
    """What the client's command writes: its result, and where it was measured."""
    return result.to_json() | {"environment": dataclasses.asdict(environment)}


def save(measurement: Measurement, path: Path) -> None:
    """Write it whole or not at all. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(measurement.to_json(), indent=1) + "\n")
    fresh.replace(path)


def load(path: Path) -> Measurement:
    """A file of `save`, or of the counting client's `--json`.

    Raises UsageError, in one line, for anything else.
    """
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            raise UsageError(f"{path} is larger than {FILE_MAX_BYTES} bytes: no measurement")
        data = json.loads(path.read_text())
        if "runs" in data:
            return Measurement.from_json(data)
        told = data.get("environment")
        return Measurement(
            title=path.stem,
            environment=Environment(**told) if told else None,
            runs=(Run(label=path.stem, result=Result.from_json(data)),),
        )
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path} is no measurement: give what `save` of benchmarks.measurement or "
            "`python -m benchmarks.client --json` wrote"
        ) from error
