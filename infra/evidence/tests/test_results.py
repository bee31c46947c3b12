"""What a check leaves on disk."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from infra.evidence import results
from infra.evidence.tests.workshop import Workshop
from infra.lab.errors import LabError

pytest_plugins = ["pytester"]


def commit_all(folder: Path) -> str:
    """Everything in `folder` as a commit of its own clone; the commit's name."""
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    (folder / ".gitignore").write_text("results/\n__pycache__/\n")
    for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "all")):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    named = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    )
    return named.stdout.strip()


def test_a_result_has_the_host_the_commit_the_seed_and_all_samples(workshop: Workshop) -> None:
    workshop.claim(measure="return figures(lab, [1, 1] if mechanism == 'on' else [9, 100])")
    commit = commit_all(workshop.pytester.path)
    workshop.check()
    found = workshop.result()
    assert (found["week"], found["commit"], found["dirty"]) == ("week04", commit, False)
    assert (found["deep"], found["complete"], found["target"]) == (False, True, None)
    assert found["host"]["kernel"] == platform.release()
    assert found["host"]["python"] == platform.python_version()
    assert found["host"]["processors"] >= 1
    assert found["wall_s"] > 0
    [one] = found["claims"]
    assert (one["id"], one["rows"], one["mechanism"]) == ("w04.herd", [30], "single flight")
    by_step = {run["step"]: run["figures"] for run in one["runs"]}
    assert by_step["on"]["samples"] == {"queries": [1, 1]}
    assert by_step["off"]["samples"] == {"queries": [9, 100]}
    assert by_step["off"]["attempts"] == 100
    assert one["runs"][1]["judgement"]["outcome"] == "refuted"


def test_a_new_file_makes_the_run_dirty(workshop: Workshop) -> None:
    workshop.claim()
    commit_all(workshop.pytester.path)
    (workshop.checks / "helper.py").write_text("")
    workshop.check()
    assert workshop.result()["dirty"] is True


def test_an_edit_while_it_runs_makes_the_run_dirty(workshop: Workshop) -> None:
    edit = "import pathlib\npathlib.Path(__file__).with_name('late.py').write_text('')\n"
    workshop.claim(measure=edit + "return figures(lab, [1 if mechanism == 'on' else 2])")
    commit_all(workshop.pytester.path)
    workshop.check()
    assert workshop.result()["dirty"] is True


def test_a_run_of_some_claims_is_not_complete(workshop: Workshop) -> None:
    workshop.claim()
    workshop.claim(file="other.py", id="w04.other")
    workshop.check("-k", "herd")
    assert workshop.result()["complete"] is False
    workshop.check()
    assert workshop.result()["complete"] is True


def test_a_run_that_stops_at_the_first_failure_is_not_complete(workshop: Workshop) -> None:
    workshop.claim(measure="return figures(lab, [])")
    workshop.claim(file="other.py", id="w04.other")
    workshop.check("-x")
    assert workshop.result()["complete"] is False


def test_a_result_is_read_back_as_it_was_written(workshop: Workshop, tmp_path: Path) -> None:
    workshop.claim(measure="return figures(lab, [1, 2], notes=['n']) if mechanism == 'on' else 0")
    workshop.check()
    [path] = workshop.files()
    evidence = results.load(path)
    assert results.load(results.save(evidence, tmp_path / "again")) == evidence


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "claims": [{}]}'])
def test_a_damaged_result_is_one_clear_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x-deep.json"
    path.write_text(text)
    with pytest.raises(LabError, match=r"x-deep\.json is no result of a check, or damaged"):
        results.load(path)


def test_only_the_newest_files_are_kept(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "KEPT_FILES", 2)
    workshop.claim()
    workshop.check("--deep")
    kept = [(workshop.check().ret and None) or workshop.files("check")[-1] for _ in range(4)][-2:]
    assert workshop.files("check") == kept
    assert len(workshop.files("deep")) == 1
