"""`lab weekNN check`: runs pytest on one week's claims."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from infra.bootstrap import clone_root
from infra.evidence.labs import of_target, require_answer
from infra.lab.errors import LabError, UsageError

BUDGET_S = 180.0
"""What a check with one seed may take (architecture, section 4)."""


def run_checks(
    week_package: str,
    *,
    deep: bool = False,
    seed: int | None = None,
    target: str | None = None,
    target_dsn: str | None = None,
    results: Path | None = None,
    claims: Sequence[str] = (),
) -> int:
    """Measure the claims of `week04_shortener` and show them; 0 when all of them held.

    Args:
        deep: all seeds and repetitions.
        seed: in place of the claims' own.
        target: address of somebody's own service, checked without controls.
        target_dsn: its PostgreSQL.
        results: folder for the results; None for the lab home's.
        claims: only these: `herd`, or `w04.herd`, also means `w04.herd.in-process`.

    Returns 1 when a claim failed or a check is broken, 2 when a word of the command is wrong, 130
    after Ctrl-C. Raises LabError where nothing can be run, in one line.
    """
    clone = clone_root()
    checks = clone / week_package / "checks"
    if not checks.is_dir():
        raise LabError(f"{week_package} has no claims yet: they belong into {week_package}/checks")
    if target_dsn and not target:
        raise UsageError("TARGET_DSN goes with TARGET: name the service as well")
    if target:
        require_answer(of_target(target, target_dsn))
    if find_spec("pytest") is None:
        raise LabError(
            "checks need the development packages: `./lab --dev pytest --version` installs them"
        )
    import pytest  # only here: what else uses this package needs no pytest

    words = ["-p", "infra.evidence.plugin", "-c", str(clone / "pyproject.toml")]
    words += ["--rootdir", str(clone), "-q", "--no-header", "--tb=short", "-rN"]
    # The command itself has imported some of what pytest would rewrite; no claim is among it.
    words += ["-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    words += ["--deep"] if deep else [f"--budget={BUDGET_S}"]
    words += [f"--seed={seed}"] if seed is not None else []
    words += [f"--target={target}"] if target else []
    words += [f"--target-dsn={target_dsn}"] if target_dsn else []
    words += [f"--results={results}"] if results else []
    words += [f"--claim={name}" for name in claims]
    status = int(pytest.main([*words, str(checks)]))
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise LabError(f"{week_package}/checks has no class under @claim")
    return _status(status)


def _status(status: int) -> int:
    """pytest's exit status as the lab command's: interrupted is 130."""
    return 130 if status == 2 else 2 if status == 4 else min(status, 1)


def week_of(package: str) -> str:
    """`week04` of `week04_shortener`. Raises UsageError for another name."""
    found = re.match(r"week\d\d(?=_)", package)
    if found is None:
        raise UsageError(f"{package!r} is no week's package: write week04_shortener")
    return found[0]
