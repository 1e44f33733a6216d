"""Suppressions: addresses that are not to be mailed, at all or about one category.

An address is compared in lower case as a whole. `mailer.addresses` has put its domain into ASCII.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from .. import paging
from ..errors import NotFound
from ..expressions import insert, now, one_of
from ..models import Delivery, Email, Suppression
from ..prepared import Prepared
from .record import uuid7

Origin = Literal["bounce", "complaint", "unsubscribe", "manual"]
ORIGINS: tuple[Origin, ...] = ("bounce", "complaint", "unsubscribe", "manual")

log = logging.getLogger(__name__)


class Suppressed(NamedTuple):
    """Why an address is not mailed."""

    address: str
    category: str
    """Empty: all mail."""
    origin: str
    words: str | None
    created_at: datetime

    @property
    def reason(self) -> str:
        """In words for the person on call, with what to do about it."""
        on = f"on {self.created_at:%Y-%m-%d}"
        match self.origin:
            case "bounce":
                what = f"bounced {on}"
            case "complaint":
                what = f"its recipient complained {on}"
            case "unsubscribe":
                what = f"its recipient unsubscribed from {self.category or 'all mail'} {on}"
            case _:
                what = f"added to the suppressions {on}"
        said = f": {self.words}" if self.words else ""
        option = f" --category {self.category}" if self.category else ""
        command = f"mailer suppressions remove {shlex.quote(self.address)}{option}"
        return f"{what}{said}; `{command}` lets mail through again"


class Page(NamedTuple):
    """Some suppressions, the newest first."""

    suppressions: list[sa.Row[Any]]
    has_more: bool


def add(
    connection: sa.Connection,
    address: str,
    *,
    origin: Origin,
    category: str = "",
    words: str | None = None,
    email_id: str | None = None,
) -> str:
    """Suppress an address and return the suppression's id: the old one when it was suppressed
    already, which then stays as it is. Without a ``category``: for all mail."""
    (found,) = add_many(
        connection, [address], origin=origin, category=category, words=words, email_id=email_id
    ).values()
    return found


def add_many(
    connection: sa.Connection,
    addresses: Iterable[str],
    *,
    origin: Origin,
    category: str = "",
    words: str | None = None,
    email_id: str | None = None,
) -> dict[str, str]:
    """Suppress addresses, as `add` does one; return the id of each."""
    wanted = {address.lower() for address in addresses}
    values = {"category": category, "origin": origin, "words": words, "email_id": email_id}
    _store(connection, [{"address": address, **values} for address in wanted])
    statement = sa.select(Suppression.address, Suppression.id).where(
        Suppression.address.in_(wanted), Suppression.category == category
    )
    return {row.address: row.id for row in connection.execute(statement)}


def add_bounced(connection: sa.Connection, words: dict[int, str]) -> None:
    """Suppress the recipients of deliveries: by their ids, what the server said of each. Those of
    test keys never left, and say nothing of anybody."""
    statement = (
        sa.select(Delivery.id, Delivery.email_id, Delivery.recipient)
        .join(Email, Email.id == Delivery.email_id)
        .where(Delivery.id.in_(words), ~Email.is_test)
    )
    rows = [
        {
            "address": recipient.lower(),
            "category": "",
            "origin": "bounce",
            "words": words[delivery_id],
            "email_id": email_id,
        }
        for delivery_id, email_id, recipient in connection.execute(statement)
    ]
    if rows:
        _store(connection, rows)


def _store(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    # In the order of the addresses: two transactions with the same must not wait for each other.
    ordered = sorted(rows, key=lambda row: row["address"])
    statement = insert(connection.dialect, Suppression).values(
        [{"id": uuid7(), "created_at": now(), **row} for row in ordered]
    )
    connection.execute(
        statement.on_conflict_do_nothing(index_elements=[Suppression.address, Suppression.category])
    )


def remove(
    connection: sa.Connection,
    *,
    actor: str,
    ids: Collection[str] = (),
    addresses: Collection[str] = (),
    category: str = "",
) -> list[str]:
    """Let mail through again, by the suppressions' ids, or by addresses: those of one category, or
    those for all mail. Return the ids of what was there."""
    lower = {address.lower() for address in addresses}
    statement = (
        sa.delete(Suppression)
        .where(
            sa.or_(
                Suppression.id.in_(set(ids)),
                sa.and_(Suppression.address.in_(lower), Suppression.category == category),
            )
        )
        .returning(Suppression.id, Suppression.origin, Suppression.category)
    )
    removed = connection.execute(statement).all()
    for id, origin, of in removed:
        log.info("suppression=%s removed origin=%s category=%s actor=%s", id, origin, of, actor)
    return [row.id for row in removed]


def undo(connection: sa.Connection, address: str, category: str) -> None:
    """Subscribe an address again. What anybody else put there stays."""
    connection.execute(
        sa.delete(Suppression).where(
            Suppression.address == address.lower(),
            Suppression.category == category,
            Suppression.origin == "unsubscribe",
        )
    )


def find(connection: sa.Connection, id_or_address: str, category: str = "") -> sa.Row[Any]:
    """Return a suppression: by its id, or that of an address for one category, or for all mail.
    Raises NotFound."""
    statement = sa.select(Suppression.__table__)
    if "@" not in id_or_address:
        statement = statement.where(Suppression.id == id_or_address)
    else:
        address = id_or_address.lower()
        statement = statement.where(
            Suppression.address == address, Suppression.category == category
        )
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(_missing(connection, id_or_address, category))
    return row


def _missing(connection: sa.Connection, id_or_address: str, category: str) -> str:
    others = [one.category or "all mail" for one in of(connection, [id_or_address])]
    what = f"category {category}" if category else "all mail"
    if others:
        return f"{id_or_address!r} is not suppressed for {what}, but for {', '.join(others)}"
    if "@" in id_or_address:
        return f"{id_or_address!r} is not suppressed"
    return f"there is no suppression {id_or_address!r}"


def of(connection: sa.Connection, addresses: Iterable[str]) -> list[sa.Row[Any]]:
    """Return every suppression of the addresses, in the order of addresses and categories."""
    statement = (
        sa.select(Suppression.__table__)
        .where(Suppression.address.in_({address.lower() for address in addresses}))
        .order_by(Suppression.address, Suppression.category)
    )
    return list(connection.execute(statement))


def page(
    connection: sa.Connection,
    limit: int,
    after: str | None = None,
    before: str | None = None,
    *,
    origin: str | None = None,
    category: str | None = None,
    since: datetime | None = None,
) -> Page:
    """Return up to ``limit``: those older than the id ``after``, or newer than ``before``. Their
    ids sort by time, so that each page costs the same."""
    statement = sa.select(Suppression.__table__)
    if origin is not None:
        statement = statement.where(Suppression.origin == origin)
    if category is not None:
        statement = statement.where(Suppression.category == category)
    if since is not None:
        statement = statement.where(Suppression.created_at >= since)
    found = paging.part(
        connection, statement, Suppression.id, limit=limit, after=after, before=before
    )
    return Page(*found)


# For the claim: a column of a statement that is made anyway says whether the other is needed. It
# counts, because for EXISTS PostgreSQL reads the table from its beginning, hoping to be done soon.
HOW_MANY = (
    sa.select(sa.func.count())
    .select_from(Suppression)
    .where(one_of(Suppression.address, "addresses_"))
    .scalar_subquery()
)
_AMONG = Prepared(
    sa.select(
        Suppression.address,
        Suppression.category,
        Suppression.origin,
        Suppression.words,
        sa.type_coerce(Suppression.created_at, sa.Double),
    )
    .where(one_of(Suppression.address, "addresses_"))
    .order_by(Suppression.category)
)

Known = dict[str, list[Suppressed]]
"""By address, the one for all mail first."""


def among(connection: sa.Connection, addresses: Sequence[str]) -> Known:
    """Return what is known of addresses in lower case."""
    known: Known = {}
    for address, category, origin, words, at in _AMONG.rows(connection, {"addresses_": addresses}):
        one = Suppressed(address, category, origin, words, datetime.fromtimestamp(at, UTC))
        known.setdefault(address, []).append(one)
    return known


def choose(known: Known, recipient: str, category: str | None) -> Suppressed | None:
    """Return why an email of ``category`` is not for ``recipient``; None: it is."""
    of_address = known.get(recipient.lower(), ())
    return next((one for one in of_address if one.category in {"", category}), None)
