"""Accept: store emails, their deliveries and their attachments."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..content import Attachment
from ..errors import IdempotencyConflict
from ..expressions import insert, now
from ..models import Attached, Delivery, Email, Event, Instant, Json, Webhook
from ..prepared import Prepared
from . import events


@dataclass(slots=True, kw_only=True, repr=False)
class Draft:
    """A validated email that is not stored yet. Not to be shown: its context may hold secrets."""

    email: dict[str, Any]
    """Values of the columns of `Email`, without id and created_at."""
    recipients: list[str]
    """One delivery each; no address twice."""
    send_at: datetime | None = None
    expires_in: float | None = None
    """Seconds after which it is no longer worth sending, from when it is due; instead of the
    column ``expires_at``."""
    attachments: Sequence[Attachment] = field(default=())


class Recorded(NamedTuple):
    """An email in the ledger."""

    values: Mapping[str, Any]
    """Of the columns of `Email`."""
    new: bool
    """False: it had been stored before, under the same idempotency key."""
    due: bool
    """Whether it could be sent at once."""

    @property
    def email(self) -> Email:
        """An `Email` that no session knows; without its constructor's 20 microseconds."""
        email = Email()
        vars(email).update(self.values)
        return email


def record(
    connection: sa.Connection, drafts: Sequence[Draft], attempts_allowed: int
) -> list[Recorded]:
    """Insert ``drafts`` in the transaction of ``connection``; return their emails, in order."""
    if connection.dialect.name == "postgresql" and is_plain(drafts):
        return [_record_at_once(connection, drafts[0], attempts_allowed)]
    ((instant, somebody_listens),) = _NOW.rows(connection, {})
    created_at = datetime.fromtimestamp(instant, UTC)
    emails = [_values(draft, created_at) for draft in drafts]
    # In the order of the keys: two transactions with the same ones must not wait for each other.
    keyed = sorted((one for one in emails if one["idempotency_key"]), key=_key)
    known = {one["id"]: _insert_keyed(connection, one) for one in keyed}
    new = [
        (email, draft)
        for email, draft in zip(emails, drafts, strict=True)
        if known.get(email["id"]) is None
    ]
    if unkeyed := [email for email, _ in new if email["idempotency_key"] is None]:
        _INSERT_EMAIL.run(connection, unkeyed)
    if new:
        _INSERT_DELIVERY.run(
            connection,
            [
                {
                    "email_id": email["id"],
                    "recipient": recipient,
                    "lane": email["lane"],
                    "due_at": draft.send_at or instant,
                    "expires_at": email["expires_at"],
                    "attempts_allowed": attempts_allowed,
                    "updated_at": instant,
                }
                for email, draft in new
                for recipient in draft.recipients
            ],
        )
    if files := [_file(email["id"], file) for email, draft in new for file in draft.attachments]:
        connection.execute(sa.insert(Attached), files)
    if somebody_listens:
        accepted = [events.accepted(email["id"], draft.send_at, created_at) for email, draft in new]
        events.note(connection, accepted)
    return [
        Recorded(
            values=known.get(email["id"]) or email,
            new=known.get(email["id"]) is None,
            due=draft.send_at is None or draft.send_at <= created_at,
        )
        for email, draft in zip(emails, drafts, strict=True)
    ]


def is_plain(drafts: Sequence[Draft]) -> bool:
    """Say whether it is one email for which nothing is looked up and no file is stored."""
    return (
        len(drafts) == 1
        and drafts[0].email.get("idempotency_key") is None
        and not drafts[0].attachments
    )


def _record_at_once(connection: sa.Connection, draft: Draft, attempts_allowed: int) -> Recorded:
    values = {**_BLANK, **draft.email, "id": uuid7()}
    given = {f"{name}_": value for name, value in values.items()}
    given["send_at_"] = draft.send_at
    given["expires_in_"] = draft.expires_in
    given["recipients_"] = draft.recipients
    given["attempts_allowed_"] = attempts_allowed
    given["details_"] = (
        events.scheduled(values["id"], draft.send_at).details if draft.send_at else {}
    )
    instant, expires_at, noted = _AT_ONCE.rows(connection, given)[0]
    if noted:
        events.noted(connection)
    created_at = datetime.fromtimestamp(instant, UTC)
    values["created_at"] = created_at
    values["expires_at"] = expires_at and datetime.fromtimestamp(expires_at, UTC)
    due = draft.send_at is None or draft.send_at <= created_at
    return Recorded(values=values, new=True, due=due)


def _key(email: dict[str, Any]) -> str:
    return email["idempotency_key"] or ""


def _values(draft: Draft, created_at: datetime) -> dict[str, Any]:
    """Return the values of the columns of `Email`."""
    values = {**_BLANK, **draft.email, "id": uuid7(), "created_at": created_at}
    if draft.expires_in is not None:
        values["expires_at"] = (draft.send_at or created_at) + timedelta(seconds=draft.expires_in)
    return values


def uuid7() -> str:
    """Return a random id whose text sorts by time of creation (RFC 9562, version 7)."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"  # by uuid.UUID it would take four times as long
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def smallest_id(instant: float) -> str:
    """Return what sorts before the id of everything stored at ``instant`` or later."""
    return str(uuid.UUID(int=max(0, int(instant * 1000)) << 80))


_BLANK: dict[str, Any] = {
    **{column.key: None for column in sa.inspect(Email).columns},
    "is_test": False,
}
_constant = sa.literal_column  # a parameter costs 10 microseconds in PostgreSQL
_NEW_DELIVERY: dict[str, Any] = {
    "status": _constant("'queued'"),
    "attempts": _constant("0"),
    "crashes": _constant("0"),
    "ambiguous": _constant("0"),
    "has_turn": sa.false(),
}
"""What all have alike."""
_DELIVERY_COLUMNS = (
    "email_id",
    "recipient",
    "lane",
    "due_at",
    "expires_at",
    "attempts_allowed",
    "updated_at",
)
# In one statement: each costs 5 microseconds in SQLite, and a round trip to PostgreSQL.
_NOW = Prepared(
    sa.select(now(), sa.exists(sa.select(Webhook.id).where(Webhook.disabled_at.is_(None))))
)
_INSERT_EMAIL = Prepared(sa.insert(Email), tuple(_BLANK))
_INSERT_DELIVERY = Prepared(sa.insert(Delivery).values(_NEW_DELIVERY).inline(), _DELIVERY_COLUMNS)


def _at_once() -> Prepared:
    """Return one statement that stores one email: one answer to wait for, not three."""
    given = {
        column.key: sa.bindparam(f"{column.key}_", type_=column.type)
        for column in sa.inspect(Email).columns
    }
    due_at = sa.func.coalesce(sa.bindparam("send_at_", type_=Instant()), now())
    expires_in: sa.BindParameter[float] = sa.bindparam("expires_in_", type_=sa.Double())
    expires_at = sa.func.coalesce(given["expires_at"], due_at + expires_in)
    email = sa.insert(Email).values({**given, "created_at": now(), "expires_at": expires_at})
    delivery = {
        "email_id": given["id"],
        "recipient": sa.func.unnest(sa.bindparam("recipients_", type_=sa.ARRAY(sa.Text))),
        "lane": given["lane"],
        "due_at": due_at,
        "expires_at": expires_at,
        "attempts_allowed": sa.bindparam("attempts_allowed_", type_=sa.Integer()),
        "updated_at": now(),
        **_NEW_DELIVERY,
    }
    deliveries = sa.insert(Delivery).from_select(list(delivery), sa.select(*delivery.values()))
    noted = _accepted_at_once(given["id"]).returning(Event.id).cte("noted")
    stored = deliveries.add_cte(email.cte("stored"))
    return Prepared(
        stored.returning(
            Delivery.updated_at,
            Delivery.expires_at,
            sa.select(sa.func.max(noted.c.id)).scalar_subquery(),
        )
    )


def _accepted_at_once(email_id: Any) -> Any:
    """Return what `events.note` does with `events.accepted`, as a part of that statement."""
    is_later: Any = sa.bindparam("send_at_", type_=Instant()) > now()
    kind = sa.case(
        (is_later, _constant("'email.scheduled'", sa.Text)),
        else_=_constant("'email.queued'", sa.Text),
    )
    milliseconds = sa.cast(now() * _constant("1000", sa.Double), sa.BigInteger)
    at = sa.func.lpad(sa.func.to_hex(milliseconds), _constant("12"), _constant("'0'"))
    uuid4 = sa.cast(sa.func.gen_random_uuid(), sa.Text)
    random = sa.func.right(
        sa.func.replace(uuid4, _constant("'-'"), _constant("''")), _constant("20")
    )
    told = sa.bindparam("details_", type_=Json())
    event = {
        "id": sa.func.concat(_constant("'msg_'"), at, random),
        "webhook_id": Webhook.id,
        "type": kind,
        "email_id": email_id,
        "details": sa.case((is_later, told), else_=_constant("'{}'", sa.Text)),
        "status": _constant("'pending'"),
        "attempts": _constant("0"),
        "at": now(),
        "due_at": now(),
        "tried_until": now() + _constant(str(events.TRIED_FOR_SECONDS), sa.Double),
    }
    quote: Any = _constant("'\"'")
    wanted = sa.func.strpos(Webhook.events, sa.func.concat(quote, kind, quote)) > _constant("0")
    webhooks = (
        sa.select(*event.values())
        .where(Webhook.disabled_at.is_(None), wanted)
        .with_for_update(read=True, key_share=True)
    )
    return sa.insert(Event).from_select(list(event), webhooks)


_AT_ONCE = _at_once()


def _insert_keyed(connection: sa.Connection, email: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Insert an email that has an idempotency key. Return the one that had the key before it,
    None when there was none. Two at the same time: the database lets one through."""
    statement = (
        insert(connection.dialect, Email)
        .values(email)
        .on_conflict_do_nothing(index_elements=[Email.idempotency_key])
        .returning(Email.id)
    )
    if connection.execute(statement).first() is not None:
        return None
    row = connection.execute(
        sa.select(Email.__table__).where(Email.idempotency_key == email["idempotency_key"])
    ).one()
    if row.fingerprint != email["fingerprint"]:
        raise IdempotencyConflict(
            f"idempotency_key: {row.idempotency_key!r} was used before, for email {row.id} "
            "with other content"
        )
    return dict(row._mapping)


def _file(email_id: str, file: Attachment) -> dict[str, Any]:
    return {
        "email_id": email_id,
        "filename": file.filename,
        "content_type": file.content_type,
        "content_id": file.content_id,
        "data": file.data,
    }
