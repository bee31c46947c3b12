"""Lets a claim judge figures, and watches how: which asserts ran, and who raised what."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import traceback
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

from infra.evidence.claims import Claim
from infra.evidence.figures import Figures
from infra.evidence.verdict import Judgement, Outcome

TEXT_MAX_CHARS = 500


def let_judge(claim: Claim, figures: Figures) -> Judgement:
    """What `claim.judge(figures)` did. Raises KeyboardInterrupt only.

    An AssertionError counts as the judge's own when the frame that raised it is `judge` itself:
    one out of a library says that something is wrong with the check.
    """
    try:
        asserts = _assert_lines(type(claim))
    except (OSError, SyntaxError) as error:
        return Judgement(Outcome.CRASHED, 0, f"the source of judge cannot be read: {error}")
    watch = _Watch(asserts)
    before = sys.gettrace()
    sys.settrace(watch.enter)
    try:
        claim.judge(figures)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also pytest's own outcomes, which are no Exception
        sys.settrace(before)
        return _raised(error, asserts, len(watch.executed))
    finally:
        sys.settrace(before)
    return Judgement(Outcome.PASSED, len(watch.executed))


def _raised(
    error: BaseException, asserts: dict[CodeType, dict[int, int]], executed: int
) -> Judgement:
    frames = list(traceback.walk_tb(error.__traceback__))
    own = bool(frames) and frames[-1][0].f_code in asserts
    if isinstance(error, AssertionError) and own:
        line = traceback.extract_tb(error.__traceback__)[-1].line or "assert"
        return Judgement(Outcome.REFUTED, executed, in_one_line(error) or line[:TEXT_MAX_CHARS])
    return Judgement(Outcome.CRASHED, executed, named(error))


def in_one_line(error: BaseException) -> str:
    """The message of an error, its lines joined, cut to a length for tables."""
    return " ".join(str(error).split())[:TEXT_MAX_CHARS]


def named(error: BaseException) -> str:
    """The error with its type, in one line."""
    text = in_one_line(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Watch:
    """A trace function (sys.settrace) that notes which asserts of the judge were reached."""

    def __init__(self, asserts: dict[CodeType, dict[int, int]]) -> None:
        self._asserts = asserts
        self.executed: set[tuple[CodeType, int]] = set()

    def enter(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        return self._step if frame.f_code in self._asserts else None

    def _step(self, frame: FrameType, event: str, _arg: Any) -> Any:
        statement = self._asserts[frame.f_code].get(frame.f_lineno)
        if event == "line" and statement is not None:
            self.executed.add((frame.f_code, statement))
        return self._step


def _assert_lines(cls: type) -> dict[CodeType, dict[int, int]]:
    """For each code object of the judge: line in the file to first line of the assert it is of.

    A judge that calls its parent's is one judge, so every `judge` of the classes above counts.
    """
    found: dict[CodeType, dict[int, int]] = {}
    for owner in cls.__mro__:
        judge = vars(owner).get("judge")
        if not isinstance(judge, FunctionType):
            continue
        function = inspect.unwrap(judge)
        source, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(source)))
        lines = {
            first - 1 + line: first - 1 + node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Assert)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        found |= dict.fromkeys(_codes(function.__code__), lines)
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code itself and that of the functions and comprehensions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
