"""What the README says a week costs is what was measured and published."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import footprint
from infra.bootstrap import clone_root


def test_the_readme_shows_the_published_figures() -> None:
    readme = (clone_root() / footprint.README).read_text()
    rows = footprint.published(clone_root())
    assert rows, "nothing is published: make footprint"
    assert footprint.with_table(readme, rows) == readme


def test_another_figure_changes_the_readme() -> None:
    """The control: were a result different, the test above would fail."""
    readme = (clone_root() / footprint.README).read_text()
    first, *rest = footprint.published(clone_root())
    other = dataclasses.replace(first, cold_s=[seconds + 60 for seconds in first.cold_s])
    assert footprint.with_table(readme, [other, *rest]) != readme


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="footprint: begin"):
        footprint.with_table("# nothing here", footprint.published(clone_root()))
