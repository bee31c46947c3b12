"""The faults of a link: which toxics make them, what proves them, and how people name them. Pure.

    fault = parse("latency", "200ms", jitter="20", stream="down")

A fault is for one use: its probe remembers what the link was like before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra.lab.errors import UsageError
from infra.lab.faults.probes import Narrow, Probe, Reset, Silent, Slow

Stream = Literal["upstream", "downstream"]
BOTH: tuple[Stream, Stream] = ("upstream", "downstream")
KINDS = ("latency", "bandwidth", "blackhole", "reset")
LATENCY_MAX_MS = 8_000
"""Below the time within which a probe must have its answer."""
RATE_MAX_KB_S = 1_000_000
STANDS_MAX_S = 24 * 3600

_STREAMS: Mapping[str, Stream] = {"up": "upstream", "down": "downstream"}
_MS = {"": 1, "ms": 1, "s": 1000}
_KB_S = {"": 1, "kb": 1, "kb/s": 1, "mb": 1000, "mb/s": 1000}
_S = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Fault:
    """What to ask the proxy for, and how to see that it is there."""

    toxics: tuple[Mapping[str, Any], ...]
    probe: Probe


def latency(ms: int, jitter_ms: int = 0, stream: Stream = "downstream") -> Fault:
    """Each chunk of one direction comes `ms` +/- `jitter_ms` late."""
    if not 0 <= jitter_ms < ms:
        raise UsageError(f"a latency of {ms} ms +/- {jitter_ms} ms cannot be proven")
    toxic = _toxic("latency", stream, latency=ms, jitter=jitter_ms)
    return Fault((toxic,), Slow(f"{ms} ms latency", (ms - jitter_ms) / 1000))


def bandwidth(rate_kb_s: int, stream: Stream = "downstream") -> Fault:
    """Each connection carries at most `rate_kb_s` (1000 bytes a second) in one direction."""
    if rate_kb_s < 1:
        raise UsageError("a bandwidth is at least 1 KB/s: for none take a blackhole")
    toxic = _toxic("bandwidth", stream, rate=rate_kb_s)
    return Fault((toxic,), Narrow(f"{rate_kb_s} KB/s", rate_kb_s, stream))


def blackhole() -> Fault:
    """Connections open and stay open, and nothing comes through; they end with the fault."""
    return Fault(
        tuple(_toxic("timeout", stream, timeout=0) for stream in BOTH), Silent("blackhole")
    )


def reset() -> Fault:
    """Whatever is said on a connection, old or new, is answered by RST."""
    return Fault(tuple(_toxic("reset_peer", stream, timeout=0) for stream in BOTH), Reset("reset"))


def _toxic(kind: str, stream: Stream, **attributes: int) -> Mapping[str, Any]:
    return {"type": kind, "stream": stream, "attributes": attributes}


# ---- in words


def parse(kind: str, value: str = "", jitter: str = "", stream: str = "") -> Fault:
    """The fault that a person names: `latency 200ms`, `bandwidth 50`, `blackhole`, `reset`.

    Raises UsageError, in one line that says what is possible.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no fault {kind!r}: faults are {', '.join(KINDS)}, or clear")
    if kind in ("blackhole", "reset"):
        if value or jitter or stream:
            raise UsageError(f"a {kind} takes no value: it is all or nothing, both ways")
        return blackhole() if kind == "blackhole" else reset()
    if stream not in ("", *_STREAMS):
        raise UsageError(f"there is no stream {stream!r}: up (to the server) or down (from it)")
    way = _STREAMS[stream or "down"]
    if kind == "latency":
        ms = _amount(value, _MS, 1, LATENCY_MAX_MS, "a latency", "200ms")
        late = _amount(jitter, _MS, 0, LATENCY_MAX_MS, "a jitter", "20ms") if jitter else 0
        return latency(ms, late, way)
    if jitter:
        raise UsageError("a bandwidth has no jitter: that belongs to a latency")
    return bandwidth(_amount(value, _KB_S, 1, RATE_MAX_KB_S, "a bandwidth", "50KB/s"), way)


def seconds(text: str) -> int:
    """How long a fault shall stand: `30`, `30s`, `5m`. Raises UsageError."""
    return _amount(text, _S, 1, STANDS_MAX_S, "a time", "30s")


def _amount(
    text: str, units: Mapping[str, int], low: int, high: int, what: str, example: str
) -> int:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([a-z/]*)", text.strip().lower())
    if found is None or found[2] not in units:
        raise UsageError(f"{text!r} is no {what.split()[-1]}: write {example}")
    number = round(float(found[1]) * units[found[2]])
    if not low <= number <= high:
        unit = next(name for name in list(units)[1:] if units[name] == 1)
        raise UsageError(f"{what} is {low} to {high} {unit}, not {text}")
    return number


def described(toxics: Sequence[Mapping[str, Any]]) -> str:
    """The toxics of one link as a person would ask for them; "" for none."""
    return ", ".join(dict.fromkeys(map(_described, toxics)))


def _described(toxic: Mapping[str, Any]) -> str:
    kind, found = str(toxic["type"]), toxic["attributes"]
    words: Mapping[str, Callable[[], str]] = {
        "latency": lambda: (
            f"latency {found['latency']} ms"
            + (f" +/- {found['jitter']} ms" if found.get("jitter") else "")
        ),
        "bandwidth": lambda: f"bandwidth {found['rate']} KB/s",
        "timeout": lambda: "blackhole",
        "reset_peer": lambda: "reset",
    }
    told = words.get(kind, lambda: kind)()
    way = " up" if toxic["stream"] == "upstream" and kind in ("latency", "bandwidth") else ""
    return told + way + _ends(toxic.get("lease"))


UNTIL = "until "
"""So begins the name of a lease that nobody renews; the time of day follows."""


def _ends(lease: Mapping[str, Any] | None) -> str:
    if not lease:
        return ""
    name = str(lease["name"])
    return f" {' '.join(name.split()[:2])}" if name.startswith(UNTIL) else " (of a running test)"
