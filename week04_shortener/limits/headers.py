"""What HTTP says of limits: two header fields, Retry-After and a problem document.

RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers-10, lists of items of
structured fields (RFC 9651): ``"writes";q=2000;w=10`` and ``"writes";r=1999;t=1``. Earlier drafts,
which many libraries still speak, had other fields of other names.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from infra.service.problems import Problem
from week04_shortener.limits.algorithms import SECOND_US, Policy
from week04_shortener.limits.limiter import Verdict

VERDICTS: Final = "rate_limit_verdicts"
"""Where in the state of a request's scope the verdicts are that its answer will tell."""

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The draft's problem type, and below the title it is to be registered with."""
QUOTA_EXCEEDED_TITLE: Final = "Quota Exceeded"


def rate_limit_fields(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Both fields for the policies that a request fell under.

    ``w`` of a token bucket is the time it takes to fill. ``t`` is until more can be taken, whole
    seconds and rounded up, so that nobody who waits for it comes too early.
    """
    return {
        "RateLimit-Policy": ", ".join(_policy_item(verdict.policy) for verdict in verdicts),
        "RateLimit": ", ".join(_limit_item(verdict) for verdict in verdicts),
    }


def refusal(verdicts: Sequence[Verdict]) -> Problem:
    """The answer to a request of which the last of `verdicts` refused."""
    refused = verdicts[-1]
    policy, retry_after_s = refused.policy, _retry_after_s(refused)
    return Problem(
        429,
        f"The limit {policy.name!r} of {policy.quota} in {_window_s(policy)} s is used up; "
        f"try again in {retry_after_s} s.",
        title=QUOTA_EXCEEDED_TITLE,
        headers={"Retry-After": str(retry_after_s), **rate_limit_fields(verdicts)},
        **_members(policy),
    )


def _members(policy: Policy) -> dict[str, Any]:
    return {"type": QUOTA_EXCEEDED, "violated-policies": [policy.name]}


def _policy_item(policy: Policy) -> str:
    return f'"{policy.name}";q={policy.quota};w={_window_s(policy)}'


def _limit_item(verdict: Verdict) -> str:
    return f'"{verdict.policy.name}";r={verdict.remaining};t={math.ceil(verdict.reset_s)}'


def _window_s(policy: Policy) -> int:
    return math.ceil(policy.window_us / SECOND_US)


def _retry_after_s(verdict: Verdict) -> int:
    """Whole seconds, rounded up; never before ``t``, as the draft asks."""
    return max(1, math.ceil(max(verdict.retry_after_s, verdict.reset_s)))
