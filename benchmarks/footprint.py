"""What a week costs its user: minutes to the first answer, memory at rest, disk.

`make footprint` clones the committed state into an empty folder, starts each week there as the
README says (no cache, nothing installed), and publishes the figures under benchmarks/results and
in the README's table. Nothing of the user's own lab is touched: other ports, another folder.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.bootstrap import clone_root
from infra.evidence import between, host
from infra.evidence.host import git
from infra.lab.engines.local.ports import is_free
from infra.lab.weeks import packages

COLD_RUNS = 3
WARM_RUNS = 5
SETTLE_S = 30
MEMORY_SAMPLES = 5
MEMORY_EVERY_S = 2
COMMAND_TIMEOUT_S = 600
PORTS_PER_WEEK = 20
BASES = range(21_000, 31_000, 100)

MIB = 2**20
RESULTS = Path("benchmarks/results/footprint")
README = Path("README.md")
MARKS = ("<!-- footprint: begin -->", "<!-- footprint: end -->")


@dataclass(frozen=True)
class Footprint:
    """One week's raw samples and where they were taken.

    Attributes:
        cold_s: `up` in a fresh clone without caches: environment, downloads, start; one a clone.
        warm_s: `up` again after `down`, data kept.
        memory_mib: proportional set size of all processes, supervisor included, at rest.
        disk_mib: the lab home (environment, jars, data) after the runs.
    """

    week: str
    commit: str
    measured_at: str
    host: dict[str, Any]
    cold_s: list[float]
    warm_s: list[float]
    memory_mib: list[float]
    disk_mib: float


def measure(week: str, clone: Path) -> Footprint:
    """Run `week` cold and warm in clones of its own. Raises CalledProcessError when one fails."""
    cold, warm, memory, disk = [], [], [], 0.0
    for run in range(1, COLD_RUNS + 1):
        with tempfile.TemporaryDirectory(prefix="footprint-") as folder:
            Path(folder).chmod(0o755)  # servers under another user must be able to enter
            fresh = Path(folder) / "clone"
            subprocess.run(["git", "clone", "-q", clone, fresh], check=True)
            lab = _Lab(fresh, week)
            try:
                cold.append(lab.timed("up"))
                _say(f"{week}: cold start {run} of {COLD_RUNS}: {cold[-1]:.1f} s")
                if run == COLD_RUNS:
                    memory = _memory_at_rest(lab)
                    warm = _warm_starts(lab)
                    disk = _size_mib(fresh / ".lab")
            finally:
                lab.timed("down")
    return Footprint(
        week=week,
        commit=git(clone, "rev-parse", "HEAD"),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        host=host.facts(),
        cold_s=cold,
        warm_s=warm,
        memory_mib=memory,
        disk_mib=disk,
    )


class _Lab:
    """`./lab` of one clone on ports that nobody uses."""

    def __init__(self, clone: Path, week: str) -> None:
        self._clone, self._week = clone, week
        base = next(
            base for base in BASES if all(is_free(base + step) for step in range(PORTS_PER_WEEK))
        )
        ours = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        self._environ = ours | {"PORT": str(base), "PIP_NO_CACHE_DIR": "1"}

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["./lab", self._week, *words],
            cwd=self._clone,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
        done.check_returncode()
        return done.stdout

    def timed(self, verb: str) -> float:
        began = time.monotonic()
        self.run(verb)
        return time.monotonic() - began


def _warm_starts(lab: _Lab) -> list[float]:
    samples = []
    for run in range(1, WARM_RUNS + 1):
        lab.timed("down")
        samples.append(lab.timed("up"))
        _say(f"warm start {run} of {WARM_RUNS}: {samples[-1]:.1f} s")
    return samples


def _memory_at_rest(lab: _Lab) -> list[float]:
    _say(f"memory at rest, after {SETTLE_S} s")
    time.sleep(SETTLE_S)
    samples = []
    for _ in range(MEMORY_SAMPLES):
        rows = json.loads(lab.run("status", "--json"))
        samples.append(sum(row["memory_bytes"] or 0 for row in rows) / MIB)
        time.sleep(MEMORY_EVERY_S)
    return samples


def _size_mib(folder: Path) -> float:
    return sum(file.lstat().st_blocks for file in folder.rglob("*")) * 512 / MIB


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def table(published: list[Footprint]) -> str:
    """The README's table of published footprints."""
    lines = [
        "| week | first `up`, all downloads included | later `up` | memory at rest | disk |",
        "|---|---|---|---|---|",
    ]
    for one in published:
        lines.append(
            f"| {one.week[-2:]} | {_spread(one.cold_s)} s | {_spread(one.warm_s)} s "
            f"| {statistics.median(one.memory_mib):.0f} MiB | {one.disk_mib:.0f} MiB |"
        )
    hosts = {
        f"{h['system']}, {h['processors']} processors" for h in (one.host for one in published)
    }
    lines += ["", f"Median (lowest to highest) of `make footprint` on {'; '.join(sorted(hosts))}."]
    return "\n".join(lines)


def _spread(samples: list[float]) -> str:
    return f"{statistics.median(samples):.0f} ({min(samples):.0f}-{max(samples):.0f})"


def published(clone: Path) -> list[Footprint]:
    """All footprints under benchmarks/results."""
    files = sorted((clone / RESULTS).glob("week[0-9][0-9].json"))
    return [Footprint(**json.loads(file.read_text())) for file in files]


def with_table(readme: str, rows: list[Footprint]) -> str:
    """The README's text with its table made anew. Raises ValueError where the marks are missing."""
    return between.replaced(readme, MARKS, table(rows))


def main() -> None:
    clone = clone_root()
    if git(clone, "status", "--porcelain", "--untracked-files=no"):
        sys.exit("footprint: commit your changes first, the committed state is what is measured")
    (clone / RESULTS).mkdir(parents=True, exist_ok=True)
    for week in sys.argv[1:] or packages(clone):
        result = measure(week, clone)
        file = clone / RESULTS / f"{week}.json"
        file.write_text(json.dumps(asdict(result), indent=2) + "\n")
    readme = clone / README
    readme.write_text(with_table(readme.read_text(), published(clone)))
    _say(f"published in {RESULTS} and {README}")


if __name__ == "__main__":
    main()
