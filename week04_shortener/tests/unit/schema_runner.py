"""The API against its own OpenAPI document, by schemathesis, with a fixed seed and a bound."""

import contextlib
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, Config, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

SEED: Final = 20_260_102
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
"""Not `positive_data_acceptance`: whether an alias is free, a time is to come or a host may be
linked to, no schema can say."""

CONFIG: Final = Config.from_dict(
    {
        "checks": {
            # Its own list has no 413 and no 410: a body that is too large is not looked at any
            # further, nor a form that is sent to a link that was deleted.
            "negative_data_rejection": {
                "expected-statuses": [400, 401, 404, 405, 409, 410, 413, 415, 422, 429]
            }
        }
    }
)

MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def nonconformities(
    schema: Any, *, examples: int, code: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, list[str]]:
    """How many requests were sent, and where the answers were not what `schema` says.

    `examples` is for each operation and mode: requests as documented, and broken ones. With
    `code`, a link's that there is, only operations on one link are asked: of it, since hardly
    any made-up code is a link's.
    """
    sent, found = 0, []

    def ask(case: Case[Any]) -> None:
        nonlocal sent
        sent += 1
        case.call_and_validate(checks=CHECKS, headers=headers)

    for result in schema.get_all_operations():
        operation = result.ok()
        if code is not None and "{code}" not in operation.path:
            continue
        for mode in MODES:
            cases = operation.as_strategy(mode, path_parameters={"code": code} if code else None)
            run = given(case=cases)(ask)
            run = settings(
                max_examples=examples,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(run)
            try:
                # What has no parameters cannot be asked wrongly.
                with contextlib.suppress(Unsatisfiable):
                    seed(SEED)(run)()
            except FailureGroup as failures:
                found += [f"{operation.label}: {failure}" for failure in failures.exceptions]
    return sent, found
