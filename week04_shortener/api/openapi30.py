"""An OpenAPI 3.1 document in the words of 3.0. Pure.

3.1 speaks JSON Schema 2020-12, 3.0 a dialect of an older one. Only what FastAPI and pydantic write
is translated (OpenAPI Initiative, "Migrating from OpenAPI 3.0 to 3.1.0", read backwards).
"""

from collections.abc import Mapping
from typing import Any


def to_openapi_30(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` as OpenAPI 3.0.3; the original stays as it is."""
    return {**_translated(document), "openapi": "3.0.3"}


def _translated(node: Any) -> Any:
    if isinstance(node, list):
        return [_translated(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    new = {
        # Names of properties are no words of the schema language.
        key: {name: _translated(item) for name, item in value.items()}
        if key == "properties"
        else _translated(value)
        for key, value in node.items()
    }
    _translate_null(new)
    if "const" in new:
        new["enum"] = [new.pop("const")]
    if isinstance(new.get("examples"), list):
        examples = new.pop("examples")
        new.setdefault("example", examples[0])
    for bound, edge in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(new.get(edge), int | float) and not isinstance(new[edge], bool):
            new[bound], new[edge] = new[edge], True
    return new


def _translate_null(new: dict[str, Any]) -> None:
    """``anyOf`` with the type null, which 3.0 does not have: ``nullable``."""
    choices = new.get("anyOf")
    if not isinstance(choices, list) or {"type": "null"} not in choices:
        return
    others = [choice for choice in choices if choice != {"type": "null"}]
    del new["anyOf"]
    if len(others) > 1:
        new["anyOf"] = others
    elif "$ref" in others[0]:
        new["allOf"] = others  # beside a $ref nothing else is read
    else:
        for key, value in others[0].items():
            new.setdefault(key, value)
    new["nullable"] = True
