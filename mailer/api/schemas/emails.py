"""Emails, deliveries and attachments, as the HTTP API takes and shows them."""

from __future__ import annotations

import binascii
import mimetypes
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from email.utils import formataddr
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    RootModel,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from ...composition import message_id
from ...content import Address, Attachment
from ...ledger import Filters
from ..errors import malformed
from .base import Answer, Body, Instant, Shown, Sought

ADDRESSES_MAX = 50
BATCH_MAX = 100
RETRIED_SHOWN = 100


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


class Reschedule(Body):
    """Another time for an email that is scheduled."""

    id: str | None = None
    """Resend's Python SDK says it twice; the address counts."""
    scheduled_at: Annotated[Instant, Field(examples=["in 1 hour"])]
    """The new time: ISO 8601 with a time zone, or such as `in 1 hour`."""


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


class Changed(Answer):
    """An email that was moved."""

    object: Literal["email"] = "email"
    id: str


class LeftOut(Answer):
    """A delivery that is not sent again."""

    email_id: str
    recipient: str
    reason: str
    """Why its recipient is suppressed."""


class Retried(Changed):
    """An email that is sent again."""

    deliveries: int
    """How many are sent again."""
    suppressed: int
    """How many stay as they are, because their recipients are suppressed."""
    left_out: list[LeftOut]
    """The first 100 of those."""


class RetryMany(Body):
    """Which deliveries to send again. At least one condition, so that it is not about all."""

    states: list[
        Literal["failed", "unknown", "expired", "cancelled", "suppressed", "deferred"]
    ] = []
    """None given: any of them."""
    template: Annotated[Sought | None, Field(examples=["welcome"])] = None
    """The template of the email."""
    lane: Literal["critical", "default", "bulk"] | None = None
    """The lane of the email."""
    recipient: Sought | None = None
    """Whom it is for."""
    code: Annotated[int | None, Field(ge=0, le=999)] = None
    """SMTP code of the last attempt."""
    since: AwareDatetime | None = None
    """Accepted at or after."""
    until: AwareDatetime | None = None
    """Accepted before."""
    dry_run: bool = False
    """Only count them."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        conditions = self.model_dump(exclude={"dry_run"}, exclude_none=True)
        if not any(value != [] for value in conditions.values()):
            raise ValueError("expected at least one condition, so that it is not about everything")
        return self

    def filters(self) -> Filters:
        """Return them for the ledger."""
        return Filters(
            statuses=self.states or None,
            template=self.template,
            lane=self.lane,
            recipient=self.recipient,
            code=self.code,
            since=self.since,
            until=self.until,
        )


class RetriedDelivery(Answer):
    email_id: str
    recipient: str


class RetriedMany(Answer):
    object: Literal["retry"] = "retry"
    dry_run: bool
    deliveries: int
    """How many are sent again, or would be."""
    suppressed: int
    """How many stay as they are, because their recipients are suppressed."""
    data: list[RetriedDelivery]
    """The first 100 of those that are sent again, or would be."""
    left_out: list[LeftOut]
    """The first 100 of those that are suppressed."""


# Of an email with several recipients, the first of these that one of them is in.
_EVENTS = {
    "failed": "failed",
    "bounced": "bounced",
    "complained": "complained",
    "unknown": "unknown",
    "suppressed": "suppressed",
    "expired": "expired",
    "cancelled": "canceled",
    "deferred": "delivery_delayed",
    "sending": "queued",
    "queued": "queued",
    "scheduled": "scheduled",
    "sent": "sent",
    "delivered": "delivered",
}
LAST_EVENTS = frozenset(_EVENTS.values())


class Email(Answer):
    """An email. Addresses are as a header has them; ``bcc`` is empty, because each is a delivery
    of its own that stands nowhere else."""

    object: Literal["email"] = "email"
    id: str
    message_id: Annotated[
        str, Field(examples=["<019a5c1e-7c3a-7cc0-8a53-8a6a1d0d7d5e@shop.example.com>"])
    ]
    """The header Message-ID, equal on every attempt."""
    from_: str = Field(alias="from", examples=["Shop <orders@shop.example.com>"])
    to: Annotated[list[str], Field(examples=[["ada@example.com"]])]
    cc: Annotated[list[str], Field(examples=[[]])]
    bcc: Annotated[list[str], Field(examples=[[]])] = []
    reply_to: Annotated[list[str], Field(examples=[[]])]
    created_at: Shown
    scheduled_at: Annotated[Shown, Field(examples=[""])]
    subject: Annotated[str, Field(examples=["Your order"])]
    html: Annotated[str, Field(examples=["<p>Thank you!</p>"])]
    text: Annotated[str, Field(examples=["Thank you!"])]
    template: str
    """Its name; empty: none."""
    lane: Annotated[str, Field(examples=["default"])]
    category: str
    """What recipients may unsubscribe from; empty: nothing."""
    tags: list[Tag]
    last_event: Annotated[str, Field(examples=["sent"])]
    """`queued`, `scheduled`, `delivery_delayed`, `sent`, `failed`, `unknown`, `expired`,
    `suppressed` or `canceled`; of several recipients the worst."""
    test: bool
    """Sent with a test key: it goes to no recipient."""

    @classmethod
    def of(cls, row: Any, states: Sequence[str], *, scheduled_at: datetime | None = None) -> Self:
        """Return an `Email` of the ledger; ``states``: its deliveries', or what was reported."""
        addresses = {
            name: [Address(*pair) for pair in pairs] for name, pairs in row.addresses.items()
        }
        (sender,) = addresses["from"]
        return cls.model_validate(
            {
                "id": row.id,
                "message_id": f"<{message_id(row.id, sender)}>",
                "from": _mailbox(sender),
                "to": [_mailbox(one) for one in addresses["to"]],
                "cc": [_mailbox(one) for one in addresses["cc"]],
                "reply_to": [_mailbox(one) for one in addresses["reply_to"]],
                "created_at": row.created_at,
                "scheduled_at": scheduled_at,
                "subject": row.subject or "",
                "html": row.html or "",
                "text": row.text or "",
                "template": row.template or "",
                "lane": row.lane,
                "category": row.category or "",
                "tags": [{"name": name, "value": value} for name, value in row.tags.items()],
                "test": row.is_test,
                "last_event": _last_event(states),
            }
        )


class Attempt(Answer):
    """One try, and what the server said."""

    number: int
    """From 1."""
    ended_at: Shown
    outcome: Annotated[str, Field(examples=["sent"])]
    transport: Annotated[str, Field(examples=["primary"])]
    """By which way it was sent."""
    stage: Annotated[str, Field(examples=["message"])]
    """How far the conversation came."""
    code: Annotated[int, Field(examples=[250])]
    """Of SMTP; 0: no reply was heard."""
    enhanced: Annotated[str, Field(examples=["2.0.0"])]
    """The code of RFC 3463, such as `5.1.1`."""
    words: Annotated[str, Field(examples=["2.0.0 Ok: queued as 4F2A"])]
    """What the server said."""


class Report(Answer):
    """What a mail system said after it had taken the copy."""

    kind: Literal["delivered", "bounced", "complained"]
    received_at: Shown
    occurred_at: Shown
    """By the clock of the source."""
    source: str
    recipient: str
    """Another one than the delivery's when the mail was passed on."""
    permanent: bool
    """The address is at fault, and will be at the next email."""
    code: int
    """Of SMTP; 0: none was told."""
    enhanced: str
    words: str

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return a `Report` of the ledger."""
        return cls(
            kind=row.kind,
            received_at=row.received_at,
            occurred_at=row.occurred_at,
            source=row.source,
            recipient=row.recipient,
            permanent=row.permanent,
            code=row.code or 0,
            enhanced=row.enhanced or "",
            words=row.words or "",
        )


class Delivery(Answer):
    """What became of one recipient's copy."""

    object: Literal["delivery"] = "delivery"
    recipient: Annotated[str, Field(examples=["ada@example.com"])]
    state: Annotated[str, Field(examples=["sent"])]
    due_at: Annotated[Shown, Field(examples=[""])]
    """When it is tried next."""
    reason: str
    """Why it is in this state."""
    attempts: list[Attempt]
    reports: list[Report]

    @classmethod
    def of(cls, row: Any, attempts: Sequence[Any], reports: Sequence[Any]) -> Self:
        """Return a `Delivery` of the ledger."""
        return cls(
            recipient=row.recipient,
            state=row.state,
            due_at=row.due_at if row.state in {"queued", "deferred", "scheduled"} else None,
            reason=row.reason or "",
            attempts=[
                Attempt(
                    number=one.number,
                    ended_at=one.ended_at,
                    outcome=one.outcome,
                    transport=one.transport or "",
                    stage=one.stage or "",
                    code=one.code or 0,
                    enhanced=one.enhanced or "",
                    words=one.words or "",
                )
                for one in attempts
            ],
            reports=[Report.of(one) for one in reports],
        )


def _last_event(states: Sequence[str]) -> str:
    """Return what an email with deliveries in these states is told as."""
    return next((event for state, event in _EVENTS.items() if state in states), "queued")


def _mailbox(address: Address) -> str:
    return formataddr(address) if address.name else address.email
