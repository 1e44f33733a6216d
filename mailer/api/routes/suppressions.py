"""``/suppressions``: addresses that are not to be mailed."""

from __future__ import annotations

from ...state import current
from ..authentication import actor
from ..operations import operation
from ..schemas.base import ListOf
from ..schemas.suppressions import (
    Add,
    AddMany,
    Listed,
    ManyRemoved,
    Of,
    Removed,
    RemoveMany,
    Suppression,
    SuppressionId,
    SuppressionIds,
    Which,
    as_stored,
)

_MISSING = {404: "There is no such suppression, or not for this category."}


@operation("POST", "/suppressions", scope="manage", body=Add, answers=SuppressionId, status=201)
def add(body: Add) -> SuppressionId:
    """Suppress an address.

    It gets no more mail: of the category, or at all without one. An address that is suppressed
    already keeps the suppression that it has.
    """
    (found,) = _add([body.email], body.category)
    return SuppressionId(id=found)


@operation(
    "POST",
    "/suppressions/batch/add",
    scope="manage",
    body=AddMany,
    answers=SuppressionIds,
    status=201,
)
def add_many(body: AddMany) -> SuppressionIds:
    """Suppress many addresses.

    The answer has one entry for each address, in no certain order.
    """
    return SuppressionIds(data=[SuppressionId(id=id) for id in _add(body.emails, body.category)])


@operation(
    "POST", "/suppressions/batch/remove", scope="manage", body=RemoveMany, answers=ManyRemoved
)
def remove_many(body: RemoveMany) -> ManyRemoved:
    """Remove many suppressions.

    The answer has those that there were, in no certain order.
    """
    removed = current().ledger.unsuppress(
        actor=actor(), ids=body.ids or (), addresses=body.emails or (), category=body.category
    )
    return ManyRemoved(data=[Removed(id=id) for id in removed])


@operation("GET", "/suppressions", scope="read", query=Which, answers=ListOf[Listed])
def list_suppressions(query: Which) -> ListOf[Listed]:
    """List suppressions.

    The newest first.
    """
    page = current().ledger.suppressions(
        query.limit, query.after, query.before, origin=query.origin, category=query.category
    )
    data = [Listed.of(one) for one in page.suppressions]
    return ListOf[Listed](has_more=page.has_more, data=data)


@operation(
    "GET",
    "/suppressions/<suppression>",
    scope="read",
    query=Of,
    answers=Suppression,
    errors=_MISSING,
)
def get(suppression: str, query: Of) -> Suppression:
    """Get a suppression, by its id or its address.

    An address stands for its suppression for all mail; with `category`, for that one.
    """
    return Suppression.of(current().ledger.suppression(as_stored(suppression), query.category))


@operation(
    "DELETE",
    "/suppressions/<suppression>",
    scope="manage",
    query=Of,
    answers=Removed,
    errors=_MISSING,
)
def remove(suppression: str, query: Of) -> Removed:
    """Remove a suppression, by its id or its address.

    An address stands for its suppression for all mail; with `category`, for that one: whoever
    unsubscribed stays unsubscribed.
    """
    found = current().ledger.suppression(as_stored(suppression), query.category)
    current().ledger.unsuppress(actor=actor(), ids=[found.id])
    return Removed(id=found.id)


def _add(emails: list[str], category: str) -> list[str]:
    added = current().ledger.suppress(
        emails, origin="manual", category=category, words=f"by {actor()}"
    )
    return list(added.values())
