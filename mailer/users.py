"""People with an account: sign up, confirm, new password, and the tokens in their links.

A token is a signed statement of who may do what until when. No row is kept for it: it is bound to
the state of the account, which its use changes, and with that it and all earlier ones are void.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import sqlalchemy as sa
from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer
from sqlalchemy.orm import Session
from werkzeug.security import generate_password_hash

from .addresses import parse
from .db import Database
from .expressions import insert, now
from .models import User

PASSWORD_MIN = 12
PASSWORD_MAX = 1000

# The least that OWASP's "Password Storage" recommends for scrypt in 32 MB: N = 2^15, r = 8, p = 3.
HASH_METHOD = "scrypt:32768:8:3"

Purpose = Literal["confirm", "reset"]


def normalise(address: str, *, allow_test_domains: bool = False) -> str:
    """Return the form of an address that is stored, looked up and mailed. Raises ValueError.

    The whole of it is in lower case, the part before the @ too. No provider gives J@x and j@x to
    two people, and a person who types the other one at the next visit means the same account.
    """
    found = parse(address.strip().lower(), allow_test_domains=allow_test_domains)
    if found.name:
        raise ValueError("expected an address without a name")
    return found.email


def password_problem(password: str, email: str) -> str | None:
    """Say what is wrong with a new password; None when nothing is.

    Length and the address itself are all that is looked at: rules about kinds of characters make
    passwords worse (NIST SP 800-63B, 3.1.1.2).
    """
    if len(password) < PASSWORD_MIN:
        return f"Use at least {PASSWORD_MIN} characters."
    if len(password) > PASSWORD_MAX:
        return f"Use at most {PASSWORD_MAX:,} characters."
    if password.strip().lower() == email.lower():
        return "Use something other than your email address."
    try:
        password.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can carry
        return "Use characters that can be typed."
    return None


@contextmanager
def reading(database: Database) -> Iterator[Session]:
    """Open a session that only reads, and so never waits for a writer."""
    with database.read() as connection, Session(connection, expire_on_commit=False) as session:
        yield session


def sign_up(session: Session, email: str, password: str) -> User | None:
    """Store a user and return it; None when the (normalised) address was taken.

    Both take the same time: the password is hashed either way. Give it a session that has not
    been used yet, because hashing takes a tenth of a second or more, and SQLite lets nobody else
    write from a transaction's first statement on.
    """
    password_hash = _hash(password)
    statement = (
        insert(session.get_bind().dialect, User)
        .values(email=email, password_hash=password_hash, created_at=now())
        .on_conflict_do_nothing(index_elements=[User.email])
        .returning(User)
    )
    return session.scalars(statement).one_or_none()


def by_id(session: Session, user_id: int) -> User | None:
    """Look a user up, with a statement each time."""
    return session.scalars(sa.select(User).where(User.id == user_id)).one_or_none()


def by_address(session: Session, email: str) -> User | None:
    """Look up the user with this normalised address."""
    return session.scalars(sa.select(User).where(User.email == email)).one_or_none()


def erase(session: Session, email: str) -> bool:
    """Delete the user with this normalised address; False when there is none."""
    statement = sa.delete(User).where(User.email == email).returning(User.id)
    return session.scalars(statement).one_or_none() is not None


def confirm(session: Session, user: User) -> bool:
    """Mark the address as confirmed; False when the account has changed since ``user`` was read."""
    return _change(session, user, User.confirmed_at.is_(None), confirmed_at=now())


def set_password(session: Session, user: User, password: str) -> bool:
    """Store a new password; False when the account has changed since ``user`` was read.

    It also confirms the address: only a link that was mailed there leads here. As for `sign_up`,
    the session should not have been used yet.
    """
    confirmed_at = sa.func.coalesce(User.confirmed_at, now())
    return _change(session, user, password_hash=_hash(password), confirmed_at=confirmed_at)


def _hash(password: str) -> str:
    return generate_password_hash(password, method=HASH_METHOD)


def _change(
    session: Session, user: User, *guards: sa.ColumnElement[bool], **values: object
) -> bool:
    statement = (
        sa.update(User)
        .where(User.id == user.id, User.password_hash == user.password_hash, *guards)
        .values(**values)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).one_or_none() is not None


class Verdict(enum.Enum):
    """What a token is worth."""

    OK = "ok"
    EXPIRED = "expired"
    VOID = "void"
    """Never ours, used, or overtaken by a change of the account."""


class Reading(NamedTuple):
    """The verdict on a token, and whose it is (None unless the verdict is OK)."""

    verdict: Verdict
    user: User | None = None


class Tokens:
    """Mints and reads the tokens of one app."""

    def __init__(self, keys: Sequence[str]) -> None:
        """``keys`` are those of `signing`: the last one signs, and any of them proves."""
        self._keys = keys

    def mint(self, purpose: Purpose, user: User) -> str:
        """Return a token for a link. Call it where the email is rendered and nowhere else: a token
        is to be seen by its reader alone, never by the broker, the ledger or a log."""
        return self._serializer(purpose).dumps([user.id, _fingerprint(self._keys[-1], user)])

    def read(self, session: Session, purpose: Purpose, token: str, *, max_age: float) -> Reading:
        """Check a token. ``max_age`` is its validity in seconds."""
        try:
            claim = self._serializer(purpose).loads(token, max_age=int(max_age))
        except SignatureExpired:
            return Reading(Verdict.EXPIRED)
        except BadData:
            # Answered without a look at the database. How long that takes tells nothing: whoever
            # has no key cannot make a token that gets further.
            return Reading(Verdict.VOID)
        user_id, fingerprint = claim
        user = by_id(session, user_id)
        if user is not None and any(
            hmac.compare_digest(fingerprint, _fingerprint(key, user)) for key in self._keys
        ):
            return Reading(Verdict.OK, user)
        return Reading(Verdict.VOID)

    def _serializer(self, purpose: Purpose) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            list(self._keys),
            salt=f"mailer.users.{purpose}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )


def _fingerprint(key: str, user: User) -> str:
    confirmed = "confirmed" if user.confirmed_at else "not confirmed"
    state = "\0".join((user.email, user.password_hash, confirmed))
    return hmac.new(key.encode(), state.encode(), "sha256").hexdigest()[:32]
