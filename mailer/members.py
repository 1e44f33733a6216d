"""Members: the people who may sign in to the console, and the browsers in which they did."""

from __future__ import annotations

import re
import secrets
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

import sqlalchemy as sa
from werkzeug.security import check_password_hash, generate_password_hash

from . import users
from .db import Database
from .errors import NotFound
from .expressions import now
from .ledger import acts
from .models import Member as Row
from .models import Visit

ROLES = ("viewer", "operator", "admin")
"""Each may do what those before it may: look; steer the mail; say who may do what."""

IDLE_SECONDS = 12 * 3600.0
"""A visit ends when nobody was seen for so long..."""
VISIT_SECONDS = 7 * 86_400.0
"""... and in any case after so long."""
_SEEN_EVERY_SECONDS = 60.0

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_NAME_FORM = "1 to 100 of a-z 0-9 . _ @ + -"


class Member(NamedTuple):
    """Who is signed in."""

    id: int
    name: str
    role: str

    def may(self, role: str) -> bool:
        """Say whether this is at least a ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)


_MEMBER = (Row.id, Row.name, Row.role)


def add(database: Database, name: str, role: str, password: str, *, actor: str) -> None:
    """Store a new member. Raises ValueError."""
    name = name.strip().lower()
    if not NAME.fullmatch(name):
        raise ValueError(f"name: expected {_NAME_FORM}, got {name!r}")
    _check_role(role)
    hashed = _hashed(name, password)
    with database.begin() as connection:
        if connection.execute(sa.select(Row.id).where(Row.name == name)).first():
            raise ValueError(f"name: there is a member {name!r} already")
        connection.execute(
            sa.insert(Row).values(name=name, role=role, password_hash=hashed, created_at=now())
        )
        acts.note(connection, actor, "add member", f"{name} as {role}")


def set_password(database: Database, name: str, password: str, *, actor: str) -> None:
    """Store another password, and end the visits of whoever had the old one. Raises NotFound or
    ValueError."""
    hashed = _hashed(name.strip().lower(), password)
    with database.begin() as connection:
        member_id = _change(connection, name, password_hash=hashed)
        connection.execute(sa.delete(Visit).where(Visit.member_id == member_id))
        acts.note(connection, actor, "change password", name.strip().lower())


def set_role(database: Database, name: str, role: str, *, actor: str) -> None:
    """Give a member another role, from the next request on. Raises NotFound or ValueError."""
    _check_role(role)
    with database.begin() as connection:
        _change(connection, name, role=role)
        acts.note(connection, actor, "change role", f"{name.strip().lower()} to {role}")


def remove(database: Database, name: str, *, actor: str) -> None:
    """Delete a member, and with that end their visits. Raises NotFound."""
    with database.begin() as connection:
        removed = sa.delete(Row).where(Row.name == name.strip().lower())
        if not connection.execute(removed).rowcount:
            raise _unknown(name)
        acts.note(connection, actor, "remove member", name.strip().lower())


def listing(database: Database) -> list[sa.Row[Any]]:
    """Return all members by name: name, role, created_at and seen_at (None: not signed in)."""
    seen_at = (
        sa.select(sa.func.max(Visit.seen_at)).where(Visit.member_id == Row.id).scalar_subquery()
    )
    with database.read() as connection:
        return list(
            connection.execute(
                sa.select(Row.name, Row.role, Row.created_at, seen_at.label("seen_at")).order_by(
                    Row.name
                )
            )
        )


def by_name(database: Database, name: str) -> Member | None:
    """Return a member by name."""
    with database.read() as connection:
        row = connection.execute(
            sa.select(*_MEMBER).where(Row.name == name.strip().lower())
        ).first()
    return Member(*row) if row else None


def sign_in(database: Database, name: str, password: str) -> str | None:
    """Begin a visit of the member who has this name and password; return the token for its cookie,
    which is stored nowhere. None: there is no such member, which takes as long and is noted."""
    with database.read() as connection:
        row = connection.execute(
            sa.select(*_MEMBER, Row.password_hash).where(Row.name == name.strip().lower())
        ).first()
    nobodys = _nobodys()
    hashed = row.password_hash if row else nobodys
    is_right = len(password) <= users.PASSWORD_MAX and check_password_hash(hashed, password)
    token = secrets.token_urlsafe(32)
    with database.begin() as connection:
        if row and is_right and _still_has(connection, row.id, hashed):
            connection.execute(sa.delete(Visit).where(sa.not_(_IS_OPEN)))
            connection.execute(
                sa.insert(Visit).values(
                    digest=_digest(token), member_id=row.id, begun_at=now(), seen_at=now()
                )
            )
            acts.note(connection, f"member {row.name}", "sign in")
            return token
        # Not what was typed: it may be a password.
        about = row.name if row else "no member's name"
        acts.note(connection, "stranger", "fail to sign in", about)
    return None


def visitor(database: Database, token: str, *, is_seen: bool = True) -> Member | None:
    """Return who is signed in with a cookie's token; note that they were seen, if they are."""
    digest = _digest(token)
    with database.read() as connection:
        row = connection.execute(
            sa.select(*_MEMBER, (Visit.seen_at < now() - _SEEN_EVERY_SECONDS).label("is_long_ago"))
            .join(Visit, Visit.member_id == Row.id)
            .where(Visit.digest == digest, _IS_OPEN)
        ).first()
    if row is None:
        return None
    if row.is_long_ago and is_seen:
        with database.begin() as connection:
            connection.execute(sa.update(Visit).where(Visit.digest == digest).values(seen_at=now()))
    return Member(*row[:3])


def end(database: Database, token: str) -> None:
    """End a visit."""
    with database.begin() as connection:
        connection.execute(sa.delete(Visit).where(Visit.digest == _digest(token)))


_IS_OPEN = sa.and_(Visit.seen_at > now() - IDLE_SECONDS, Visit.begun_at > now() - VISIT_SECONDS)


def _change(connection: sa.Connection, name: str, **values: object) -> int:
    statement = (
        sa.update(Row).where(Row.name == name.strip().lower()).values(**values).returning(Row.id)
    )
    member_id = connection.execute(statement).scalar()
    if member_id is None:
        raise _unknown(name)
    return member_id


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no member {name!r}")


def _still_has(connection: sa.Connection, member_id: int, password_hash: str) -> bool:
    """Say whether nobody changed a password while it was checked; until the commit nobody does."""
    is_it = sa.and_(Row.id == member_id, Row.password_hash == password_hash)
    return connection.execute(sa.select(Row.id).where(is_it).with_for_update()).first() is not None


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise ValueError(f"role: expected one of {', '.join(ROLES)}, got {role!r}")


def _hashed(name: str, password: str) -> str:
    if problem := users.password_problem(password, name):
        raise ValueError(f"password: {problem[0].lower()}{problem[1:].rstrip('.')}")
    return generate_password_hash(password, method=users.HASH_METHOD)


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "replace")).hexdigest()


@cache
def _nobodys() -> str:
    return generate_password_hash(secrets.token_urlsafe(), method=users.HASH_METHOD)
