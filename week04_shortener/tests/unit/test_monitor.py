"""How a command to Valkey is shown."""

from __future__ import annotations

import pytest

from week04_shortener.__main__ import main
from week04_shortener.monitor import SHOWN_CHARS, is_shown, line


def test_a_command_is_shown_with_its_time() -> None:
    assert line(1_767_323_045.25, "GET shortener:link:abc", False) == (
        "03:04:05.250000  GET shortener:link:abc"
    )


def test_what_a_script_does_stands_indented() -> None:
    assert "  " + line(0, "GET k", False)[17:] == line(0, "GET k", True)[17:]


def test_long_and_strange_values_keep_to_one_line() -> None:
    shown = line(0, "SET k " + "x" * 500, False)
    assert len(shown) == len("00:00:00.000000  ") + SHOWN_CHARS and shown.endswith("...")
    assert line(0, "SET k a\nb\x1b[31m\xff", False).endswith(r"SET k a\nb\x1b[31m\xff")


@pytest.mark.parametrize(("command", "shown"), [("PING 17", False), ("GET ping", True)])
def test_pings_are_left_out(command: str, shown: bool) -> None:
    assert is_shown(command) is shown


@pytest.mark.parametrize("seconds", ["0", "-1", "601", "nan", "soon"])
def test_a_wrong_time_gets_one_line(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "--seconds", seconds]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "seconds" in err
