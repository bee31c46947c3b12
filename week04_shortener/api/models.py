"""What clients send and get: the shapes of links in the API."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from week04_shortener.api import times
from week04_shortener.links import ALIAS, BadAlias, Link, accept_alias
from week04_shortener.redirects import passwords

MAX_VISITS: Final = 1_000_000_000
MAX_URL_CHARS: Final = 4096
"""What the table takes; the setting may be less."""


def _alias(text: str) -> str:
    try:
        return accept_alias(text)
    except BadAlias as error:
        raise PydanticCustomError("alias", "{why}", {"why": str(error)}) from error


def _time(value: object) -> object:
    if isinstance(value, datetime) or not isinstance(value, str):
        return value
    try:
        return times.parse(value)
    except times.BadTime as error:
        raise PydanticCustomError("time", "{why}", {"why": str(error)}) from error


Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="where the link leads: an absolute http or https URL",
        examples=["https://example.org/a"],
    ),
]
Alias = Annotated[
    str,
    AfterValidator(_alias),
    Field(
        description="a code of your own instead of a generated one; never changed afterwards",
        examples=["spring-sale"],
        json_schema_extra={"pattern": f"^{ALIAS.pattern}$"},
    ),
]
Expiry = Annotated[
    datetime,
    BeforeValidator(_time),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "from then on the link answers 410; RFC 3339, with its zone",
            "examples": ["2030-01-31T12:00:00Z"],
        }
    ),
]
MaxVisits = Annotated[
    int,
    Field(ge=1, le=MAX_VISITS, description="visits by people until it answers 410", examples=[100]),
]
Password = Annotated[
    str,
    Field(
        min_length=1,
        max_length=passwords.MAX_CHARS,
        description="asked of each visitor; kept as a slow hash and never told again",
        examples=["open sesame"],
        json_schema_extra={"format": "password"},
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PlainLink(_Request):
    """A link to make, one of many."""

    url: Url
    alias: Alias | None = None
    expires_at: Expiry | None = None
    max_visits: MaxVisits | None = None


class LinkRequest(PlainLink):
    """A link to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://example.org/a"}]})

    password: Password | None = None


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class LinkPatch(_Request):
    """Changes of a link as a merge patch (RFC 7396): null removes, what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_visits": 100}]})

    url: Annotated[Url, Field(default="", json_schema_extra=_without_default)]
    expires_at: Expiry | None = None
    max_visits: MaxVisits | None = None
    password: Password | None = None


class LinkResponse(BaseModel):
    """A link, as its owner sees it. `version` grows with each change, and is in the ETag too."""

    code: str = Field(examples=["my3NNng"])
    short_url: str = Field(examples=["http://127.0.0.1:8400/my3NNng"])
    url: str = Field(description="the target in its normal form", examples=["https://example.org/"])
    version: int = Field(examples=[1])
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    max_visits: int | None = None
    visits: int = Field(description="visits spent of `max_visits`; 0 without a limit")
    has_password: bool

    @classmethod
    def of(cls, link: Link, short_url: str) -> "LinkResponse":
        """What is told of `link`: never the password, nor its hash."""
        return cls(
            code=link.code,
            short_url=short_url,
            url=link.url,
            version=link.version,
            created_at=link.created_at,
            updated_at=link.updated_at,
            expires_at=link.expires_at,
            max_visits=link.max_visits,
            visits=link.visits,
            has_password=link.password_hash is not None,
        )
