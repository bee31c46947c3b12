"""Settings from the environment: read once, checked whole, frozen, refused in one line."""

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

EXIT_BAD_SETTINGS = 2
"""Exit status for a setting the user must change; the shell's own for wrong usage."""


class ServiceSettings(BaseSettings):
    """Base of a service's one settings model.

    A subclass sets ``env_prefix`` and gives every field a ``description``, which is shown to the
    user when the variable is missing or refused. Values never appear in messages: any of them
    may hold a password.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )


S = TypeVar("S", bound=ServiceSettings)


def load_settings(model: type[S]) -> S:
    """Read `model` from the environment.

    Any bad, missing or unknown variable ends the process with status 2 and one line on stderr
    that names every variable concerned, what is wrong and what to set.
    """
    unknown = unknown_variables(model, os.environ)
    if unknown:
        _refuse(model, unknown)
    try:
        return model()
    except ValidationError as error:
        _refuse(model, explain(model, error.errors(include_url=False, include_input=False)))
    except SettingsError as error:
        _refuse(model, [str(error)])


def explain(model: type[ServiceSettings], errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """One clause for each of pydantic's `errors`: variable, its problem, what to do."""
    clauses = []
    for error in errors:
        # A check of the whole model has no field to blame; its message names the variables.
        if not error["loc"]:
            clauses.append(error["msg"].removeprefix("Value error, "))
            continue
        name = str(error["loc"][0])
        field = model.model_fields.get(name)
        meaning = (field.description if field else None) or "see the service's settings"
        if error["type"] == "missing":
            clauses.append(f"{variable(model, name)} is missing, set it to: {meaning}")
        else:
            problem = _lower_first(error["msg"].removeprefix("Value error, "))
            clauses.append(f"{variable(model, name)} is refused ({problem}), expected: {meaning}")
    return clauses


def unknown_variables(model: type[ServiceSettings], environ: Mapping[str, str]) -> list[str]:
    """One clause for each variable that has the model's prefix but is no setting of it.

    A mistyped tunable would otherwise be ignored in silence, and its default measured instead.
    """
    prefix = model.model_config.get("env_prefix", "").upper()
    if not prefix:
        return []
    known = {variable(model, name) for name in model.model_fields}
    clauses = []
    for name in sorted(environ):
        if name.upper().startswith(prefix) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), sorted(known), n=1)
            hint = f"did you mean {close[0]}?" if close else "remove it"
            clauses.append(f"{name} is no setting of this service, {hint}")
    return clauses


def variable(model: type[ServiceSettings], field: str) -> str:
    """Name of the environment variable that carries `field`."""
    return f"{model.model_config.get('env_prefix', '')}{field}".upper()


def _refuse(model: type[ServiceSettings], clauses: list[str]) -> NoReturn:
    line = "; ".join(" ".join(clause.split()) for clause in clauses)
    sys.stderr.write(f"settings: {line}\n")
    raise SystemExit(EXIT_BAD_SETTINGS)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
