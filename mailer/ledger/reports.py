"""Reports: what mail systems say of deliveries after they took them, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import insert, now, one_of
from ..inbound import bounce
from ..inbound.told import UNSIGNED, Told
from ..models import Attempt, AuditEntry, Delivery, Email, Report, Status
from ..outcome import Kind
from . import events, suppressions
from .proof import Proven, prove
from .record import uuid7
from .settling import erase_contexts

Stored = Any  # a row of mailer_reports


class Reported(NamedTuple):
    """What became of what was told."""

    stored: int
    known: int
    """Told before."""
    unmatched: int
    """Of those stored: about no delivery that is here."""
    proven: list[Proven]
    """Deliveries that are sent, as was not known before."""


class _Match(NamedTuple):
    """Which delivery a report is about."""

    delivery: sa.Row[Any]
    is_recipient: bool
    """Whether it is about its recipient, not about somebody whom the mail was passed on to."""


_kind = sa.bindparam("kind_", type_=sa.String())
_SET_REPORTED = (
    sa.update(Delivery)
    # The worst counts, in the order of the alphabet: bounced, complained, delivered.
    .where(
        one_of(Delivery.id, "ids_"),
        sa.or_(Delivery.reported.is_(None), Delivery.reported > _kind),
    )
    .values(reported=_kind)
)


def find_references(connection: sa.Connection, told: Sequence[Told]) -> list[Told]:
    """Return them with the emails of those that know only what the source called the message, as
    its reply in the delivery's attempt says."""
    return [
        one._replace(email_id=_referred_to(connection, one))
        if one.email_id is None and one.reference and one.recipients
        else one
        for one in told
    ]


def _referred_to(connection: sa.Connection, one: Told) -> str | None:
    statement = (
        sa.select(Delivery.email_id)
        .join(Attempt, Attempt.delivery_id == Delivery.id)
        .where(
            Delivery.recipient.in_(one.recipients),
            Attempt.outcome == Kind.SENT.value,
            Attempt.words.contains(one.reference, autoescape=True),
        )
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    return connection.execute(statement).scalar()


def add(connection: sa.Connection, told: Sequence[Told], *, suppress_bounces: bool) -> Reported:
    found = _matches(connection, told)
    values = [_values(one, match) for one, match in zip(told, found, strict=True)]
    new = _insert(connection, values)
    news = [
        (one, match)
        for one, match, row in zip(told, found, values, strict=True)
        if row["id"] in new
    ]
    _set_reported(connection, news)
    doubted = {
        match.delivery.id
        for _, match in news
        if match is not None and match.delivery.status != Status.SENT
    }
    proven = prove(connection, sorted(doubted))
    if proven:
        erase_contexts(connection, {one.email_id for one in proven})
    _suppress(connection, news, suppress_bounces)
    events.note(connection, [_note(one, match) for one, match in news if match is not None])
    return Reported(
        stored=len(news),
        known=len(told) - len(news),
        unmatched=sum(match is None for _, match in news),
        proven=proven,
    )


def without_delivery(connection: sa.Connection, address: str) -> Sequence[sa.Row[Stored]]:
    """Return what was reported of an address and is about no delivery that is here."""
    statement = sa.select(Report.__table__).where(is_unmatched_of(address)).order_by(Report.id)
    return connection.execute(statement).all()


def is_unmatched_of(address: str) -> sa.ColumnElement[bool]:
    return sa.and_(Report.delivery_id.is_(None), Report.recipient == address.lower())


def _matches(connection: sa.Connection, told: Sequence[Told]) -> list[_Match | None]:
    ids = {one.email_id for one in told if one.email_id is not None}
    by_email: dict[str, list[sa.Row[Any]]] = {}
    if ids:
        # The lock, until the commit: nobody erases them, and whoever is about to record their
        # outcome sees the report then, or has done it before this looks at them.
        statement = (
            sa.select(
                Delivery.id,
                Delivery.email_id,
                Delivery.recipient,
                Delivery.status,
                Delivery.attempts,
                Email.is_test,
            )
            .join(Email, Email.id == Delivery.email_id)
            .where(one_of(Delivery.email_id, "ids_"))
            .order_by(Delivery.id)
            .with_for_update(key_share=True, of=Delivery)
        )
        found: Any = connection.execute(statement, {"ids_": sorted(ids)}).all()
        for row in found:
            by_email.setdefault(row.email_id, []).append(row)
    return [_match(connection, one, by_email.get(one.email_id or "", [])) for one in told]


def _match(
    connection: sa.Connection, one: Told, deliveries: Sequence[sa.Row[Any]]
) -> _Match | None:
    by_recipient = {row.recipient.lower(): row for row in deliveries}
    for address in one.recipients:
        if address in by_recipient:
            return _Match(by_recipient[address], True)
    # Passed on to another address, or told without one. Of several it could be any; and where
    # somebody was erased, it may be about him.
    if len(deliveries) != 1 or _had_others(connection, deliveries[0].id):
        return None
    return _Match(deliveries[0], not one.recipients)


def _had_others(connection: sa.Connection, delivery_id: int) -> bool:
    erased = sa.select(AuditEntry.id).where(
        AuditEntry.delivery_id == delivery_id, AuditEntry.action == "address erased"
    )
    return connection.execute(erased.limit(1)).first() is not None


def _values(one: Told, match: _Match | None) -> dict[str, Any]:
    told_of = one.recipients[0] if one.recipients else ""
    return {
        "id": uuid7(),
        "kind": one.kind,
        "source": one.source,
        "source_id": one.source_id,
        "once": one.once,
        "occurred_at": one.occurred_at,
        "recipient": match.delivery.recipient.lower()
        if match and (match.is_recipient or not told_of)
        else told_of,
        "email_id": one.email_id,
        "delivery_id": match and match.delivery.id,
        "permanent": one.permanent,
        "code": one.code,
        "enhanced": one.enhanced,
        "words": one.words or None,
    }


def _insert(connection: sa.Connection, values: Sequence[Mapping[str, Any]]) -> set[str]:
    """Store what is new; return its ids."""
    if not values:
        return set()
    statement = (
        insert(connection.dialect, Report)
        .values(received_at=now())
        .on_conflict_do_nothing()  # by either: what the source calls it, what is good for once
        .returning(Report.id)
    )
    # In one order: two transactions with the same must not wait for each other.
    ordered = sorted(values, key=lambda one: (one["source"], one["source_id"]))
    return set(connection.execute(statement, ordered).scalars())


def _set_reported(connection: sa.Connection, news: Iterable[tuple[Told, _Match | None]]) -> None:
    ids: dict[str, set[int]] = {}
    for one, match in news:
        if match is not None:
            ids.setdefault(one.kind, set()).add(match.delivery.id)
    for kind, those in ids.items():
        connection.execute(_SET_REPORTED, {"ids_": sorted(those), "kind_": kind})


def _suppress(
    connection: sa.Connection, news: Iterable[tuple[Told, _Match | None]], bounces: bool
) -> None:
    wanted: dict[str, Told] = {}
    for one, match in news:
        if not (one.kind == "complained" or (one.kind == "bounced" and one.permanent and bounces)):
            continue
        if match is not None and match.delivery.is_test:
            continue  # what a catcher says of an address is not so
        if match is not None and match.is_recipient:
            if one.source in UNSIGNED and not match.delivery.attempts:
                continue  # nobody can have refused what was never tried
            address = match.delivery.recipient.lower()
        elif one.recipients and one.source not in UNSIGNED:
            # The service says so itself, of mail sent with our account.
            address = one.recipients[0]
        else:
            continue  # mail that anybody may have written must name a copy of ours
        wanted.setdefault(address, one)
    for address, one in sorted(wanted.items()):  # in one order, as above
        suppressions.add(
            connection,
            address,
            origin="complaint" if one.kind == "complained" else "bounce",
            words=one.words or None,
            email_id=one.email_id,
        )


def _note(one: Told, match: _Match) -> events.Note:
    details: dict[str, Any] = {}
    if one.kind == "bounced":
        details["bounce"] = bounce.details(
            permanent=one.permanent, code=one.code, enhanced=one.enhanced, words=one.words
        )
    return events.Note(f"email.{one.kind}", match.delivery.email_id, match.delivery.id, details)
