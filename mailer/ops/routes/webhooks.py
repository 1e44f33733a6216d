"""Webhooks: who is told what becomes of emails, whether that works, and tell it again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal

from flask import request, url_for
from werkzeug.datastructures import MultiDict

from ... import notice, rendition
from ... import webhooks as hooks
from ...errors import Refused
from ...ledger.events import TYPES
from ...ledger.record import uuid7
from ...state import current
from .. import access, parts
from ..blueprint import Answer, view
from ..given import form_id
from ..pages import done, page

SINCE = {"1": "hour", "6": "6 hours", "24": "day", "120": "5 days"}
"""Hours -> in words."""


@view("GET", "/webhooks", role="viewer")
def webhooks() -> Answer:
    """List them."""
    return _listed()


@view("POST", "/webhooks", role="admin")
def create_webhook() -> Answer:
    """Make one, and show its secret. The id comes with the form: sent twice, it is one."""
    form = request.form
    webhook_id = form_id("webhook_id", form.get("webhook_id", ""))
    try:
        made = hooks.create(
            current(),
            form.get("url", "").strip(),
            form.getlist("type") or TYPES,
            actor=access.actor(),
            webhook_id=webhook_id,
        )
    except ValueError as problem:
        return _listed(status=422, error=str(problem), form=form)
    except Refused as problem:
        words = f"No second one was made: {problem}, and its secret shown once, then."
        return _shown(hooks.get(current(), webhook_id), status=409, error=words)
    return _shown(made, secret=made.secret)


@view("GET", "/webhooks/<webhook_id>", role="viewer")
def webhook(webhook_id: str) -> Answer:
    """Show one, and what it is to be told."""
    return _shown(hooks.get(current(), webhook_id))


@view("POST", "/webhooks/<webhook_id>/enable", role="operator")
def enable_webhook(webhook_id: str) -> Answer:
    """Tell it again."""
    return _switched(webhook_id, "enabled", "It is told again, what waited first.")


@view("POST", "/webhooks/<webhook_id>/disable", role="operator")
def disable_webhook(webhook_id: str) -> Answer:
    """Tell it nothing any more."""
    return _switched(webhook_id, "disabled", "It is told nothing, and nothing is noted for it.")


@view("POST", "/webhooks/<webhook_id>/rotate", role="admin")
def rotate_webhook(webhook_id: str) -> Answer:
    """Give it a new secret, and show it: once, however often the form is sent."""
    try:
        found = hooks.rotate_secret(
            current(),
            webhook_id,
            actor=access.actor(),
            replaces=request.form.get("replaces", ""),
        )
    except Refused as problem:
        words = f"The secret stays as it is: {problem}, and the new one shown once, then."
        return _shown(hooks.get(current(), webhook_id), status=409, error=words)
    return _shown(found, secret=found.secret)


@view("POST", "/webhooks/<webhook_id>/delete", role="admin")
def delete_webhook(webhook_id: str) -> Answer:
    """Delete it, once it is disabled: a click is soon done."""
    found = hooks.get(current(), webhook_id)
    if found.disabled_at is None:
        return _shown(found, status=422, error="It is told yet: disable it first.")
    hooks.delete(current(), webhook_id, actor=access.actor())
    return done(f"The webhook {found.url} is deleted.", url_for("ops.webhooks"))


@view("POST", "/webhooks/<webhook_id>/replay", role="operator")
def replay_webhook(webhook_id: str) -> Answer:
    """Tell it again what could not be told."""
    hours = request.form.get("hours", "24")
    since = datetime.now(UTC) - timedelta(hours=int(hours if hours in SINCE else "24"))
    try:
        replayed = hooks.replay_since(current(), webhook_id, since, actor=access.actor())
    except ValueError as problem:
        return _shown(hooks.get(current(), webhook_id), status=422, error=f"{problem}.")
    words = f"{replayed.failed} that failed and {replayed.waiting} that waited are told now."
    return done(words, url_for("ops.webhook", webhook_id=webhook_id))


@view("GET", "/webhooks/<webhook_id>/events/<event_id>", role="viewer")
def webhook_event(webhook_id: str, event_id: str) -> Answer:
    """Show an event, and each attempt to tell it."""
    return _event(webhook_id, event_id)


@view("POST", "/webhooks/<webhook_id>/events/<event_id>/replay", role="operator")
def replay_event(webhook_id: str, event_id: str) -> Answer:
    """Tell it again, whatever became of it."""
    try:
        replayed = hooks.replay(current(), webhook_id, event_id, actor=access.actor())
    except ValueError as problem:
        return _event(webhook_id, event_id, status=422, error=f"{problem}.")
    words = "It is told again now." if replayed else "It is being told at this moment."
    return done(words, url_for("ops.webhook_event", webhook_id=webhook_id, event_id=event_id))


def _listed(*, form: MultiDict[str, str] | None = None, **problem: Any) -> Answer:
    found = hooks.listing(current(), limit=parts.SHOWN, **parts.cursor())
    return page(
        "webhooks",
        rows=found.rows,
        links=parts.links(found.rows, found.has_more),
        types=TYPES,
        form=form or MultiDict(),
        webhook_id=uuid7(),
        standing=hooks.standing,
        **problem,
    )


def _shown(row: Any, *, secret: str = "", **problem: Any) -> Answer:
    status = next((one for one in hooks.EVENT_STATUSES if one == request.args.get("events")), None)
    found = hooks.events(current(), row.id, limit=parts.SHOWN, status=status, **parts.cursor())
    return page(
        "webhook",
        webhook=row,
        secret=secret,
        replaces=hooks.digest(row.secret),
        rows=found.rows,
        links=parts.links(found.rows, found.has_more),
        shown=status,
        statuses=hooks.EVENT_STATUSES,
        standing=hooks.standing,
        types=TYPES,
        since=SINCE,
        **problem,
    )


def _switched(webhook_id: str, status: Literal["enabled", "disabled"], words: str) -> Answer:
    hooks.update(current(), webhook_id, status=status, actor=access.actor())
    return done(words, url_for("ops.webhook", webhook_id=webhook_id))


def _event(webhook_id: str, event_id: str, **problem: Any) -> Answer:
    state = current()
    return page(
        "webhook_event",
        webhook=hooks.get(state, webhook_id),
        event=hooks.event(state, webhook_id, event_id),
        attempts=hooks.attempts(state, event_id, webhook_id=webhook_id),
        body=_body(event_id),
        **problem,
    )


def _body(event_id: str) -> str:
    """Return the JSON that tells an event, less the subject of security mail."""
    state = current()
    telling = state.ledger.look_at_event(event_id)
    email = {**telling.email._mapping, "subject": rendition.subject(state, telling.email)}
    document = json.loads(notice.body(telling._replace(email=SimpleNamespace(**email))))
    return json.dumps(document, indent=2, ensure_ascii=False)
