"""What a README shows between two marks, made anew. Pure."""

from __future__ import annotations

import re


def replaced(text: str, marks: tuple[str, str], content: str) -> str:
    """`text` with `content` between its marks, each on a line of its own.

    Raises ValueError unless both stand there once, in this order.
    """
    begin, end = marks
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"{begin} and {end} do not stand there once each, in this order")
    inner = f"{content}\n" if content else ""
    return pattern.sub(lambda _: f"{begin}\n{inner}{end}", text)
