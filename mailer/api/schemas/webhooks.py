"""Webhooks and events, as the HTTP API takes and shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from ...destination import URL_MAX
from ...webhooks import EventStatus
from .base import Answer, Body, Instant, Shown

Status = Literal["enabled", "disabled"]


class CreateWebhook(Body):
    """Who is to be told, and of what."""

    endpoint: str = Field(
        min_length=1, max_length=URL_MAX, examples=["https://shop.example.com/mail-events"]
    )
    """An address with https, which is no private one."""
    events: list[str] = Field(min_length=1, examples=[["email.sent", "email.failed"]])
    """Types: `email.` and `queued`, `scheduled`, `sent`, `delivery_delayed`, `failed`, `unknown`,
    `expired`, `suppressed` or `canceled`."""


class UpdateWebhook(Body):
    """What changes."""

    webhook_id: str | None = None
    """Resend's Python SDK says it twice; the address counts."""
    endpoint: str | None = Field(default=None, min_length=1, max_length=URL_MAX)
    """Another address."""
    events: list[str] | None = Field(default=None, min_length=1)
    """All types that it is to be told from now on."""
    status: Annotated[Status | None, Field(examples=["enabled"])] = None
    """Whether it is told."""


class Replay(Body):
    """Which events are told again: those of this instant or later that failed or wait for their
    next attempt."""

    since: Annotated[Instant, Field(examples=["2030-01-31T09:00:00Z"])]
    """ISO 8601 with a time zone."""


class WebhookId(Answer):
    """A webhook that was changed."""

    object: Literal["webhook"] = "webhook"
    id: str


class WebhookSecret(WebhookId):
    """A webhook and what it is signed with."""

    signing_secret: Annotated[str, Field(examples=["whsec_…"])]
    """``whsec_`` and base64."""


class DeletedWebhook(WebhookId):
    """A webhook that was deleted."""

    deleted: Literal[True] = True


class Webhook(WebhookId):
    """A webhook without its secret."""

    created_at: Shown
    status: Status
    endpoint: str
    events: list[str]
    disabled_reason: str
    """Empty: it is enabled."""
    failing_since: Shown
    """Empty: what it was told last it took."""

    @classmethod
    def of(cls, row: Any, **more: Any) -> Self:
        """Return a `Webhook` of the ledger."""
        return cls(
            id=row.id,
            created_at=row.created_at,
            status="disabled" if row.disabled_at else "enabled",
            endpoint=row.url,
            events=row.events,
            disabled_reason=row.disabled_reason or "",
            failing_since=row.failing_since,
            **more,
        )


class WholeWebhook(Webhook):
    """A webhook with its secret."""

    signing_secret: str


class Event(Answer):
    """What a webhook is or was to be told."""

    object: Literal["webhook_event"] = "webhook_event"
    id: str
    """The ``webhook-id`` of each attempt."""
    type: str
    email_id: str
    created_at: Shown
    status: EventStatus
    attempts: int
    next_attempt_at: Shown
    """Empty: there is none."""

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return an `Event` of the ledger."""
        return cls(
            id=row.id,
            type=row.type,
            email_id=row.email_id,
            created_at=row.at,
            status=row.status,
            attempts=row.attempts,
            next_attempt_at=row.due_at if row.status == "pending" else None,
        )


class EventAttempt(Answer):
    """One try to tell an event, and what was answered."""

    number: int
    ended_at: Shown
    code: int
    """Of HTTP; 0: there was no answer."""
    words: str
    milliseconds: int

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return an `EventAttempt` of the ledger."""
        return cls(
            number=row.number,
            ended_at=row.ended_at,
            code=row.code or 0,
            words=row.words,
            milliseconds=row.milliseconds,
        )


class Replayed(Answer):
    """Events that are told again."""

    object: Literal["replay"] = "replay"
    events: int
    """How many."""


class ReplayedSince(Replayed):
    """Events that could not be told, and are told again."""

    failed: int
    """Of them, those that no attempt would have followed."""
    waiting: int
    """Of them, those that waited for their next attempt."""
