"""Keys of the HTTP API: made, found by what a request brings, listed, renamed, revoked."""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple

import sqlalchemy as sa

from . import paging
from .db import Database
from .errors import LedgerUnavailable, NotFound, Refused
from .expressions import insert, now
from .grants import SCOPES, Grant
from .ledger import acts
from .ledger.record import uuid7
from .models import ApiKey
from .prepared import Prepared

__all__ = ["SCOPES", "Key", "create", "find", "listing", "page", "rename", "revoke"]

_BEGINNINGS = {False: "mk_", True: "mk_test_"}
_USED_EVERY_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Grant):
    """A key that is good now."""

    id: str
    name: str


class Page(NamedTuple):
    """Some keys that were not revoked, the newest first."""

    keys: list[sa.Row[Any]]
    has_more: bool


def create(
    database: Database, name: str, grant: Grant, *, actor: str, key_id: str | None = None
) -> tuple[str, str]:
    """Store a new key; return its id and the key, which cannot be had again. Raises ValueError, and
    Refused where there is one with the id ``key_id``."""
    _check_name(name)
    token = _BEGINNINGS[grant.is_test] + secrets.token_urlsafe(32)
    key_id = key_id or uuid7()
    with database.begin() as connection:
        statement = (
            insert(connection.dialect, ApiKey)
            .values(
                id=key_id,
                name=name,
                digest=_digest(token),
                scopes=sorted(grant.scopes, key=SCOPES.index),
                senders=list(grant.senders),
                recipients=list(grant.recipients),
                templates=list(grant.templates),
                lane=grant.lane,
                rate=grant.rate,
                is_test=grant.is_test,
                created_at=now(),
                expires_at=grant.expires_at,
            )
            .on_conflict_do_nothing(index_elements=[ApiKey.id])
            .returning(ApiKey.id)
        )
        if connection.execute(statement).first() is None:
            raise Refused(f"the key {key_id} was made already")
        acts.note(connection, actor, "make key", f"{name} {key_id}")
    return key_id, token


_FIND = Prepared(
    sa.select(
        ApiKey.digest,
        ApiKey.id,
        ApiKey.name,
        ApiKey.scopes,
        ApiKey.senders,
        ApiKey.recipients,
        ApiKey.templates,
        ApiKey.lane,
        ApiKey.rate,
        ApiKey.is_test,
        ApiKey.expires_at,
        sa.or_(
            ApiKey.last_used_at.is_(None),
            sa.type_coerce(ApiKey.last_used_at, sa.Double) < now() - _USED_EVERY_SECONDS,
        ),
    ).where(
        ApiKey.digest == sa.bindparam("digest_"),
        ApiKey.revoked_at.is_(None),
        sa.or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now()),
    )
)
_USED = Prepared(
    sa.update(ApiKey).where(ApiKey.id == sa.bindparam("id_")).values(last_used_at=now())
)


def find(database: Database, token: str) -> Key | None:
    """Return the key that ``token`` is, if it is good now, and note that it was used."""
    digest = _digest(token)
    with database.glance() as connection:
        rows = _FIND.rows(connection, {"digest_": digest})
    if not rows or not compare_digest(rows[0][0], digest):
        return None
    _, id, name, scopes, senders, recipients, templates, lane, rate, is_test, ends, news = rows[0]
    if news:
        _note_use(database, id)
    return Key(
        id=id,
        name=name,
        scopes=frozenset(json.loads(scopes)),
        senders=_patterns(senders),
        recipients=_patterns(recipients),
        templates=_patterns(templates),
        lane=lane,
        rate=rate,
        is_test=bool(is_test),
        expires_at=ends and datetime.fromtimestamp(ends, UTC),
    )


_NOT_REVOKED = sa.select(ApiKey.__table__).where(ApiKey.revoked_at.is_(None))


def listing(database: Database) -> list[sa.Row[Any]]:
    """Return all keys that were not revoked, the newest first."""
    with database.read() as connection:
        return list(connection.execute(_NOT_REVOKED.order_by(ApiKey.id.desc())))


def page(database: Database, limit: int, after: str | None, before: str | None) -> Page:
    """Return up to ``limit`` keys: those older than ``after``, or newer than ``before``."""
    with database.read() as connection:
        found = paging.part(
            connection, _NOT_REVOKED, ApiKey.id, limit=limit, after=after, before=before
        )
    return Page(*found)


def grant_of(database: Database, key_id: str) -> Grant:
    """Return what a key may do. Raises NotFound."""
    statement = sa.select(ApiKey.__table__).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    with database.read() as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"there is no key {key_id!r}")
    return Grant(
        scopes=frozenset(row.scopes),
        senders=tuple(row.senders),
        recipients=tuple(row.recipients),
        templates=tuple(row.templates),
        lane=row.lane,
        rate=row.rate,
        is_test=row.is_test,
        expires_at=row.expires_at,
    )


def limits(key: Any) -> list[str]:
    """Return what a key may only do, in words; none: anything that its scopes say."""
    said = [
        f"{word} {' '.join(patterns)}"
        for word, patterns in (
            ("as", key.senders),
            ("to", key.recipients),
            ("with", key.templates),
        )
        if patterns
    ]
    if key.lane:
        said.append(f"in {key.lane}")
    if key.rate:
        said.append(key.rate)
    if key.is_test:
        said.append("test")
    if key.expires_at:
        said.append(f"until {key.expires_at:%Y-%m-%d %H:%M}")
    return said


def rename(database: Database, key_id: str, name: str, *, actor: str) -> None:
    """Give a key another name. Raises ValueError or NotFound."""
    _check_name(name)
    _change(database, key_id, actor, "rename key", name=name)


def revoke(database: Database, key_id: str, *, actor: str) -> None:
    """Make a key good for nothing, from the next request on. Raises NotFound."""
    _change(database, key_id, actor, "revoke key", revoked_at=now())


def _change(
    database: Database, key_id: str, actor: str, action: acts.Action, **values: Any
) -> None:
    statement = (
        sa.update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(**values)
        .returning(ApiKey.name)
    )
    with database.begin() as connection:
        name = connection.execute(statement).scalar()
        if name is None:
            raise NotFound(f"there is no key {key_id!r}")
        acts.note(connection, actor, action, f"{name} {key_id}")


def _check_name(name: str) -> None:
    if not (1 <= len(name) <= 100 and name.isprintable()):
        raise ValueError(f"name: expected 1 to 100 printable characters, got {name!r}")


def _note_use(database: Database, key_id: str) -> None:
    try:
        with database.brief() as connection:
            _USED.run(connection, [{"id_": key_id}])
    except LedgerUnavailable as error:
        # Who only reads need not wait for those who write, let alone be refused.
        log.warning("key=%s last_used_at=unknown: %s", key_id, error)


def _patterns(written: str) -> tuple[str, ...]:
    return () if written == "[]" else tuple(json.loads(written))


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
