"""Keys: who may use the HTTP API, and for what; make, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import request, url_for
from werkzeug.datastructures import MultiDict

from ... import grants
from ... import keys as api_keys
from ...errors import Refused
from ...ledger.record import uuid7
from ...models import LANES
from ...state import current
from .. import access, parts
from ..blueprint import Answer, view
from ..given import form_id
from ..pages import done, page

SCOPES = {
    "send": "send emails",
    "read": "read what became of them",
    "manage": "retry, cancel, suppress; webhooks and keys",
    "inbound": "report what became of them, as a mail server",
}
EXPIRY_DAYS = {
    "": "never",
    "1": "in a day",
    "30": "in 30 days",
    "90": "in 90 days",
    "365": "in a year",
}


@view("GET", "/keys", role="admin")
def keys() -> Answer:
    """List those that are good."""
    return _listed()


@view("POST", "/keys", role="admin")
def create_key() -> Answer:
    """Make one, and show it once. The id comes with the form: sent twice, it is one."""
    form = request.form
    key_id = form_id("key_id", form.get("key_id", ""))
    name = form.get("name", "").strip()
    try:
        _, token = api_keys.create(
            current().database, name, _grant(form), actor=access.actor(), key_id=key_id
        )
    except ValueError as problem:
        return _listed(status=422, error=str(problem), form=form)
    except Refused as problem:
        words = f"No second one was made: {problem}, and was shown once, then. Now the form is new."
        return _listed(status=409, error=words, form=form)
    return _listed(token=token, name=name)


@view("POST", "/keys/<key_id>/revoke", role="admin")
def revoke_key(key_id: str) -> Answer:
    """Make one good for nothing."""
    api_keys.revoke(current().database, key_id, actor=access.actor())
    return done("The key is revoked, from the next request on.", url_for("ops.keys"))


def _grant(form: MultiDict[str, str]) -> grants.Grant:
    days = form.get("expires", "")
    if days not in EXPIRY_DAYS:
        raise ValueError(f"expires: expected one of {', '.join(filter(None, EXPIRY_DAYS))} days")
    return grants.checked(
        scopes=form.getlist("scope"),
        senders=form.get("senders", "").split(),
        recipients=form.get("recipients", "").split(),
        templates=form.get("templates", "").split(),
        lane=form.get("lane") or None,
        rate=form.get("rate", "").strip() or None,
        is_test="test" in form,
        expires_at=datetime.now(UTC) + timedelta(days=int(days)) if days else None,
    )


def _listed(*, form: MultiDict[str, str] | None = None, **what: Any) -> Answer:
    found = api_keys.page(current().database, parts.SHOWN, **parts.cursor())
    return page(
        "keys",
        rows=found.keys,
        links=parts.links(found.keys, found.has_more),
        limits=api_keys.limits,
        now=datetime.now(UTC),
        scopes=SCOPES,
        lanes=LANES,
        expiry=EXPIRY_DAYS,
        form=form or MultiDict([("scope", "send")]),
        key_id=uuid7(),
        **what,
    )
