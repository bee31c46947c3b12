"""Which resource is named when connections went unanswered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from week01_http_server.bench.diagnosis import Step, next_try, reason

FAILED = Step(connections=100, answered=40, descriptors=44, descriptors_max=1024)


@pytest.mark.parametrize(
    ("step", "begins"),
    [
        (replace(FAILED, answered=100), ""),
        (replace(FAILED, answered=100, ended=True, last_words="killed"), "the server's process"),
        (replace(FAILED, descriptors=1024), "descriptors: it had 1024 of 1024"),
        (replace(FAILED, last_words="can't start new thread"), "threads: "),
        (replace(FAILED, overflows=7), "backlog: 7 handshakes"),
        (replace(FAILED, overflows=0, busy=1.2), "processor: it was busy for 120%"),
        (replace(FAILED, overflows=0, busy=0.01), "turns: it was idle"),
    ],
)
def test_the_resource_that_ran_out_is_named(step: Step, begins: str) -> None:
    told = reason(step, backlog=5)
    assert told.startswith(begins)
    assert bool(told) is not step.whole


def test_the_number_is_narrowed_down_until_it_is_known_well_enough() -> None:
    assert next_try(100, 200) == 150
    assert next_try(1, 2) is None
    assert next_try(1000, 1015) is None
    good, bad, tries = 1000, 2000, 0
    while (middle := next_try(good, bad)) is not None:
        good, bad, tries = (middle, bad, tries + 1) if middle < 1234 else (good, middle, tries + 1)
    assert good < 1234 <= bad <= 1.03 * good and tries <= 8
