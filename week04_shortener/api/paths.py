"""What many paths share."""

from typing import Annotated, Final

from fastapi import Path

from week04_shortener.links import ALIAS

PREFIX: Final = "/api/v1"

Code = Annotated[
    str,
    Path(
        description="a generated code, 7 characters of 0-9 A-Z a-z, or an alias",
        examples=["my3NNng"],
        json_schema_extra={"pattern": f"^{ALIAS.pattern}$"},
    ),
]
"""Its form is documented, not enforced: what cannot be a code is a code that nobody has, 404."""
