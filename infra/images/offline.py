"""Stand-ins for upstream images, and the weeks' own images on them, without an image registry.

    python -m infra.images.offline build [--week week04] [--checks]
    python -m infra.images.offline remove

`build` makes what is not there yet; `remove` removes exactly the images that this made.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from infra.bootstrap import clone_root, lab_home
from infra.images import base, docker, plan
from infra.lab import weeks
from infra.lab.errors import LabError
from infra.lab.servers import kafka_jars
from infra.lab.servers.base import Progress

SERVICE = "infra/images/service/Dockerfile"
OVERRIDE = "compose.offline.yaml"


def service_image(week: str, *, checks: bool = False) -> str:
    """Name of a week's own image; the one of checks holds the controls' variants, too."""
    return f"scaling-lab/{week}:{'checks' if checks else 'local'}"


def build(
    clone: Path, home: Path, names: Sequence[str], report: Progress, *, checks: bool = False
) -> list[str]:
    """Make the stand-ins that the weeks `names` need, and their own images; returns all names.

    Args:
        clone: root of the repository.
        home: the lab home: Kafka's jars are there, and the logs of builds.
        names: `week04`, ...
        report: told what is being made.
        checks: the weeks' images hold the controls' variants, under a tag of their own.

    Raises LabError, in one line with what to do: no docker, no daemon, no buildx, no mmdebstrap, a
    week that is unknown or has no compose.offline.yaml, and a build that fails.
    """
    docker.check_builder()
    wanted = wanted_standins(clone, names)
    logs = home / "images"
    base.make(logs / "base.log", report)
    on = docker.image_id(base.IMAGE)
    for number, standin in enumerate(wanted, 1):
        report(f"stand-in {number} of {len(wanted)}: {standin.image}")
        _build_standin(clone, home, standin, on, report)
    services = [service_image(week, checks=checks) for week in names]
    for week, image in zip(names, services, strict=True):
        report(image)
        build_service(clone, week, image, logs / f"{week}.log", report, checks=checks)
    return [base.IMAGE, *(standin.image for standin in wanted), *services]


def wanted_standins(clone: Path, names: Sequence[str]) -> list[plan.StandIn]:
    """Those that the weeks' overrides name. Raises LabError for one that cannot be built."""
    known = {standin.image: standin for standin in plan.standins(clone).values()}
    found: dict[str, plan.StandIn] = {}
    for week in names:
        package = weeks.packages(clone).get(week)
        override = clone / (package or week) / OVERRIDE
        if package is None or not override.exists():
            raise LabError(f"{week} has no {OVERRIDE}: `--week` takes one that runs in containers")
        for image in sorted(plan.named_in(override.read_text(encoding="utf-8")) - {base.IMAGE}):
            if image not in known:
                raise LabError(
                    f"{override} names {image}, but the locks make {', '.join(sorted(known))}"
                )
            found[image] = known[image]
    return list(found.values())


def _build_standin(
    clone: Path, home: Path, standin: plan.StandIn, on: str, report: Progress
) -> None:
    """Unless the one that is there was made from the same. `on` is the id of the base's image."""
    jars = home / "jars"
    if standin.server == "kafka":
        kafka_jars.fetch(clone, jars, report)
    with tempfile.TemporaryDirectory(prefix="scaling-lab-") as folder:
        plan.fill_context(Path(folder), clone, standin, jars)
        made_from = plan.inputs(Path(folder), on)
        if docker.image_label(standin.image, docker.INPUTS_LABEL) == made_from:
            return
        words = [
            *("--target", standin.server, "--build-arg", f"PYTHON={base.IMAGE}"),
            *("--label", f"{docker.INPUTS_LABEL}={made_from}"),
        ]
        log = home / "images" / f"{standin.server}.log"
        docker.build(standin.image, Path(folder), words, log, report)


def build_service(
    clone: Path, week: str, image: str, log: Path, report: Progress, *, checks: bool = False
) -> None:
    """A week's own image on the stand-in of Python. Raises LabError when the build fails."""
    words = [
        *("--file", str(clone / SERVICE), "--build-arg", f"PYTHON={base.IMAGE}"),
        *("--build-arg", f"WEEK={week}", "--build-arg", f"CHECKS={'1' if checks else ''}"),
    ]
    docker.build(image, clone, words, log, report)


def remove(report: Progress) -> list[str]:
    """Remove what `build` made; returns the names. Raises LabError for one that is in use."""
    docker.check_daemon()
    # What stands on others goes first: Docker keeps an image as long as another needs it.
    names = sorted(docker.made_here(), key=lambda name: name == base.IMAGE)
    for name in names:
        report(f"removing {name}")
        done = docker.ask("image", "rm", name)
        if done.returncode != 0:
            raise LabError(f"{name} stays: {done.stderr.strip().splitlines()[-1]}")
    return names


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.images.offline")
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("build", help="make what is not there yet")
    making.add_argument("--week", action="append", help="one week's alone; may be repeated")
    making.add_argument(
        "--checks", action="store_true", help="weeks' images with the variants of checks and bench"
    )
    verbs.add_parser("remove", help="remove exactly what `build` made")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Entry point; 1 after one line that says what is wrong."""
    given = _arguments(sys.argv[1:] if words is None else words)
    started_s = time.monotonic()

    def report(text: str) -> None:
        sys.stderr.write(f"images: {text}\n")
        sys.stderr.flush()

    try:
        if given.verb == "remove":
            report(f"{len(remove(report))} images removed")
            return 0
        clone = clone_root()
        in_containers = [
            week
            for week, package in weeks.packages(clone).items()
            if (clone / package / OVERRIDE).exists()
        ]
        names = given.week or in_containers
        made = build(clone, lab_home(), names, report, checks=given.checks)
    except LabError as error:
        report(str(error))
        return 1
    except KeyboardInterrupt:
        report("interrupted: what was built stays, the next build goes on from there")
        return 130
    report(f"{', '.join(made)}: {time.monotonic() - started_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
