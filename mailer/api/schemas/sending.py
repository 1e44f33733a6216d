"""Emails to send, as the HTTP API takes them, and what it answers."""

from __future__ import annotations

import binascii
import mimetypes
from base64 import b64decode
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    RootModel,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from ...content import Attachment
from ..errors import malformed
from .base import Answer, Body, Instant

ADDRESSES_MAX = 50
BATCH_MAX = 100


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Addresses = Annotated[
    list[str],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    Field(max_length=ADDRESSES_MAX),
]


class Tag(Body):
    """A word about an email, for whoever looks for it later."""

    name: Annotated[str, Field(examples=["kind"])]
    """1 to 64 ASCII letters, digits, `_` or `-`."""
    value: Annotated[str, Field(examples=["order"])]
    """As the name."""


class File(Body):
    """An attachment: base64, or a list of bytes as numbers."""

    filename: str
    """As the recipient sees it, without a path."""
    content: str | Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(fail_fast=True)]
    """Base64, or the bytes as numbers."""
    content_type: str | None = None
    """A MIME type; else the one of the file name's ending."""
    content_id: str | None = None
    """Makes it an inline picture, which the HTML shows as `cid:...`."""

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


class Template(Body):
    """A template, instead of ``html`` and ``text``."""

    id: str
    """Its name."""
    variables: dict[str, Any] = Field(default_factory=dict)
    """What it needs; `GET /templates/{name}` lists it."""


class SendEmail(Body):
    """One email to send."""

    # Factories: pydantic copies a default deeply, 10 microseconds an email.
    from_: str | None = Field(
        default=None, alias="from", examples=["Shop <orders@shop.example.com>"]
    )
    """Whom it comes from: `orders@shop.example`, or `Shop <orders@shop.example>`. Without it, the
    service's own sender."""
    to: Annotated[Addresses, Field(examples=["ada@example.com"])]
    """One recipient, or several. Each gets a copy of their own."""
    subject: Annotated[str | None, Field(examples=["Your order"])] = None
    """Needed, unless a template has it."""
    cc: Addresses = Field(default_factory=list)
    """As `to`."""
    bcc: Addresses = Field(default_factory=list)
    """As `to`, but nobody else sees them."""
    reply_to: Addresses = Field(default_factory=list)
    """Where replies go, if not to the sender."""
    html: Annotated[str | None, Field(examples=["<p>Thank you!</p>"])] = None
    """The HTML body. Without `text`, one is made of it."""
    text: str | None = None
    """The plain text body."""
    headers: dict[str, str] = Field(default_factory=dict)
    """More headers of the message, at most 50; not those that it has anyway."""
    tags: list[Tag] = Field(default_factory=list)
    """At most 20, each name once."""
    attachments: list[File] = Field(default_factory=list)
    """Files that travel with it."""
    template: Template | None = None
    """A template of the service, instead of `html` and `text`."""
    scheduled_at: Instant | None = None
    """When to send it, if not now: ISO 8601 with a time zone, or such as `in 1 hour`."""
    locale: str | None = None
    """The language of the template, such as `de` or `pt-BR`."""
    lane: Literal["critical", "default", "bulk"] | None = None
    """How urgent it is; else the template's, or `default`."""
    expires_at: Instant | None = None
    """Not to be sent after this instant, given as `scheduled_at`."""
    on_unknown: Literal["resend", "hold"] | None = None
    """If nobody knows whether it arrived: send it again, or wait for a person to decide."""
    category: str | None = None
    """What recipients may unsubscribe from, such as ``newsletter``."""
    topic_id: str | None = None
    """What Resend calls it."""

    @model_validator(mode="after")
    def _has_one_category(self) -> Self:
        if self.category is not None and self.topic_id is not None:
            raise ValueError("expected category or topic_id, got both")
        return self

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
            "category": self.topic_id if self.category is None else self.category,
        }


class Wrong:
    """An item of a batch that is no email: ``message`` says why."""

    def __init__(self, message: str) -> None:
        self.message = message


def _or_wrong(value: Any, validate: ValidatorFunctionWrapHandler) -> SendEmail | Wrong:
    try:
        found: SendEmail = validate(value)
    except ValidationError as error:
        return Wrong(malformed(error))
    return found


class SendBatch(
    RootModel[
        Annotated[
            list[Annotated[SendEmail, WrapValidator(_or_wrong)]],
            Field(min_length=1, max_length=BATCH_MAX),
        ]
    ]
):
    """Several emails to send. What is wrong with one says nothing about the others."""


class EmailId(Answer):
    """The email was accepted: it is stored, and will be sent."""

    id: str


class BatchError(Answer):
    """What is wrong with one email of a batch."""

    index: int
    """Which of the emails, from 0."""
    message: str
    """What was wrong and what was expected."""


class Batch(Answer):
    """The emails that were accepted."""

    data: list[EmailId]
    """In the order of the request."""
    errors: list[BatchError] | None = None
    """Only for ``x-batch-validation: permissive``."""
