"""What ended it: which resource of a server ran out when connections went unanswered. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

BUSY = 0.9
"""From this share of one processor on, the processor is what is short."""

SPARE_DESCRIPTORS = 2


@dataclass(frozen=True)
class Step:
    """What became of so many connections that were open at once.

    Attributes:
        connections: that were tried.
        answered: that got two right answers, the second while all others were open too.
        failures: the others, by what happened to them.
        slowest_s: of the answered ones, from connecting to the first answer.
        descriptors, descriptors_max: the server's most at any moment, and its limit.
        threads: its most at any moment.
        memory_bytes: its most at any moment, resident: with thousands of stacks the kernel takes
            long to tell a proportional size, and the server waits meanwhile.
        overflows: handshakes that the kernel dropped because too many waited to be accepted; None
            where it does not tell.
        busy: processors that the server used on average.
        last_words: what the server wrote during the step, its last line.
        ended: whether its process is gone.
    """

    connections: int
    answered: int
    failures: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    descriptors: int = 0
    descriptors_max: int = 0
    threads: int = 1
    memory_bytes: int = 0
    overflows: int | None = None
    busy: float = 0.0
    last_words: str = ""
    ended: bool = False

    @property
    def whole(self) -> bool:
        """Everybody was answered."""
        return self.answered == self.connections and not self.ended


def reason(step: Step, backlog: int) -> str:
    """Why a step failed, in one line; "" for one that did not."""
    if step.whole:
        return ""
    if step.ended:
        return f"the server's process ended: {step.last_words}"
    if step.descriptors >= step.descriptors_max - SPARE_DESCRIPTORS:
        return (
            f"descriptors: it had {step.descriptors} of {step.descriptors_max} open, and every "
            "connection needs one"
        )
    if "thread" in step.last_words:
        return f"threads: the system gave it no more than {step.threads}: {step.last_words}"
    if step.overflows:
        return (
            f"backlog: {step.overflows} handshakes were dropped, because {backlog} connections "
            "already waited to be accepted"
        )
    if step.busy >= BUSY:
        return f"processor: it was busy for {100 * step.busy:.0f}% of the time"
    return (
        f"turns: it was idle ({100 * step.busy:.0f}% of a processor) while connections waited, so "
        "it waits for one of them before it serves the next"
    )


def next_try(good: int, bad: int, share: float = 0.02) -> int | None:
    """Between the most that went well and the least that did not; None when they are close."""
    middle = (good + bad) // 2
    return middle if middle > good and bad - good > share * bad else None
