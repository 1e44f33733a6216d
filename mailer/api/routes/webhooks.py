"""``/webhooks``: who is told what becomes of emails, what they were told, and tell it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ... import webhooks
from ...state import current
from ..authentication import actor, key
from ..errors import ApiError
from ..operations import operation
from ..schemas.base import EventPage, ListOf, Page
from ..schemas.webhooks import (
    CreateWebhook,
    DeletedWebhook,
    Event,
    EventAttempt,
    Replay,
    Replayed,
    ReplayedSince,
    UpdateWebhook,
    Webhook,
    WebhookId,
    WebhookSecret,
    WholeWebhook,
)


@operation(
    "POST", "/webhooks", scope="manage", body=CreateWebhook, answers=WebhookSecret, status=201
)
def create(body: CreateWebhook) -> WebhookSecret:
    """Create a webhook.

    Its endpoint is posted each event that it asks for, signed with the secret.
    """
    _check_may_listen()
    with _as_validation_error():
        made = webhooks.create(current(), body.endpoint, body.events, actor=actor())
    return WebhookSecret(id=made.id, signing_secret=made.secret)


@operation("GET", "/webhooks", scope="manage", query=Page, answers=ListOf[Webhook])
def list_webhooks(query: Page) -> ListOf[Webhook]:
    """List webhooks.

    The newest first.
    """
    page = webhooks.listing(current(), limit=query.limit, after=query.after, before=query.before)
    return ListOf[Webhook](has_more=page.has_more, data=[Webhook.of(row) for row in page.rows])


@operation("GET", "/webhooks/<webhook_id>", scope="manage", answers=WholeWebhook)
def get(webhook_id: str) -> WholeWebhook:
    """Get a webhook.

    With its secret.
    """
    _check_may_listen()
    row = webhooks.get(current(), webhook_id)
    return WholeWebhook.of(row, signing_secret=row.secret)


@operation("PATCH", "/webhooks/<webhook_id>", scope="manage", body=UpdateWebhook, answers=WebhookId)
def update(webhook_id: str, body: UpdateWebhook) -> WebhookId:
    """Change a webhook, disable it, or enable it again.

    One that is enabled again is told what waited.
    """
    if body.endpoint is not None or body.events is not None:
        _check_may_listen()
    with _as_validation_error():
        webhooks.update(
            current(),
            webhook_id,
            url=body.endpoint,
            types=body.events,
            status=body.status,
            actor=actor(),
        )
    return WebhookId(id=webhook_id)


@operation("DELETE", "/webhooks/<webhook_id>", scope="manage", answers=DeletedWebhook)
def delete(webhook_id: str) -> DeletedWebhook:
    """Delete a webhook.

    Its events go with it.
    """
    webhooks.delete(current(), webhook_id, actor=actor())
    return DeletedWebhook(id=webhook_id)


@operation(
    "POST",
    "/webhooks/<webhook_id>/signing-secret/rotate",
    scope="manage",
    answers=WebhookSecret,
)
def rotate_secret(webhook_id: str) -> WebhookSecret:
    """Rotate a secret.

    For 24 hours the old one signs as well.
    """
    _check_may_listen()
    row = webhooks.rotate_secret(current(), webhook_id, actor=actor())
    return WebhookSecret(id=webhook_id, signing_secret=row.secret)


@operation(
    "GET", "/webhooks/<webhook_id>/events", scope="manage", query=EventPage, answers=ListOf[Event]
)
def list_events(webhook_id: str, query: EventPage) -> ListOf[Event]:
    """List events of a webhook.

    What it is or was to be told, the newest first.
    """
    page = webhooks.events(
        current(), webhook_id, limit=query.limit, after=query.after, before=query.before
    )
    return ListOf[Event](has_more=page.has_more, data=[Event.of(row) for row in page.rows])


@operation("GET", "/webhooks/<webhook_id>/events/<event_id>", scope="manage", answers=Event)
def get_event(webhook_id: str, event_id: str) -> Event:
    """Get an event of a webhook."""
    return Event.of(webhooks.event(current(), webhook_id, event_id))


@operation(
    "GET",
    "/webhooks/<webhook_id>/events/<event_id>/attempts",
    scope="manage",
    answers=ListOf[EventAttempt],
)
def list_attempts(webhook_id: str, event_id: str) -> ListOf[EventAttempt]:
    """List attempts of an event.

    In their order, with what was answered.
    """
    rows = webhooks.attempts(current(), event_id, webhook_id=webhook_id)
    return ListOf[EventAttempt](data=[EventAttempt.of(row) for row in rows])


@operation(
    "POST",
    "/webhooks/<webhook_id>/events/<event_id>/replay",
    scope="manage",
    answers=Replayed,
)
def replay_event(webhook_id: str, event_id: str) -> Replayed:
    """Replay an event.

    Whatever became of it.
    """
    with _as_validation_error():
        replayed = webhooks.replay(current(), webhook_id, event_id, actor=actor())
    return Replayed(events=int(replayed))


@operation(
    "POST", "/webhooks/<webhook_id>/replay", scope="manage", body=Replay, answers=ReplayedSince
)
def replay(webhook_id: str, body: Replay) -> ReplayedSince:
    """Replay events that could not be told.

    All of an instant or later that failed, or wait for their next attempt.
    """
    with _as_validation_error():
        replayed = webhooks.replay_since(current(), webhook_id, body.since, actor=actor())
    return ReplayedSince(events=sum(replayed), **replayed._asdict())


def _check_may_listen() -> None:
    """Raise ApiError unless what a webhook is told may be known to the key, for as long."""
    if "read" not in key().scopes or key().expires_at is not None:
        message = (
            "A webhook is told of all mail: that needs a key with the scope read, and without end."
        )
        raise ApiError(403, "restricted_api_key", message)


@contextmanager
def _as_validation_error() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ApiError(422, "validation_error", str(error)) from error
