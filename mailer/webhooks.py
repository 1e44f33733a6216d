"""Webhooks: addresses that are told what becomes of emails."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

import sqlalchemy as sa

from . import paging
from .destination import Allowed, Forbidden, checked, parse
from .doorbell import WEBHOOKS
from .errors import NotFound, Refused
from .expressions import insert, now
from .ledger import acts, replaying, telling
from .ledger.events import TYPES
from .ledger.record import uuid7
from .models import IS_FAILED, IS_PENDING, Event, EventAttempt, Webhook
from .notice import new_secret
from .state import State

BOTH_SECRETS_FOR = timedelta(hours=24)
"""How long the old secret signs as well after a rotation."""

EventStatus = Literal["pending", "delivered", "failed"]
EVENT_STATUSES: tuple[EventStatus, ...] = get_args(EventStatus)
# In the words of the partial indexes.
_IS: dict[EventStatus, sa.ColumnElement[bool] | sa.TextClause] = {
    "pending": IS_PENDING,
    "delivered": Event.status == "delivered",
    "failed": IS_FAILED,
}


class Page(NamedTuple):
    """Some rows, the newest first."""

    rows: list[sa.Row[Any]]
    has_more: bool


def create(
    state: State, url: str, types: Collection[str], *, actor: str, webhook_id: str | None = None
) -> sa.Row[Any]:
    """Make a webhook and return it, with its secret. Raises ValueError, and Refused where there is
    one with the id ``webhook_id``."""
    webhook_id = webhook_id or uuid7()
    values = {
        "id": webhook_id,
        "url": _checked_url(state, url),
        "events": _checked_types(types),
        "secret": new_secret(),
        "failures": 0,
    }
    with state.database.begin() as connection:
        statement = (
            insert(connection.dialect, Webhook)
            .values(**values, created_at=now())
            .on_conflict_do_nothing(index_elements=[Webhook.id])
            .returning(Webhook.id)
        )
        if connection.execute(statement).first() is None:
            raise Refused(f"the webhook {webhook_id} was made already")
        acts.note(connection, actor, "make webhook", webhook_id)
        return _get(connection, webhook_id)


def listing(
    state: State, *, limit: int, after: str | None = None, before: str | None = None
) -> Page:
    """Return webhooks: those older than ``after``, or newer than ``before``."""
    with state.database.read() as connection:
        found = paging.part(
            connection,
            sa.select(Webhook.__table__),
            Webhook.id,
            limit=limit,
            after=after,
            before=before,
        )
    return Page(*found)


def standing(webhook: Any) -> Literal["enabled", "failing", "disabled"]:
    """Return whether a webhook is told, in a word."""
    if webhook.disabled_at is not None:
        return "disabled"
    return "enabled" if webhook.failing_since is None else "failing"


def get(state: State, webhook_id: str) -> sa.Row[Any]:
    """Return one. Raises NotFound."""
    with state.database.read() as connection:
        return _get(connection, webhook_id)


def update(
    state: State,
    webhook_id: str,
    *,
    url: str | None = None,
    types: Collection[str] | None = None,
    status: Literal["enabled", "disabled"] | None = None,
    actor: str,
) -> None:
    """Change what is given. One that is enabled again is told what waited. Raises ValueError and
    NotFound."""
    values: dict[str, Any] = {}
    if url is not None:
        values |= {"url": _checked_url(state, url), **_AFRESH}
    if types is not None:
        values["events"] = _checked_types(types)
    if status == "enabled":
        values |= {"disabled_at": None, "disabled_reason": None, **_AFRESH}
    with state.database.begin() as connection:
        _get(connection, webhook_id)
        if values:
            connection.execute(sa.update(Webhook).where(Webhook.id == webhook_id).values(values))
        if url is not None or types is not None:
            acts.note(connection, actor, "change webhook", webhook_id)
        if status == "enabled":
            acts.note(connection, actor, "enable webhook", webhook_id)
        if status == "disabled":
            telling.disable(connection, webhook_id, f"disabled by {actor}")
            acts.note(connection, actor, "disable webhook", webhook_id)
    if status == "enabled":
        state.events_bell.ring(WEBHOOKS, "")


_AFRESH: dict[str, Any] = {"failures": 0, "failing_since": None, "rests_until": None}


def rotate_secret(
    state: State, webhook_id: str, *, actor: str, replaces: str | None = None
) -> sa.Row[Any]:
    """Give it a new secret; the one before signs as well for a day. ``replaces``: the `digest` of
    the one that it has to have yet. Raises NotFound, and Refused when it has another."""
    statement = (
        sa.update(Webhook)
        .where(Webhook.id == webhook_id)
        .values(
            previous_secret=Webhook.secret,
            previous_until=now() + BOTH_SECRETS_FOR.total_seconds(),
            secret=new_secret(),
        )
    )
    with state.database.begin() as connection:
        before = _get(connection, webhook_id, lock=True)
        if replaces not in {None, digest(before.secret)}:
            raise Refused(f"the secret of webhook {webhook_id} was rotated already")
        connection.execute(statement)
        found = _get(connection, webhook_id)
        acts.note(connection, actor, "rotate secret", webhook_id)
    return found


def digest(secret: str) -> str:
    """Return what stands for a secret where it is not to be seen."""
    return sha256(secret.encode()).hexdigest()[:16]


def delete(state: State, webhook_id: str, *, actor: str) -> None:
    """Delete it, with its events. Raises NotFound."""
    with state.database.begin() as connection:
        _get(connection, webhook_id)
        # First, and committed: from here on nothing is noted for it, and its row may be locked.
        telling.disable(connection, webhook_id, f"deleted by {actor}")
        acts.note(connection, actor, "delete webhook", webhook_id)
    some = sa.select(Event.id).where(Event.webhook_id == webhook_id).limit(replaying.AT_ONCE)
    while True:
        with state.database.begin() as connection:
            if not connection.execute(sa.delete(Event).where(Event.id.in_(some))).rowcount:
                connection.execute(sa.delete(Webhook).where(Webhook.id == webhook_id))
                return


def events(
    state: State,
    webhook_id: str,
    *,
    limit: int,
    after: str | None = None,
    before: str | None = None,
    status: EventStatus | None = None,
) -> Page:
    """Return what a webhook is or was to be told. Raises NotFound."""
    statement = sa.select(Event.__table__).where(Event.webhook_id == webhook_id)
    if status is not None:
        statement = statement.where(_IS[status])
    with state.database.read() as connection:
        _get(connection, webhook_id)
        found = paging.part(
            connection, statement, Event.id, limit=limit, after=after, before=before
        )
    return Page(*found)


def event(state: State, webhook_id: str, event_id: str) -> sa.Row[Any]:
    """Return an event. Raises NotFound."""
    with state.database.read() as connection:
        return _event(connection, event_id, webhook_id)


def attempts(state: State, event_id: str, *, webhook_id: str | None = None) -> list[sa.Row[Any]]:
    """Return the attempts to tell an event, in order. Raises NotFound, also when it is not of this
    webhook."""
    statement = (
        sa.select(EventAttempt.__table__)
        .where(EventAttempt.event_id == event_id)
        .order_by(EventAttempt.id)
    )
    with state.database.read() as connection:
        _event(connection, event_id, webhook_id)
        return list(connection.execute(statement))


def replay(state: State, webhook_id: str, event_id: str, *, actor: str) -> bool:
    """Tell an event again, whatever became of it. False: it is being told now. Raises NotFound, and
    ValueError when the webhook is disabled."""
    with state.database.begin() as connection:
        _end_rest(connection, webhook_id)
        _event(connection, event_id, webhook_id)
    replayed = state.ledger.replay(webhook_id, event_id, actor=actor)
    state.events_bell.ring(WEBHOOKS, "")
    return replayed


def replay_since(
    state: State, webhook_id: str, since: datetime, *, actor: str
) -> replaying.Replayed:
    """Tell all events again that happened since then and failed, or wait for their next attempt;
    return how many. Raises NotFound, and ValueError when the webhook is disabled."""
    with state.database.begin() as connection:
        _end_rest(connection, webhook_id)
    replayed = state.ledger.replay_since(webhook_id, since, actor=actor)
    state.events_bell.ring(WEBHOOKS, "")
    return replayed


def _get(connection: sa.Connection, webhook_id: str, *, lock: bool = False) -> sa.Row[Any]:
    statement = sa.select(Webhook.__table__).where(Webhook.id == webhook_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    if (row := connection.execute(statement).one_or_none()) is None:
        raise NotFound(f"there is no webhook {webhook_id!r}")
    return row


def _event(connection: sa.Connection, event_id: str, webhook_id: str | None) -> sa.Row[Any]:
    statement = sa.select(Event.__table__).where(Event.id == event_id)
    found = connection.execute(statement).one_or_none()
    if found is None or webhook_id not in {None, found.webhook_id}:
        of = f" of webhook {webhook_id}" if webhook_id else ""
        raise NotFound(f"there is no event {event_id!r}{of}")
    return found


def _end_rest(connection: sa.Connection, webhook_id: str) -> None:
    """Have the webhook told at once: whoever replays says that it is well. Raises NotFound, and
    ValueError when it is disabled."""
    if _get(connection, webhook_id).disabled_at is not None:
        raise ValueError(f"webhook {webhook_id} is disabled: enable it first")
    statement = sa.update(Webhook).where(Webhook.id == webhook_id).values(rests_until=None)
    connection.execute(statement)


def _checked_url(state: State, url: str) -> str:
    try:
        destination = parse(url)
        checked(destination, Allowed(state.config["MAILER_WEBHOOK_ALLOW"] or ()))
    except Forbidden as error:
        raise ValueError(f"endpoint: {error}") from error
    except OSError as error:
        raise ValueError(f"endpoint: expected a host whose name is known: {error}") from error
    return url


def _checked_types(types: Collection[str]) -> list[str]:
    if not types:
        raise ValueError("events: expected at least one")
    if unknown := [one for one in types if one not in TYPES]:
        raise ValueError(f"events: expected some of {', '.join(TYPES)}, got {unknown[0]!r}")
    return [one for one in TYPES if one in types]
