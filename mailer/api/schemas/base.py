"""What the schemas have in common: strict bodies, answers without null, instants, pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from .. import blueprint

_IN = re.compile(r"in (?P<number>[0-9]{1,6}|an?) (?P<unit>min|minute|hour|day|week)s?", re.I)
_UNITS = {"min": 60, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}


class Body(BaseModel):
    """What a request brings. What is not known is refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """What is answered. A value that may be None is left out then: nothing is null."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Error(Answer):
    """What every request that is refused is answered with."""

    statusCode: int  # noqa: N815  # Resend's SDKs read it
    """The status of the answer, once more."""
    name: str
    """What kind of error it is, for programs."""
    message: str
    """What was wrong and what was expected, for people."""


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("expected no NUL")
    return value


Sought = Annotated[str, AfterValidator(_without_nul)]
"""What is looked for in the ledger: PostgreSQL cannot even ask for a NUL."""

T = TypeVar("T", bound=BaseModel)


class ListOf(Answer, Generic[T]):
    """Some of a list, the newest first."""

    object: Literal["list"] = "list"
    has_more: bool = False
    """Whether there is another page in the direction that was asked for."""
    data: list[T]


def _form(pattern: str, example: str) -> tuple[AfterValidator, WithJsonSchema]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected an id such as {example}, got {value[:64]!r}")
        return value

    schema = {"type": "string", "pattern": f"^{pattern}$", "examples": [example]}
    return AfterValidator(check), WithJsonSchema(schema)


Id = Annotated[str, *_form(blueprint.Id.regex, "019a5c1e-7c3a-7cc0-8a53-8a6a1d0d7d5e")]
EventId = Annotated[str, *_form("msg_[0-9a-f]{32}", "msg_019a5c1e7c3a4cc08a538a6a1d0d7d5e")]


class Page(BaseModel):
    """Which part of a list: ``after`` or ``before`` an id of the part that is known. Ids sort by
    time: one whose email is deleted by now still says where to go on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """How many at most."""
    after: Id | None = None
    """Those after this id in the list: older ones."""
    before: Id | None = None
    """Those before this id in the list: newer ones. Not together with `after`."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if self.after and self.before:
            raise ValueError("expected after or before, got both")
        return self


class EventPage(Page):
    """Which part of a list of events."""

    after: EventId | None = None
    """Those after this id in the list: older ones."""
    before: EventId | None = None
    """Those before this id in the list: newer ones. Not together with `after`."""


class TemplatePage(Page):
    """Which part of a list of templates, which go by their names."""

    after: str | None = None
    """Those after this name in the list."""
    before: str | None = None
    """Those before this name in the list. Not together with `after`."""


def instant(value: object) -> datetime:
    """Read ISO 8601 with a time zone, or ``in 1 hour``. Raises ValueError."""
    if isinstance(value, str):
        if span := _IN.fullmatch(value.strip()):
            number = 1 if span["number"].lower() in {"a", "an"} else int(span["number"])
            return datetime.now(UTC) + timedelta(seconds=number * _UNITS[span["unit"].lower()])
        try:
            found = datetime.fromisoformat(value.strip())
            if found.tzinfo is not None:
                return found.astimezone(UTC)
        except (ValueError, OverflowError):  # in the years 1 and 9999 there are zones without
            pass
    raise ValueError("expected ISO 8601 with a time zone, or such as 'in 1 hour'")


Instant = Annotated[
    datetime,
    BeforeValidator(instant),
    WithJsonSchema(
        {
            "type": "string",
            "description": "ISO 8601 with a time zone, or such as `in 1 hour`.",
            "examples": ["2030-01-31T09:00:00Z", "in 1 hour"],
        }
    ),
]
"""An instant as a request may say it."""


# What is None would be left out of an answer.
_NEVER = datetime.min.replace(tzinfo=UTC)


def _never_none(value: datetime | None) -> datetime:
    return _NEVER if value is None else value


def _shown(value: datetime) -> str:
    return "" if value == _NEVER else value.isoformat(timespec="milliseconds")


Shown = Annotated[
    datetime | None,
    BeforeValidator(_never_none),
    PlainSerializer(_shown, return_type=str),
    WithJsonSchema({"type": "string", "description": "ISO 8601, in UTC. Empty: never."}),
]
"""An instant as an answer says it."""
