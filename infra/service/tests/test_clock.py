"""A service's wall clock follows its file, live; without one it is the machine's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra.lab.faults.clock import make_file, set_offset
from infra.service.clock import VARIABLE, OffsetClock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A clock file without skew."""
    make_file(tmp_path / "clock")
    return tmp_path / "clock"


def test_the_clock_follows_its_file_at_once(file: Path) -> None:
    moved = OffsetClock.of({VARIABLE: str(file)})
    for seconds in (0.0, 86_400.5, -3.25, 0.0):
        set_offset(file, seconds)
        before = time.time()
        read = moved.time()
        assert before + seconds - 0.001 <= read <= time.time() + seconds + 0.001


def test_without_a_file_it_is_the_machines_clock() -> None:
    before = time.time_ns()
    assert before <= OffsetClock.of({}).time_ns() <= time.time_ns()


def test_the_monotonic_clock_is_not_moved(file: Path) -> None:
    before = time.monotonic()
    set_offset(file, 1e6)
    assert time.monotonic() - before < 1e5


def test_a_file_that_is_no_clock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError):
        OffsetClock(tmp_path / "empty")
