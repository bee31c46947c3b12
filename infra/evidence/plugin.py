"""The pytest shell: collects claims in `checks/` folders, runs them, records and shows them.

Loaded by `-p infra.evidence.plugin` only. Files outside a folder named `checks`, and everything in
one that is no class under `@claim`, are left to pytest as they are.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.evidence import labs
from infra.evidence.claims import Declaration, declaration
from infra.evidence.labs import Lab
from infra.evidence.measuring import REPAIR_LIMIT_S, Tick, plan, run_all
from infra.evidence.screen import ProgressLine, closing_line, verdict_lines
from infra.evidence.session import CheckSession
from infra.evidence.verdict import Run, State
from infra.lab.errors import LabError, UsageError
from infra.lab.topology import Topology
from infra.lab.weeks import topology

if TYPE_CHECKING:
    from infra.lab.pytest_plugin import LabFactory

pytest_plugins = ["infra.lab.pytest_plugin"]  # the running_lab fixture

FOLDER = "checks"
CAPTURE = "capturemanager"
VERDICT = "claim with a verdict"
START_LIMIT_S = 300.0

SESSION = pytest.StashKey[CheckSession]()


class ClaimDidNotHold(Exception):
    """A claim failed or its check is broken; the text is the one line that says why."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("evidence", "claims and controls")
    group.addoption("--deep", action="store_true", help="all seeds and repetitions of each claim")
    group.addoption("--seed", type=int, help="this seed in place of the claims' own")
    group.addoption("--claim", action="append", default=[], help="only this one; may be repeated")
    group.addoption("--target", metavar="URL", help="somebody's own service, without controls")
    group.addoption("--target-dsn", metavar="DSN", help="its PostgreSQL, for claims that read it")
    group.addoption("--results", metavar="DIR", help="folder for the results (default: lab home)")
    group.addoption("--budget", type=float, metavar="SECONDS", help="what the run should take")


def pytest_configure(config: pytest.Config) -> None:
    target, dsn = config.getoption("--target"), config.getoption("--target-dsn")
    try:
        if dsn and not target:
            raise UsageError("--target-dsn goes with --target")
        lab = labs.of_target(target, dsn) if target else None
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    results = config.getoption("--results")
    config.stash[SESSION] = CheckSession(
        root=config.rootpath,
        folder=Path(results).absolute() if results else None,
        deep=config.getoption("--deep"),
        seed=config.getoption("--seed"),
        target=lab,
    )


# ---- Collecting


class ClaimFile(pytest.Module):
    """A Python file in a folder of checks; only its claims are collected."""

    def collect(self) -> Iterator[ClaimItem]:
        found = [
            (cls, declared)
            for cls in vars(self.obj).values()
            if inspect.isclass(cls)
            and cls.__module__ == self.obj.__name__
            and (declared := declaration(cls)) is not None
        ]
        for cls, declared in found:
            yield ClaimItem.of(self, cls, declared)


class ClaimItem(pytest.Function):
    """One claim with its controls, as one test."""

    claim: type[Any]
    declared: Declaration
    problems: tuple[str, ...]

    @classmethod
    def of(cls, parent: ClaimFile, claim: type[Any], declared: Declaration) -> ClaimItem:
        # As a Function it gets fixtures, so a folder's conftest can give a lab of its own.
        item: ClaimItem = cls.from_parent(parent, name=declared.id, callobj=_check)
        item.claim, item.declared, item.problems = claim, declared, declared.problems
        week = re.match(r"week(\d\d)_", parent.path.parent.parent.name)
        if week and not declared.id.startswith(f"w{week[1]}."):
            item.problems += (f"its id is of another week than {week[0].rstrip('_')}",)
        if item.config.pluginmanager.hasplugin("timeout"):
            item.add_marker(pytest.mark.timeout(item.limit_s()))
        return item

    def limit_s(self) -> float:
        """For pytest-timeout, which ends everything: each run has a limit of its own before it."""
        runs = len(plan(self.declared, self.config.stash[SESSION].scope))
        return START_LIMIT_S + runs * (self.declared.limit_s + 2 * REPAIR_LIMIT_S)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ClaimDidNotHold):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ClaimFile | None:
    helper = file_path.name in ("conftest.py", "__init__.py")
    if file_path.suffix == ".py" and file_path.parent.name == FOLDER and not helper:
        collected: ClaimFile = ClaimFile.from_parent(parent, path=file_path)
        return collected
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    claims = _claims(items)
    for item in claims:
        others = [one for one in claims if one.declared.id == item.declared.id and one != item]
        if others:
            where = ", ".join(f"{one.path.name}:{one.claim.__name__}" for one in others)
            item.problems += (f"another claim has this id: {where}",)
    _choose(config, items)


def _choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only the claims that were named. UsageError in one line for a name that none has."""
    names: list[str] = config.getoption("--claim")
    if not names:
        return
    ids = [item.declared.id for item in _claims(items)]
    for name in names:
        if not any(is_named(one, name) for one in ids):
            raise pytest.UsageError(f"there is no claim {name!r}: claims are {', '.join(ids)}")
    chosen = [
        item for item in _claims(items) if any(is_named(item.declared.id, one) for one in names)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def is_named(claim_id: str, name: str) -> bool:
    """Whether `w04.herd.in-process` is meant by `herd`, `w04.herd` or its whole name."""
    short = claim_id.partition(".")[2]
    return any(one == name or one.startswith(f"{name}.") for one in (claim_id, short))


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[SESSION].expect(len(_claims(session.items)))


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in _claims(items):
        item.config.stash[SESSION].partial = True


def _claims(items: Sequence[pytest.Item]) -> list[ClaimItem]:
    return [item for item in items if isinstance(item, ClaimItem)]


# ---- Running


@pytest.fixture(scope="module")
def lab_topology(request: pytest.FixtureRequest) -> Topology:
    """What claims are measured on: the week's own. A folder's conftest may declare another."""
    week = request.path.parent.parent.name.split("_")[0]
    return topology(request.config.rootpath, week)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The running week, or the target; started at the first claim that needs it."""
    session = request.config.stash[SESSION]
    if session.target is not None:
        return session.target
    declared: Topology = request.getfixturevalue("lab_topology")
    session.progress(f"{declared.week}: starting its servers", 0, "")
    start: LabFactory = request.getfixturevalue("running_lab")
    engine = start(declared)
    found = labs.of_engine(engine, declared)
    session.servers, session.engine = labs.versions(found), engine.name
    return found


def _check(request: pytest.FixtureRequest) -> None:
    """The body of every ClaimItem."""
    item = request.node
    assert isinstance(item, ClaimItem)
    session = request.config.stash[SESSION]
    session.begin(item.path.parent.parent.name)
    declared, problems = item.declared, item.problems
    lacking = declared.needs - session.target.offers() if session.target else frozenset()
    if lacking and not problems:
        reason = f"the target gives no {', '.join(sorted(lacking))}"
        session.record(declared, State.NOT_RUN, reason)
        pytest.skip(reason)
    planned = plan(declared, session.scope) if not problems else []
    runs: list[Run] = []
    if planned:
        try:
            found: Lab = replace(request.getfixturevalue("lab"), deep=session.scope.deep)
        except LabError as error:
            session.partial = True
            pytest.exit(f"the servers did not start: {error}", returncode=1)
        ticks = _named(session, declared.id)
        for run in run_all(item.claim, declared, found, planned, ticks):
            runs.append(run)
    verdict = session.conclude(declared, planned, runs, problems)
    if verdict.state in (State.FAILED, State.BROKEN):
        raise ClaimDidNotHold(f"{declared.id} {verdict.state}: {verdict.reason}")


def _named(session: CheckSession, name: str) -> Tick:
    return lambda run, elapsed_s, said: session.progress(f"{name}  {run}", elapsed_s, said)


# ---- Showing


def pytest_sessionstart(session: pytest.Session) -> None:
    plugins = session.config.pluginmanager
    reporter, capture = (plugins.get_plugin(name) for name in ("terminalreporter", CAPTURE))
    uncaptured = capture.global_and_fixture_disabled if capture else nullcontext
    session.config.stash[SESSION].progress = ProgressLine(reporter, uncaptured)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    ended = call.excinfo is None or isinstance(call.excinfo.value, ClaimDidNotHold)
    if isinstance(item, ClaimItem) and call.when == "call" and ended:
        report.user_properties.append((VERDICT, item.name))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """No dot and no section of failures for a claim: the table at the end says it all."""
    if VERDICT not in dict(report.user_properties):
        return None
    return ("held" if report.passed else "not held"), "", ""


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    checks = session.config.stash[SESSION]
    checks.progress.clear()
    ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    checks.finish(whole=ended)
    if checks.began and not checks.judged and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    checks = config.stash[SESSION]
    for evidence, path in checks.written:
        terminalreporter.write_line("")
        columns = terminalreporter._tw.fullwidth if terminalreporter.isatty else None
        for line in verdict_lines(evidence, columns, terminalreporter.hasmarkup):
            terminalreporter.write_line(line)
        terminalreporter.write_line("")
        terminalreporter.write_line(closing_line(evidence, config.getoption("--budget")))
        terminalreporter.write_line(f"raw samples: {path}")
        if evidence.target is not None:
            terminalreporter.write_line(
                f"target {evidence.target}: only claims that need no more than it gives, "
                "without controls"
            )
        if checks.began and not checks.judged:
            terminalreporter.write_line("no claim could be judged, so nothing is shown")
