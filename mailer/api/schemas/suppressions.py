"""Suppressions, as the HTTP API takes and shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ...addresses import parse
from ...state import current
from ...unsubscribe import CATEGORY, CATEGORY_FORM
from .base import Answer, Body, Page, Shown, Sought

MANY_MAX = 100


def _checked_address(value: str) -> str:
    found = parse(value, allow_test_domains=current().config["MAILER_ALLOW_TEST_DOMAINS"])
    if found.name:
        raise ValueError(f"expected an address without a name, got {value[:60]!r}")
    return found.email


def as_stored(value: str) -> str:
    """Return an address as the ledger has it, and anything else as it is: it is looked up."""
    try:
        return parse(value, allow_test_domains=True).email
    except ValueError:
        return value


def _checked_category(value: str) -> str:
    if value and not CATEGORY.fullmatch(value):
        raise ValueError(f"expected {CATEGORY_FORM}, or nothing for all mail, got {value[:60]!r}")
    return value


Email = Annotated[str, AfterValidator(_checked_address)]
Category = Annotated[
    str,
    AfterValidator(_checked_category),
    Field(description="An email's category such as `newsletter`. Empty: all mail."),
]
Origin = Literal["bounce", "complaint", "unsubscribe", "manual"]


class Add(Body):
    """An address to suppress."""

    email: Annotated[Email, Field(examples=["bob@example.com"])]
    """The address alone, without a name."""
    category: Category = ""


class AddMany(Body):
    """Up to 100 addresses to suppress."""

    emails: Annotated[
        list[Email],
        Field(min_length=1, max_length=MANY_MAX, examples=[["bob@example.com"]]),
    ]
    """The addresses alone, without names."""
    category: Category = ""


class RemoveMany(Body):
    """Up to 100 suppressions to remove: by `emails` (of one `category`, or for all mail), or by
    `ids`."""

    emails: (
        Annotated[
            list[Annotated[Sought, AfterValidator(as_stored)]],
            Field(min_length=1, max_length=MANY_MAX),
        ]
        | None
    ) = Field(default=None, examples=[["bob@example.com"]])
    """The addresses of which mail is let through again."""
    ids: Annotated[list[Sought], Field(min_length=1, max_length=MANY_MAX)] | None = None
    """The suppressions to remove."""
    category: Category = ""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.emails is None) == (self.ids is None):
            raise ValueError("expected either emails or ids")
        return self


class Which(Page):
    """Which suppressions."""

    origin: Origin | None = None
    """Only those that came about so."""
    category: Category | None = None
    """Empty: those for all mail."""


class Of(Body):
    """Which suppression of an address."""

    category: Category = ""


class SuppressionId(Answer):
    object: Literal["suppression"] = "suppression"
    id: str


class SuppressionIds(Answer):
    data: list[SuppressionId]


class Removed(SuppressionId):
    deleted: Literal[True] = True


class ManyRemoved(Answer):
    data: list[Removed]
    """Only what was there."""


class Listed(Answer):
    """A suppression, as a list has it."""

    id: str
    email: str
    origin: Origin
    source_id: str
    """The email that bounced or was complained about; empty: none."""
    category: str
    reason: str
    """What the server or the person said."""
    created_at: Shown

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return a `Suppression` of the ledger."""
        return cls(
            id=row.id,
            email=row.address,
            origin=row.origin,
            source_id=row.email_id or "",
            category=row.category,
            reason=row.words or "",
            created_at=row.created_at,
        )


class Suppression(Listed):
    """An address that is not mailed, and why."""

    object: Literal["suppression"] = "suppression"
