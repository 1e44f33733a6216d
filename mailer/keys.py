"""Keys of the HTTP API: who may send, read and manage, as whom and with which templates."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

import sqlalchemy as sa

from .db import Database
from .errors import NotFound
from .expressions import now
from .ledger.record import uuid7
from .models import ApiKey

SCOPES = ("send", "read", "manage")
"""``send`` emails; ``read`` what became of them; ``manage``: retry, cancel, reschedule, keys."""
_BEGINNING = "mk_"
_USED_EVERY = timedelta(minutes=1)


class Key(NamedTuple):
    """A key that is good now."""

    id: str
    name: str
    scopes: frozenset[str]
    senders: tuple[str, ...]
    templates: tuple[str, ...]

    def may_send_as(self, address: str) -> bool:
        return _matches(address.lower(), self.senders)

    def may_use(self, template: str | None) -> bool:
        return not self.templates or (template is not None and _matches(template, self.templates))


def create(
    database: Database,
    name: str,
    *,
    scopes: Collection[str] = ("send",),
    senders: Sequence[str] = (),
    templates: Sequence[str] = (),
    expires_in: timedelta | None = None,
) -> tuple[str, str]:
    """Store a new key; return its id and the key, which cannot be had again. Raises ValueError."""
    if not (1 <= len(name) <= 100 and name.isprintable()):
        raise ValueError(f"name: expected 1 to 100 printable characters, got {name!r}")
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"scopes: expected some of {', '.join(SCOPES)}, got {sorted(scopes)}")
    token = _BEGINNING + secrets.token_urlsafe(32)
    key_id = uuid7()
    created_at = datetime.now(UTC)
    with database.begin() as connection:
        connection.execute(
            sa.insert(ApiKey).values(
                id=key_id,
                name=name,
                digest=_digest(token),
                scopes=sorted(scopes, key=SCOPES.index),
                senders=[pattern.lower() for pattern in senders],
                templates=list(templates),
                created_at=created_at,
                expires_at=created_at + expires_in if expires_in else None,
            )
        )
    return key_id, token


def find(database: Database, token: str) -> Key | None:
    """Return the key that ``token`` is, if it is good now, and note that it was used."""
    digest = _digest(token)
    with database.read() as connection:
        row = connection.execute(
            sa.select(ApiKey.__table__, now().label("now")).where(
                ApiKey.digest == digest,
                ApiKey.revoked_at.is_(None),
                sa.or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now()),
            )
        ).one_or_none()
    if row is None or not compare_digest(row.digest, digest):
        return None
    instant = datetime.fromtimestamp(row.now, UTC)
    if row.last_used_at is None or instant - row.last_used_at > _USED_EVERY:
        with database.begin() as connection:
            used = sa.update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=now())
            connection.execute(used)
    return Key(row.id, row.name, frozenset(row.scopes), tuple(row.senders), tuple(row.templates))


def listing(database: Database) -> list[sa.Row[ApiKey]]:
    """Return all keys that were not revoked, the newest first."""
    statement = (
        sa.select(ApiKey.__table__).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id.desc())
    )
    with database.read() as connection:
        return list(connection.execute(statement))


def revoke(database: Database, key_id: str) -> None:
    """Make a key good for nothing, from the next request on. Raises NotFound."""
    statement = (
        sa.update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    with database.begin() as connection:
        if not connection.execute(statement).rowcount:
            raise NotFound(f"there is no key {key_id!r}")


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)
