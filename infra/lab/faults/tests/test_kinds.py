"""Faults in people's words, there and back, and one line for what is none."""

from __future__ import annotations

import pytest

from infra.lab.errors import UsageError
from infra.lab.faults import kinds
from infra.lab.faults.kinds import described, parse, seconds


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("latency", "200"), "latency 200 ms"),
        (("latency", "0.2s", "20ms"), "latency 200 ms +/- 20 ms"),
        (("latency", "5 ms", "", "up"), "latency 5 ms up"),
        (("bandwidth", "50"), "bandwidth 50 KB/s"),
        (("bandwidth", "1.5MB/s", "", "up"), "bandwidth 1500 KB/s up"),
        (("blackhole",), "blackhole"),
        (("reset",), "reset"),
    ],
)
def test_a_fault_is_described_as_it_was_asked_for(words: tuple[str, ...], told: str) -> None:
    assert described(parse(*words).toxics) == told


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("latent",),
            "there is no fault 'latent': faults are latency, bandwidth, blackhole, reset",
        ),
        (("latency",), "'' is no latency: write 200ms"),
        (("latency", "-5"), "'-5' is no latency"),
        (("latency", "1h"), "'1h' is no latency"),
        (("latency", "0"), "1 to 8000 ms"),
        (("latency", "9s"), "1 to 8000 ms"),
        (("latency", "10", "10"), "cannot be proven"),
        (("latency", "10", "", "sideways"), "up (to the server) or down (from it)"),
        (("bandwidth", "9999999"), "1 to 1000000 kb"),
        (("bandwidth", "5", "5"), "has no jitter"),
        (("blackhole", "5"), "takes no value"),
        (("reset", "", "", "up"), "takes no value"),
    ],
)
def test_what_is_no_fault_is_refused_in_words(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_time_has_a_unit_and_an_end() -> None:
    assert [seconds(text) for text in ("30", "30s", "5m", "1h")] == [30, 30, 300, 3600]
    for text in ("", "0", "25h", "soon"):
        with pytest.raises(UsageError):
            seconds(text)


def test_it_is_told_who_ends_a_fault() -> None:
    [toxic] = parse("latency", "5").toxics
    until = {"name": f"{kinds.UNTIL}10:11:12 some-id", "ttl_s": 30}
    assert described([{**toxic, "lease": until}]) == "latency 5 ms until 10:11:12"
    assert "running test" in described([{**toxic, "lease": {"name": "123:4.5", "owner": "123:4"}}])
    assert described([]) == ""
    assert described([{"type": "slicer", "stream": "downstream", "attributes": {}}]) == "slicer"
