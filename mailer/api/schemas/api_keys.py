"""Keys, as the HTTP API takes and shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ...grants import PATTERNS_MAX, SCOPES
from .base import Answer, Body, Instant, Shown

_PERMISSIONS = {"sending_access": ("send",), "full_access": SCOPES}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Patterns = Annotated[
    list[str],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    Field(max_length=PATTERNS_MAX),
]
Name = Annotated[str, Field(examples=["shop"])]


class CreateApiKey(Body):
    """A key to make. It may send, unless it is said what else it may; what is left out is not
    limited."""

    name: Name
    """What it is for; of 1 to 100 characters."""
    permission: Literal["full_access", "sending_access"] | None = None
    """Resend's: all scopes, or ``send`` alone."""
    scopes: list[Annotated[str, Field(json_schema_extra={"enum": list(SCOPES)})]] | None = None
    """Instead of ``permission``."""
    senders: Patterns = []
    """Such as ``*@example.com``."""
    recipients: Patterns = []
    """For staging: such as ``*@example.com``."""
    templates: Patterns = []
    """Such as ``reset_*``; then it may send nothing without a template."""
    lane: Literal["critical", "default", "bulk"] | None = None
    """The lane of all that it sends."""
    rate: Annotated[str, Field(max_length=40)] | None = None
    """How many emails it may send: such as ``100/min``."""
    test: bool = False
    """What it sends goes to no recipient."""
    expires_at: Instant | None = None
    """When it ends to be good: ISO 8601 with a time zone, or such as `in 90 days`."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_domain(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("domain_id") is not None:
            raise ValueError("domain_id: there are none here; say senders: ['*@example.com']")
        return value

    @model_validator(mode="after")
    def _says_once_what_for(self) -> Self:
        if self.permission is not None and self.scopes is not None:
            raise ValueError("expected permission or scopes, got both")
        return self

    def options(self) -> dict[str, Any]:
        """Return what makes a grant of it."""
        scopes = self.scopes
        if scopes is None:
            scopes = list(_PERMISSIONS[self.permission or "sending_access"])
        return {
            "scopes": scopes,
            "senders": self.senders,
            "recipients": self.recipients,
            "templates": self.templates,
            "lane": self.lane,
            "rate": self.rate,
            "is_test": self.test,
            "expires_at": self.expires_at,
        }


class UpdateApiKey(Body):
    """Another name. What a key may do never changes: make another one, and revoke it."""

    name: Name
    """The new one."""


class CreatedApiKey(Answer):
    id: str
    token: Annotated[str, Field(examples=["mk_..."])]
    """The key. It is not shown again."""


class UpdatedApiKey(Answer):
    object: Literal["api_key"] = "api_key"
    id: str


class DeletedApiKey(UpdatedApiKey):
    deleted: Literal[True] = True


class ApiKey(Answer):
    """A key, and what it may do."""

    id: str
    name: Name
    created_at: Shown
    last_used_at: Shown
    """To the minute."""
    scopes: Annotated[list[str], Field(examples=[["send"]])]
    senders: list[str]
    recipients: list[str]
    templates: list[str]
    lane: str
    """Empty: any."""
    rate: str
    """Empty: any."""
    test: bool
    expires_at: Shown

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return an `ApiKey` of the ledger's database."""
        return cls(
            id=row.id,
            name=row.name,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            scopes=row.scopes,
            senders=row.senders,
            recipients=row.recipients,
            templates=row.templates,
            lane=row.lane or "",
            rate=row.rate or "",
            test=row.is_test,
            expires_at=row.expires_at,
        )
