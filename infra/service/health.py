"""Liveness and readiness, and the metrics page, as Starlette routes.

Live means the process answers; a restart would not help a dead database. Ready means the process
can do its work now: each named check is asked, all at once, each with its own time limit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from infra.service.problems import problem_response


class _Route(Route):
    """A route that tells the request middleware which one it is.

    Starlette's router notes the route it took in the scope; FastAPI's does so for its own only.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return match, {**child_scope, "route": self}


@dataclass(frozen=True)
class Check:
    """One named thing the process needs. `probe` returns when it is well and raises when not.

    The process is ready without a check that is not `required`, but says so.
    """

    name: str
    probe: Callable[[], Awaitable[object]]
    timeout_s: float = 1.0
    required: bool = True


@dataclass(frozen=True)
class Finding:
    """What a check found: `problem` is None when all is well."""

    check: Check
    problem: str | None


async def examine(checks: Sequence[Check]) -> list[Finding]:
    """Ask all `checks` at the same time; takes no longer than the longest of their limits."""
    return list(await asyncio.gather(*(_ask(check) for check in checks)))


def health_routes(checks: Sequence[Check], registry: CollectorRegistry) -> list[Route]:
    """``/health/live``, ``/health/ready`` and ``/metrics``."""

    async def live(_request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_request: Request) -> Response:
        findings = await examine(checks)
        summary = {finding.check.name: finding.problem or "ok" for finding in findings}
        missing = [f.check.name for f in findings if f.problem and f.check.required]
        if missing:
            return problem_response(503, f"Not ready: {', '.join(missing)}.", checks=summary)
        degraded = any(finding.problem for finding in findings)
        return JSONResponse({"status": "degraded" if degraded else "ready", "checks": summary})

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return [
        _Route("/health/live", live),
        _Route("/health/ready", ready),
        _Route("/metrics", metrics),
    ]


async def _ask(check: Check) -> Finding:
    try:
        async with asyncio.timeout(check.timeout_s):
            await check.probe()
    except TimeoutError:
        return Finding(check, f"no answer within {check.timeout_s:g} s")
    except Exception as error:
        # A probe may fail in any way its library can; whatever it is, it is the finding.
        return Finding(check, " ".join(f"{type(error).__name__}: {error}".split())[:200])
    return Finding(check, None)
