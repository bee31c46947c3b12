"""What may be published, and that README, report and results cannot drift apart unseen."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.bootstrap import clone_root
from infra.evidence import publish, results
from infra.evidence.publish import RefusedError, held_together, objection
from infra.evidence.tests.test_results import commit_all
from infra.evidence.tests.workshop import Workshop
from infra.evidence.verdict import State
from infra.lab.errors import LabError

pytest_plugins = ["pytester"]

PACKAGE = "week04_x"
TEXT = "# Week 4\n\n<!-- evidence: w04 begin -->\n<!-- evidence: w04 end -->\n\nMore.\n"
DEEP = "rows=[30], seeds=[1, 2], repetitions=3"


@pytest.fixture
def clone(workshop: Workshop) -> Path:
    """A committed clone with one claim and two READMEs, and a deep run of it."""
    root = workshop.pytester.path
    workshop.claim(declared=DEEP)
    (root / PACKAGE / "lab.py").write_text("")
    (root / PACKAGE / "README.md").write_text(TEXT)
    (root / "README.md").write_text(TEXT.replace("Week 4", "All"))
    commit_all(root)
    assert workshop.check("--deep").ret == pytest.ExitCode.OK
    return root


def _publish(clone: Path) -> list[str]:
    written = publish.publish(PACKAGE, clone, clone / "results")
    return [str(path.relative_to(clone)) for path in written]


def test_the_last_deep_run_becomes_results_report_and_tables(clone: Path) -> None:
    assert _publish(clone) == [
        "benchmarks/results/week04/report.html",
        "benchmarks/results/week04/run.json",
        "benchmarks/results/week04/w04.herd.json",
        "README.md",
        "week04_x/README.md",
    ]
    readme = (clone / PACKAGE / "README.md").read_text()
    row = "| `w04.herd` | A hundred misses ask once | 1 queries | 100 queries | 12 |"
    assert row in readme.splitlines()
    assert "](../benchmarks/results/week04/report.html)" in readme
    assert "](benchmarks/results/week04/report.html)" in (clone / "README.md").read_text()
    assert readme.startswith("# Week 4\n") and readme.endswith("-->\n\nMore.\n")
    file = json.loads((clone / "benchmarks/results/week04/w04.herd.json").read_text())
    controls = [run for run in file["claim"]["runs"] if run["role"] == "control"]
    assert [run["figures"]["samples"]["queries"] for run in controls] == [[100]] * 6
    assert held_together(clone) == []


def test_the_published_run_is_the_measured_one(clone: Path) -> None:
    _publish(clone)
    assert publish.published(clone, "week04") == results.last_deep(clone / "results")


def test_publishing_again_leaves_nothing_of_the_run_before(clone: Path) -> None:
    _publish(clone)
    stale = clone / "benchmarks/results/week04/w04.gone.json"
    stale.write_text("{}")
    assert held_together(clone) == [
        "benchmarks/results/week04/w04.gone.json is not of the published run"
    ]
    _publish(clone)
    assert not stale.exists()
    assert [path.name for path in (clone / "benchmarks/results").iterdir()] == ["week04"]
    assert held_together(clone) == []


def _edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(clone: Path) -> None:
        text = (clone / path).read_text()
        assert old in text
        (clone / path).write_text(text.replace(old, new, 1))

    return edit


FOLDER = "benchmarks/results/week04"


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (_edit("week04_x/README.md", "| 1 queries", "| 0 queries"), "week04_x/README.md shows"),
        (_edit("README.md", "100 queries", "1,000 queries"), "README.md shows other figures"),
        (_edit("README.md", "<!-- evidence: w04 end -->", ""), "README.md: <!-- evidence: w04 be"),
        (_edit(f"{FOLDER}/report.html", "median 100", "median 900"), "report.html is not what"),
        (_edit(f"{FOLDER}/w04.herd.json", "      100\n", "      900\n"), "report.html is not what"),
        (_edit(f"{FOLDER}/w04.herd.json", '"commit": "', '"commit": "0'), "week04 is damaged"),
        (_edit(f"{FOLDER}/w04.herd.json", '"held"', '"FAILED"'), "should not have been published"),
        (_edit(f"{FOLDER}/run.json", '"dirty": false', '"dirty": true'), "should not have been"),
        (_edit(f"{FOLDER}/run.json", '"w04.herd"', ""), "w04.herd.json is not of the published"),
        (lambda clone: (clone / FOLDER / "w04.herd.json").unlink(), "week04 is damaged"),
        (lambda clone: (clone / FOLDER / "run.json").unlink(), "report.html is not of the publish"),
    ],
)
def test_what_is_edited_by_hand_is_found(
    edit: Callable[[Path], None], line: str, clone: Path
) -> None:
    """The control of `held_together`: each of these is a difference it must see."""
    _publish(clone)
    edit(clone)
    assert line in "\n".join(held_together(clone))


def test_a_table_without_a_published_run_is_found(clone: Path) -> None:
    assert held_together(clone) == []
    _edit("README.md", "begin -->\n", "begin -->\n| 1 query |\n")(clone)
    assert held_together(clone) == ["README.md shows other figures of week04"]


def test_this_projects_readmes_and_published_results_hold_together() -> None:
    assert held_together(clone_root()) == []


def test_looks_are_made_anew_without_measuring(clone: Path) -> None:
    _publish(clone)
    for path in ("README.md", f"{FOLDER}/report.html"):
        _edit(path, "100", "5")(clone)
    assert held_together(clone) != []
    publish.render(PACKAGE, clone)
    assert held_together(clone) == []


# ---- What is refused


def test_a_run_on_another_engine_is_kept_apart_and_refused(clone: Path) -> None:
    run = results.last_deep(clone / "results")
    assert run is not None
    apart = results.save(replace(run, engine="compose"), clone / "results")
    assert results.load(apart).engine == "compose"
    assert results.last_deep(clone / "results") == run
    apart.rename(apart.with_name("29991231T000000000000Z-deep.json"))
    _refused(clone, "the last deep run was on the engine compose")


def test_a_run_of_the_usual_engine_is_written_as_ever(clone: Path) -> None:
    run = results.last_deep(clone / "results")
    assert run is not None and "engine" not in results.to_json(run)


def test_a_shallow_run_is_refused(workshop: Workshop, clone: Path) -> None:
    for path in workshop.files("deep"):
        path.unlink()
    workshop.check()
    _refused(clone, "there is no deep run")


def test_a_dirty_run_is_refused(workshop: Workshop, clone: Path) -> None:
    (clone / "new.py").write_text("")
    workshop.check("--deep")
    _refused(clone, "was of files that are not committed")


def test_a_red_run_is_refused_even_after_a_green_one(workshop: Workshop, clone: Path) -> None:
    path = workshop.checks / "herd.py"
    path.write_text(path.read_text().replace("figures.value == 1", "figures.value == 30"))
    commit_all(clone)
    workshop.check("--deep")
    _refused(clone, "not all held: w04.herd")


def test_a_run_of_an_older_commit_is_refused(clone: Path) -> None:
    (clone / "new.py").write_text("")
    commit_all(clone)
    _refused(clone, "the last deep run was of commit")


def test_a_run_of_some_claims_is_refused(workshop: Workshop, clone: Path) -> None:
    workshop.claim(file="other.py", id="w04.other")
    commit_all(clone)
    workshop.check("--deep", "-k", "herd")
    _refused(clone, "was cut short, or not of all claims")


def test_a_run_with_a_chosen_seed_is_refused(workshop: Workshop, clone: Path) -> None:
    workshop.check("--deep", "--seed", "9")
    _refused(clone, "of one seed that somebody chose")


def test_a_readme_that_lost_a_mark_is_refused_before_anything_is_written(clone: Path) -> None:
    (clone / "README.md").write_text("<!-- evidence: w04 begin -->\n")
    with pytest.raises(LabError, match="do not stand there once each"):
        _publish(clone)
    assert not (clone / FOLDER).exists()


def _refused(clone: Path, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        _publish(clone)
    assert not (clone / FOLDER).exists()
    shown = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=clone,
        check=True,
        capture_output=True,
    )
    assert shown.stdout == b""


def test_a_run_without_claims_or_without_a_control_is_no_evidence(clone: Path) -> None:
    evidence = results.last_deep(clone / "results")
    assert evidence is not None
    assert objection(evidence, evidence.commit) == ""
    alone = replace(evidence.claims[0], state=State.HELD_ALONE)
    assert "w04.herd" in objection(replace(evidence, claims=(alone,)), evidence.commit)
    assert "no claims" in objection(replace(evidence, claims=()), evidence.commit)
    assert "of a target" in objection(replace(evidence, target="http://x"), evidence.commit)
