"""What the READMEs say of the engines is what was measured and published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks import engines
from benchmarks.engines import Comparison, Side
from benchmarks.measurement import Environment
from infra.bootstrap import clone_root
from infra.lab.weeks import packages

ONE = Comparison(
    week="week98",
    asked="A page",
    environment=Environment("2026-01-01", "c" * 40, False, {"processors": 2, "system": "Linux"}),
    servers={"local": {"web": "nginx 1"}},
    sides={
        "hetzner": Side(per_s=[5.0, 5.0], p50_ms=[1.0], p99_ms=[2.0], cpu_us=[90.0]),
        "local": Side([1.0, 3.0, 2.0], [50.0, 50.0], [10.0, 30.0, 20.0], [0.5], [1.5], [44.0]),
    },
)


def readme_of(one: Comparison) -> str:
    return (clone_root() / packages(clone_root())[one.week] / "README.md").read_text()


def test_the_readmes_show_the_published_figures() -> None:
    shown = engines.published(clone_root())
    assert {one.week for one in shown} == set(packages(clone_root())), "one is not published"
    for one in shown:
        assert engines.with_table(readme_of(one), one) == readme_of(one)


def test_another_figure_changes_the_readme() -> None:
    """The control: were a result different, the test above would fail."""
    one = engines.published(clone_root())[0]
    local = one.sides["local"]
    slower = dataclasses.replace(local, per_s=[value / 2 for value in local.per_s])
    other = dataclasses.replace(one, sides={**one.sides, "local": slower})
    assert engines.with_table(readme_of(one), other) != readme_of(one)


def test_a_table_has_medians_spread_and_what_was_not_measured() -> None:
    head, _, local, hosts, _, below = engines.table(ONE).splitlines()
    assert head.count("|") == local.count("|") == hosts.count("|")
    assert local.startswith("| `local` | 2 (1 to 3) s | 50 (50 to 50) MiB | 20 (10")
    assert hosts.startswith("| `hetzner` | not measured | not measured | 5 (5")
    assert below.startswith("A page. Median")


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="engines: week98 begin"):
        engines.with_table("# nothing here", ONE)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / engines.RESULTS
    folder.mkdir(parents=True)
    (folder / "week98.json").write_text(json.dumps(engines.to_json(ONE)))
    assert engines.published(tmp_path) == [ONE]
