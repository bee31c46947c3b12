"""Data that another major version wrote is refused and left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.lab.errors import LabError
from infra.lab.servers.base import check_data_version

CLEAN = "make week99 clean"


def check(data: Path, version: str, written: str = "") -> None:
    check_data_version(data, "PostgreSQL", version, CLEAN, written)


def test_a_new_directory_gets_a_note(tmp_path: Path) -> None:
    data = tmp_path / "data" / "db"
    check(data, "18.6")
    assert (data.parent / "db.version").read_text() == "18.6\n"
    assert not data.exists()


def test_a_newer_minor_version_takes_the_data_over(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    check(tmp_path / "db", "18.1")
    check(tmp_path / "db", "18.6")
    assert (tmp_path / "db.version").read_text() == "18.6\n"


@pytest.mark.parametrize("version", ["17.9", "19.0", "1.8"])
def test_another_major_version_is_refused_and_nothing_touched(tmp_path: Path, version: str) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "row").write_text("precious")
    check(tmp_path / "db", "18.6")
    with pytest.raises(LabError) as caught:
        check(tmp_path / "db", version)
    text = str(caught.value)
    assert f"was written by PostgreSQL 18.6, this lab runs {version}" in text
    assert CLEAN in text
    assert "\n" not in text
    assert (tmp_path / "db.version").read_text() == "18.6\n"
    assert (tmp_path / "db" / "row").read_text() == "precious"


def test_what_the_data_says_itself_counts_more_than_the_note(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db.version").write_text("18.6\n")
    with pytest.raises(LabError, match="written by PostgreSQL 17"):
        check(tmp_path / "db", "18.6", written="17")
    (tmp_path / "db.version").write_text("17.2\n")
    check(tmp_path / "db", "18.6", written="18")


def test_a_note_without_data_is_history(tmp_path: Path) -> None:
    (tmp_path / "db.version").write_text("17.2\n")
    check(tmp_path / "db", "18.6")


def test_an_empty_note_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db.version").write_text("")
    check(tmp_path / "db", "18.6")
