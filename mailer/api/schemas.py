"""What requests of the HTTP API look like, and how they become arguments of ``dispatch``."""

from __future__ import annotations

import binascii
import mimetypes
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from ..content import Attachment

ADDRESSES_MAX = 50
BATCH_MAX = 100
_IN = re.compile(r"in (?P<number>[0-9]{1,6}|an?) (?P<unit>min|minute|hour|day|week)s?", re.I)
_UNITS = {"min": 60, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}


def instant(value: object) -> datetime:
    """Read ISO 8601 with a time zone, or ``in 1 hour``. Raises ValueError."""
    if isinstance(value, str):
        if span := _IN.fullmatch(value.strip()):
            number = 1 if span["number"].lower() in {"a", "an"} else int(span["number"])
            return datetime.now(UTC) + timedelta(seconds=number * _UNITS[span["unit"].lower()])
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            found = None
        if found is not None and found.tzinfo is not None:
            return found
    raise ValueError("expected ISO 8601 with a time zone, or such as 'in 1 hour'")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Instant = Annotated[datetime, BeforeValidator(instant)]
Addresses = Annotated[list[str], BeforeValidator(_as_list), Field(max_length=ADDRESSES_MAX)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Tag(_Body):
    name: str
    value: str


class File(_Body):
    """An attachment: base64, or a list of bytes as numbers."""

    filename: str
    content: str | list[Annotated[int, Field(ge=0, le=255)]]
    content_type: str | None = None
    content_id: str | None = None

    @field_validator("content")
    @classmethod
    def _is_base64(cls, value: str | list[int]) -> str | list[int]:
        if isinstance(value, str):
            try:
                b64decode(value, validate=True)
            except binascii.Error as error:
                raise ValueError("expected base64, or a list of numbers from 0 to 255") from error
        return value

    def attachment(self) -> Attachment:
        """Return it as ``dispatch`` takes it."""
        is_text = isinstance(self.content, str)
        guessed, _ = mimetypes.guess_type(self.filename)
        return Attachment(
            filename=self.filename,
            data=b64decode(self.content) if is_text else bytes(self.content),  # type: ignore[arg-type]
            content_type=self.content_type or guessed or "application/octet-stream",
            content_id=self.content_id or None,
        )


class Template(_Body):
    id: str
    variables: dict[str, Any] = Field(default_factory=dict)


class SendEmail(_Body):
    """One email to send."""

    from_: str | None = Field(default=None, alias="from")
    to: Addresses
    subject: str | None = None
    cc: Addresses = []
    bcc: Addresses = []
    reply_to: Addresses = []
    html: str | None = None
    text: str | None = None
    headers: dict[str, str] = {}
    tags: list[Tag] = []
    attachments: list[File] = []
    template: Template | None = None
    scheduled_at: Instant | None = None
    locale: str | None = None
    lane: Literal["critical", "default", "bulk"] | None = None
    expires_at: Instant | None = None
    on_unknown: Literal["resend", "hold"] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``dispatch``."""
        return {
            "template": self.template.id if self.template else None,
            "context": self.template.variables if self.template else None,
            "to": self.to,
            "cc": self.cc,
            "bcc": self.bcc,
            "reply_to": self.reply_to,
            "subject": self.subject,
            "html": self.html,
            "text": self.text,
            "sender": self.from_,
            "headers": self.headers,
            "tags": {tag.name: tag.value for tag in self.tags},
            "attachments": [file.attachment() for file in self.attachments],
            "locale": self.locale,
            "lane": self.lane,
            "send_at": self.scheduled_at,
            "expires_at": self.expires_at,
            "on_unknown": self.on_unknown,
        }


class Reschedule(_Body):
    """Another time for an email that is scheduled."""

    id: str | None = None
    """Resend's Python SDK says it twice; the address counts."""
    scheduled_at: Instant


class Page(BaseModel):
    """Which part of a list: ``after`` or ``before`` an id of the part that is known."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = None
    before: str | None = None
