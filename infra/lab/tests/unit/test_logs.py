"""Reading logs that grow, rotate, shrink and break off."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from infra.lab import logs
from infra.lab.engines.last_words import LAST_LINE_MAX_CHARS
from infra.lab.engines.local.status import last_line
from infra.lab.logs import Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "web.log"


def lines(tail: Tail) -> list[str]:
    return list(tail.new_lines())


def append(log: Path, text: str | bytes) -> None:
    with log.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def test_only_new_lines_come(log: Path) -> None:
    tail = Tail(log)
    assert lines(tail) == []
    append(log, "one\ntwo\n")
    assert lines(tail) == ["one", "two"]
    assert lines(tail) == []
    append(log, "three\n")
    assert lines(tail) == ["three"]


def test_an_unfinished_line_waits_for_its_end(log: Path) -> None:
    tail = Tail(log)
    append(log, "one\ntw")
    assert lines(tail) == ["one"]
    append(log, "o\n")
    assert lines(tail) == ["two"]
    append(log, "the end")
    assert lines(tail) == []
    assert list(tail.rest()) == ["the end"]
    assert list(tail.rest()) == []


def test_a_character_cut_in_the_middle_is_whole_again(log: Path) -> None:
    tail = Tail(log)
    whole = "größer 日本\n".encode()
    seen: list[str] = []
    for number in range(len(whole)):
        append(log, whole[number : number + 1])
        seen += lines(tail)
    assert seen == ["größer 日本"]


def test_bytes_that_are_no_text_do_no_harm(log: Path) -> None:
    append(log, b"\xff\xfe\x00\n")
    assert len(lines(Tail(log))) == 1


def test_lines_before_and_after_a_rotation_both_come(log: Path) -> None:
    tail = Tail(log)
    append(log, "one\n")
    assert lines(tail) == ["one"]
    append(log, "two\nthr")
    log.rename(log.with_name("web.log.1"))
    append(log, "four\n")
    assert lines(tail) == ["two", "thr", "four"]


def test_between_the_two_steps_of_a_rotation_nothing_breaks(log: Path) -> None:
    tail = Tail(log)
    append(log, "one\n")
    assert lines(tail) == ["one"]
    log.rename(log.with_name("web.log.1"))
    assert lines(tail) == []
    append(log, "two\n")
    assert lines(tail) == ["two"]


def test_a_log_emptied_in_place_is_read_from_its_beginning(log: Path) -> None:
    tail = Tail(log)
    append(log, "a long line that goes\nhalf")
    lines(tail)
    log.write_text("")
    assert lines(tail) == []
    append(log, "new\n")
    assert lines(tail) == ["new"]


def test_a_line_without_end_is_not_kept_without_end(log: Path) -> None:
    tail = Tail(log)
    seen: list[str] = []
    for _ in range(5):
        append(log, b"x" * logs.PARTIAL_MAX_BYTES)
        seen += lines(tail)
    assert len(seen) >= 2
    assert len(tail._partial) <= logs.PARTIAL_MAX_BYTES


def test_show_prints_the_last_lines_of_each_behind_its_name(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "1\n2\n[red]3\nhalf")
    append(tmp_path / "b.log", "x\n")
    out = io.StringIO()
    readers = {
        name: Tail(tmp_path / file)
        for name, file in {"a": "a.log", "long": "b.log", "none": "c.log"}.items()
    }
    logs.show(Console(file=out, width=20), readers, last=2, follow=False)
    assert out.getvalue().splitlines() == ["a    | [red]3", "a    | half", "long | x"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n", "two"),
        ("one\ntwo\n\n\n", "two"),
        ("Traceback (most recent call last):\n  File\nValueError: no\n", "ValueError: no"),
        ('{"event": "ended", "level": "error"}\n', "ended"),
        (
            '{"event": "ended", "exception": "Traceback\\n  x\\nKeyError: 1"}\n',
            "ended: KeyError: 1",
        ),
        ('{"no": "event"}\n', '{"no": "event"}'),
        ("x" * 100_000, "x" * LAST_LINE_MAX_CHARS),
    ],
)
def test_last_line_is_the_last_that_says_something(log: Path, content: str, said: str) -> None:
    log.write_text(content)
    assert last_line(log) == said


def test_last_line_of_no_file_is_empty(log: Path) -> None:
    assert last_line(log) == ""


def test_last_line_is_of_this_run_not_of_the_one_before(log: Path) -> None:
    append(log, "of yesterday\n")
    before = log.stat().st_size
    assert last_line(log, before) == ""
    append(log, "of today\n")
    assert last_line(log, before) == "of today"


def test_last_line_of_a_log_rotated_meanwhile_counts_as_a_whole(log: Path) -> None:
    append(log, "new\n")
    assert last_line(log, after=10_000) == "new"


def test_last_line_holds_nothing_that_moves_the_cursor(log: Path) -> None:
    append(log, "\x1b[31mred\x1b[0m\x07 alert\n")
    assert last_line(log) == "red alert"
